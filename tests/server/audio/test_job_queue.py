"""Who gets a decoder: turns by owner, clips before long files, and prices that no header can lie about for long."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from audio_kit import files
from audio_kit.decoding import memory_file
from audio_kit.signals import sweep
from whisper_server.audio.job_permits import JobPermits, Postponed
from whisper_server.audio.job_queue import JobQueue, QueuedJob
from whisper_server.audio.limits import DecoderLimits, price_of_header
from whisper_server.audio.messages import Probed
from whisper_server.audio.pool import AudioDecoderPool
from whisper_server.errors import Overloaded, TooMuchWork
from whisper_server.memory.budget import MemoryBudget

DEAR = Probed(655_350, 8, 600_000)
CLIP = Probed(16_000, 1, 5_000)
MIB = 1 << 20


@dataclass(eq=False)
class WorkerDouble:
    alive: bool = True


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def queue(n_workers: int = 2, clock: Clock | None = None) -> JobQueue[WorkerDouble]:
    made: JobQueue[WorkerDouble] = JobQueue(n_workers, clock or Clock())
    for _ in range(n_workers):
        made.hand_over(WorkerDouble())
    return made


def permits(jobs: JobQueue[WorkerDouble], job: QueuedJob, max_queue_s: float = 300) -> JobPermits:
    return JobPermits(jobs, job, MemoryBudget.unlimited().reservation(), max_queue_s)


async def start(jobs: JobQueue[WorkerDouble], owner: str, header: Probed) -> tuple[QueuedJob, bool]:
    """A job that has a worker and has reported its header; whether it may go on."""
    with jobs.entered(owner, 14_000) as job:
        await jobs.take(job)
    jobs._backlogs[False].add(owner, job, job.price_s)
    return job, permits(jobs, job).probed(header)


def test_price_follows_rate_channels_and_length() -> None:
    assert price_of_header(CLIP) == 5
    assert price_of_header(Probed(48_000, 2, 600_000)) == 600
    assert price_of_header(DEAR) == pytest.approx(600 * 54.6, rel=0.01)


async def test_second_long_file_gives_its_worker_up_and_a_clip_gets_it() -> None:
    jobs = queue()
    first, goes_on = await start(jobs, "dear", DEAR)
    assert goes_on
    second, goes_on = await start(jobs, "dear", DEAR)
    assert (first.is_long, second.is_long, goes_on) == (True, True, False)
    worker = WorkerDouble()
    jobs.leave(second)
    jobs.hand_over(worker)
    waiting = asyncio.create_task(jobs.take(second))
    await asyncio.sleep(0)
    assert jobs.n_waiting == 1, "long: it waits though a worker is idle"
    with jobs.entered("clip", 14_000) as clip:
        async with asyncio.timeout(1):
            assert await jobs.take(clip) is worker
        jobs.leave(clip)
        jobs.hand_over(worker)
    assert not waiting.done()
    jobs.leave(first)
    async with asyncio.timeout(1):
        assert await waiting is worker


async def test_decoders_go_round_the_owners() -> None:
    jobs, order = queue(1), []
    holder, _ = await start(jobs, "holder", CLIP)

    async def decode(owner: str) -> None:
        with jobs.entered(owner, 14_000) as job:
            worker = await jobs.take(job)
            order.append(owner)
            jobs.leave(job, done_s=5)
            jobs.hand_over(worker)

    tasks = [asyncio.create_task(decode("many")) for _ in range(20)]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(decode("one")))
    await asyncio.sleep(0)
    jobs.leave(holder)
    jobs.hand_over(WorkerDouble())
    await asyncio.gather(*tasks)
    assert order.index("one") <= 1
    assert (jobs.n_waiting, jobs.n_running) == (0, 0)


async def test_file_that_is_longer_than_its_header_says_becomes_long() -> None:
    jobs = queue()
    await start(jobs, "dear", DEAR)
    job, goes_on = await start(jobs, "liar", CLIP)
    assert goes_on
    asked = permits(jobs, job)
    granted = [asked.grow(16 * MIB) for _ in range(4)]
    assert granted == [True, True, True, False], "12 minutes, of which the header said 5 s"
    assert isinstance(asked.refusal, Postponed)
    assert job.is_long


async def test_waits_count_what_is_before_a_file() -> None:
    clock = Clock()
    jobs = queue(2, clock)
    with jobs.entered("me", 16_000 * 100) as job:
        await jobs.take(job)
        clock.now_s += 0.2
        jobs.leave(job, done_s=100)  # 2 ms for each second of sound
    for number in range(20):
        jobs._backlogs[True].add("dear", number, 32_760)
    assert jobs.queued_audio_s() == pytest.approx(655_200)
    assert jobs.drained_after_s() == pytest.approx(1310, rel=0.01)
    assert jobs.wait_s("new") == 0, "clips do not wait for long files"
    assert jobs.wait_s("new", 32_760) == pytest.approx(65.5, rel=0.01), "one file of the other owner, not twenty"
    assert jobs.wait_s("dear", 32_760) == pytest.approx(1310, rel=0.01)


async def test_file_that_takes_too_long_refuses_itself() -> None:
    clock = Clock()
    jobs = queue(2, clock)
    with jobs.entered("me", 16_000 * 100) as job:
        await jobs.take(job)
        clock.now_s += 2
        jobs.leave(job, done_s=100)
    with jobs.entered("dear", 14_000) as job:
        asked = permits(jobs, job)
        assert not asked.probed(DEAR)
        assert isinstance(asked.refusal, TooMuchWork)
        assert "655350 Hz" in asked.refusal.message
    for number in range(20):
        jobs._backlogs[True].add("hours", number, 14_400)
    await start(jobs, "other", Probed(48_000, 2, 14_400_000))
    with jobs.entered("hours", 14_000) as job:
        asked = permits(jobs, job)
        assert not asked.probed(Probed(48_000, 2, 14_400_000))
        assert isinstance(asked.refusal, Overloaded), "its owner has 20 of them already"


async def test_cancelled_job_leaves_nothing() -> None:
    jobs = queue(1)
    first, _ = await start(jobs, "a", CLIP)

    async def wait() -> None:
        with jobs.entered("b", 14_000) as job:
            await jobs.take(job)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    assert jobs.n_waiting == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    jobs.leave(first)
    jobs._backlogs[False].drop("a", first)
    assert (jobs.n_waiting, jobs.n_running, jobs.queued_audio_s()) == (0, 0, 0)


async def test_pool_decodes_clips_while_long_files_wait_for_each_other() -> None:
    """The real decoders: 12 minutes of silence are long by their header, and only one of them is decoded at a time."""
    pool = AudioDecoderPool(2, DecoderLimits())
    await pool.start()

    async def duration_of(content: bytes, owner: str) -> float:
        with memory_file(content) as file, await pool.read_audio(file, owner=owner) as audio:
            return audio.duration_s

    try:
        silence = files.hours_of_silence(hours=0.2)
        long_files = [asyncio.create_task(duration_of(silence, "long")) for _ in range(2)]
        async with asyncio.timeout(60):
            while pool.jobs.n_running < 1 or pool.jobs.n_waiting < 1:
                await asyncio.sleep(0.005)
        clips = [await duration_of(files.wav(sweep(1, 16_000), 16_000), "clip") for _ in range(3)]
        assert clips == [1, 1, 1]
        assert sum(task.done() for task in long_files) < 2
        assert pool.queued_audio_s() >= 720, "seen by the autoscaler"
        assert await asyncio.gather(*long_files) == pytest.approx([720] * 2, abs=1)
        assert (pool.jobs.n_running, pool.jobs.n_waiting, pool.queued_audio_s()) == (0, 0, 0)
        assert pool.n_worker_deaths == 0
    finally:
        await pool.stop()


async def test_file_that_eats_processor_time_is_read_again_as_a_long_one() -> None:
    """It loses the worker that clips need, not its answer: SIGXCPU ends the first attempt at the limit of short ones."""
    pool = AudioDecoderPool(2, DecoderLimits(short_cpu_s=0))
    await pool.start()
    try:
        with memory_file(files.hours_of_silence(hours=0.16)) as file, await pool.read_audio(file) as audio:
            assert audio.duration_s == pytest.approx(576, abs=1)
        assert pool.n_worker_deaths == 1
    finally:
        await pool.stop()
