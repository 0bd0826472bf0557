"""The pool of decode workers: answers, refusals, deaths, departures, and nothing left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from audio_kit import files
from audio_kit.decoding import Budget, decoded, memory_file
from audio_kit.signals import best_match, expected, sweep
from whisper_server.audio.limits import DecoderLimits
from whisper_server.audio.pool import AudioDecoderPool
from whisper_server.errors import (
    ApiError,
    AudioTooLong,
    AudioTooShort,
    InternalError,
    InvalidAudio,
    MemoryFull,
    Overloaded,
    Unavailable,
)
from whisper_server.memory.budget import MemoryBudget, Reservation

WAV = files.wav(sweep(3, 24_000), 24_000)
LONG = files.wav(sweep(90, 16_000), 16_000)
"""Takes several growths: there is a middle of the job."""
HALF_AS_LONG = files.wav(sweep(45, 16_000), 16_000)


@asynccontextmanager
async def running(n_workers: int = 1, limits: DecoderLimits | None = None) -> AsyncIterator[AudioDecoderPool]:
    pool = AudioDecoderPool(n_workers, limits or DecoderLimits())
    await pool.start()
    try:
        yield pool
    finally:
        pids = pool.worker_pids
        await pool.stop()
        assert not any(map(exists, pids))


async def duration_of(pool: AudioDecoderPool, content: bytes, budget: Reservation | None = None) -> float:
    """The duration; everything is closed again."""
    with memory_file(content) as file:
        async with asyncio.timeout(60):
            with await pool.read_audio(file, budget) as audio:
                return audio.duration_s


def exists(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


async def eventually(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.01)


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def stop(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)


def n_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_samples_come_back_read_only_and_are_those_of_the_decoder() -> None:
    async with running() as pool:
        budget = Budget()
        with memory_file(WAV) as file:
            audio = await pool.read_audio(file, budget)
        assert audio.duration_s == 3
        assert np.array_equal(audio.samples, decoded(WAV))
        assert best_match(audio.samples, expected(3))[0] > 0.999
        assert not audio.samples.flags.writeable
        assert budget.held_bytes >= audio.samples.nbytes
        slice_kept = audio.samples[100:200]
        audio.close()
        audio.close()
        assert budget.held_bytes > 0, "the pages are still mapped"
        assert slice_kept.any()
        del slice_kept
        assert (budget.held_bytes, budget.n_releases) == (0, 1)
        with pytest.raises(ValueError, match="closed"):
            audio.samples.sum()


async def test_fifty_jobs_on_two_workers() -> None:
    async with running(2) as pool:
        pids = set(pool.worker_pids)
        contents = [files.wav(sweep(0.5 + n / 50, 16_000), 16_000) for n in range(50)]
        budget = Budget()
        durations_s = await asyncio.gather(*(duration_of(pool, content, budget) for content in contents))
        assert durations_s == pytest.approx([0.5 + n / 50 for n in range(50)], abs=1e-3)
        assert budget.held_bytes == 0
        assert set(pool.worker_pids) == pids
        assert pool.n_worker_deaths == 0


async def test_first_come_first_served() -> None:
    async with running(1) as pool:
        order: list[int] = []

        async def job(n: int) -> None:
            await duration_of(pool, WAV)
            order.append(n)

        await asyncio.gather(*(job(n) for n in range(8)))
        assert order == list(range(8))


async def test_refusals_leave_the_worker_in_service() -> None:
    async with running(1, DecoderLimits(max_audio_s=60)) as pool:
        pids = pool.worker_pids
        for content, kind in (
            (b"no audio", InvalidAudio),
            (WAV[: len(WAV) // 2], InvalidAudio),
            (files.wav(sweep(0.05, 16_000), 16_000), AudioTooShort),
            (LONG, AudioTooLong),
        ):
            budget = Budget()
            with pytest.raises(kind):
                await duration_of(pool, content, budget)
            assert (budget.held_bytes, budget.n_releases) == (0, 1)
        assert await duration_of(pool, WAV) == 3
        assert pool.worker_pids == pids


async def test_every_container_passes_the_confinement() -> None:
    """A worker that can open no file and take little memory decodes all that the decoder can."""
    signal_ = sweep(1, 16_000, n_channels=2)
    contents = [
        files.by_ffmpeg(signal_, 16_000, container, codec)
        for container, codec in (
            *(("mp3", "libmp3lame"), ("ogg", "libopus"), ("ipod", "aac"), ("ipod", "alac"), ("webm", "libopus")),
            *(("flac", "flac"), ("ogg", "flac"), ("adts", "aac"), ("mpegts", "mp2"), ("aiff", "pcm_s24be")),
        )
    ]
    contents.append(files.by_libsndfile(signal_, 44_100, "OGG", "VORBIS"))
    async with running(2) as pool:
        for content in contents:
            assert await duration_of(pool, content) > 0.3


async def test_job_of_killed_worker_is_read_by_another() -> None:
    async with running(1) as pool:
        (pid,) = pool.worker_pids
        victim = Budget(on_grow=partial(kill, pid))
        others = [Budget() for _ in range(5)]
        results = await asyncio.gather(
            duration_of(pool, LONG, victim), *(duration_of(pool, WAV, other) for other in others)
        )
        assert results == [90.0, *[3.0] * 5]
        assert [(budget.held_bytes, budget.n_releases) for budget in (victim, *others)] == [(0, 1)] * 6
        assert pool.n_worker_deaths == 1
        assert len(pool.worker_pids) == 1
        assert pool.worker_pids != (pid,)


async def test_job_that_kills_two_workers_is_refused() -> None:
    async with running(1) as pool:

        def kill_worker() -> None:
            for pid in pool.worker_pids:
                kill(pid)

        victim = Budget(on_grow=kill_worker)
        with pytest.raises(InternalError, match="died, twice"):
            await duration_of(pool, LONG, victim)
        assert (victim.held_bytes, victim.n_releases, victim.n_grows) == (0, 1, 2)
        assert await duration_of(pool, WAV) == 3
        assert pool.n_worker_deaths == 2


async def test_job_that_breaks_sandbox_is_refused_at_once() -> None:
    async with running(1) as pool:
        (pid,) = pool.worker_pids
        victim = Budget(on_grow=lambda: os.kill(pid, signal.SIGSYS))
        with pytest.raises(InvalidAudio, match="system call"):
            await duration_of(pool, LONG, victim)
        await eventually(lambda: pool.n_sandbox_kills == 1)
        assert victim.n_grows == 1


async def test_workers_killed_while_idle_cost_no_request() -> None:
    async with running(2) as pool:
        for pid in pool.worker_pids:
            os.kill(pid, signal.SIGKILL)
        while any(map(exists, pool.worker_pids)):
            time.sleep(0.001)  # noqa: ASYNC251 - the event loop must not hear of it yet
        assert await duration_of(pool, WAV) == 3
        await eventually(lambda: pool.n_worker_deaths == 2 and len(pool.worker_pids) == 2)


async def test_a_request_that_leaves_in_mid_job_kills_its_worker() -> None:
    async with running(1) as pool:
        (pid,) = pool.worker_pids
        middle = asyncio.Event()
        budget = Budget(on_grow=middle.set)
        leaver = asyncio.create_task(duration_of(pool, LONG, budget))
        follower = asyncio.create_task(duration_of(pool, WAV))
        await middle.wait()
        leaver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaver
        assert (budget.held_bytes, budget.n_releases) == (0, 1)
        assert await follower == 3
        assert not exists(pid)
        assert pool.n_worker_deaths == 0


async def test_a_request_that_leaves_while_it_waits_loses_its_place_only() -> None:
    async with running(1) as pool:
        (pid,) = pool.worker_pids
        stop(pid)  # a fast machine decodes the first before the last has come
        jobs = [asyncio.create_task(duration_of(pool, LONG)) for _ in range(4)]
        await eventually(lambda: pool.jobs.n_waiting == 3)
        jobs[2].cancel()
        os.kill(pid, signal.SIGCONT)
        results = await asyncio.gather(*jobs, return_exceptions=True)
        assert [result for n, result in enumerate(results) if n != 2] == [90.0] * 3
        assert isinstance(results[2], asyncio.CancelledError)
        assert pool.worker_pids == (pid,)


async def test_a_request_that_leaves_as_its_turn_comes_hands_the_worker_on() -> None:
    async with running(1) as pool:
        first = asyncio.create_task(duration_of(pool, WAV))
        second = asyncio.create_task(duration_of(pool, WAV))
        third = asyncio.create_task(duration_of(pool, WAV))
        first.add_done_callback(lambda _: second.cancel())
        assert await first == 3
        assert await third == 3


async def test_a_budget_that_refuses_is_an_overload_and_holds_nothing() -> None:
    async with running(1) as pool:
        pids = pool.worker_pids
        budget = Budget(limit_bytes=3 << 20)
        with pytest.raises(Overloaded) as caught:
            await duration_of(pool, LONG, budget)
        assert 1 <= caught.value.retry_after_s <= 60
        assert 0 < budget.max_held_bytes <= 3 << 20
        assert budget.held_bytes == 0
        assert await duration_of(pool, LONG, Budget()) == 90
        assert pool.worker_pids == pids


async def test_a_recording_that_never_fits_is_refused_without_retry_after() -> None:
    whole = MemoryBudget(4 << 20)
    async with running(1) as pool:
        with pytest.raises(AudioTooLong, match="MEMORY_BUDGET_BYTES"):
            await duration_of(pool, LONG, whole.reservation())
        with whole.reservation() as other:
            assert other.grow(3 << 20)
            with pytest.raises(MemoryFull):
                await duration_of(pool, HALF_AS_LONG, whole.reservation())
        assert await duration_of(pool, HALF_AS_LONG, whole.reservation()) == 45
        assert whole.used_bytes == 0


async def test_worker_that_cannot_be_answered_is_killed() -> None:
    async with running(1) as pool:
        (pid,) = pool.worker_pids

        def stop_reading() -> None:
            if pool.worker_pids != (pid,):
                return
            os.kill(pid, signal.SIGSTOP)
            for path in Path("/proc/self/fd").iterdir():
                if path.is_symlink() and str(path.readlink()).startswith("socket:"):
                    with socket.socket(fileno=os.dup(int(path.name))) as ours, suppress(BlockingIOError):
                        while ours.type == socket.SOCK_SEQPACKET:
                            ours.send(b"until nothing more goes in")

        assert await duration_of(pool, LONG, Budget(on_grow=stop_reading)) == 90
        assert not exists(pid)
        assert await duration_of(pool, WAV) == 3


async def test_a_reservation_that_raises_ends_the_job_with_what_it_raised() -> None:
    def refuse() -> None:
        raise Unavailable("closed for today")

    async with running(1) as pool:
        budget = Budget(on_grow=refuse)
        with pytest.raises(Unavailable, match="today"):
            await duration_of(pool, LONG, budget)
        assert budget.n_releases == 1
        assert await duration_of(pool, WAV) == 3


async def test_nothing_is_decoded_past_the_limit() -> None:
    async with running(1, DecoderLimits(max_audio_s=120)) as pool:
        budget = Budget()
        with pytest.raises(AudioTooLong):
            await duration_of(pool, files.hours_of_silence(hours=1), budget)
        assert budget.max_held_bytes <= 1.5 * 120 * 16_000 * 4


async def test_a_file_that_eats_processor_time_is_stopped_by_the_kernel() -> None:
    async with running(1, DecoderLimits(cpu_base_s=0.01, cpu_per_audio_s=0)) as pool:
        with pytest.raises(InvalidAudio, match="processor time"):
            await duration_of(pool, files.hours_of_silence(hours=1) * 3)
        await eventually(lambda: len(pool.worker_pids) == 1)


async def test_why_a_worker_died_is_known_though_it_is_reaped_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool hears of the end through the connection, before the event loop's watcher has seen the dead child."""
    waitpid = os.waitpid

    def late(pid: int, options: int) -> tuple[int, int]:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        time.sleep(0.3)
        return waitpid(pid, options)

    monkeypatch.setattr(os, "waitpid", late)
    async with running(1, DecoderLimits(cpu_base_s=3, cpu_per_audio_s=0)) as pool:
        (pid,) = pool.worker_pids
        with pytest.raises(InvalidAudio, match="processor time"):
            await duration_of(pool, LONG, Budget(on_grow=lambda: os.kill(pid, signal.SIGXCPU)))
        await eventually(lambda: len(pool.worker_pids) == 1)
        (pid,) = pool.worker_pids
        os.kill(pid, signal.SIGXCPU)
        await eventually(lambda: not exists(pid))
        assert (
            await duration_of(pool, WAV) == 3
        )  # the job is refused by the connection of the dead, and goes to the next
    assert pool.n_worker_deaths == 2


async def test_a_file_that_eats_memory_is_refused_and_the_worker_goes_on() -> None:
    greedy = files.wav(sweep(2, 192_000, n_channels=6), 192_000, "DOUBLE")
    async with running(1, DecoderLimits(memory_bytes=2 << 20)) as pool:
        pids = pool.worker_pids
        with pytest.raises(InvalidAudio, match="more than 2 MiB of memory"):
            await duration_of(pool, greedy)
        assert await duration_of(pool, files.wav(sweep(1, 8_000), 8_000)) == 1
        assert pool.worker_pids == pids


async def test_job_of_frozen_worker_is_read_by_another() -> None:
    async with running(1, DecoderLimits(stall_s=1)) as pool:
        (pid,) = pool.worker_pids
        victim = Budget(on_grow=partial(stop, pid))
        assert await duration_of(pool, LONG, victim) == 90
        assert not exists(pid)
        assert victim.held_bytes == 0


async def test_job_that_freezes_two_workers_is_refused() -> None:
    async with running(1, DecoderLimits(stall_s=1)) as pool:

        def stop_worker() -> None:
            for pid in pool.worker_pids:
                stop(pid)

        with pytest.raises(InternalError, match="no progress, twice"):
            await duration_of(pool, LONG, Budget(on_grow=stop_worker))
        assert await duration_of(pool, WAV) == 3


async def test_a_worker_is_replaced_after_its_share_of_jobs() -> None:
    async with running(1, DecoderLimits(max_jobs_per_worker=3)) as pool:
        pids = []
        for _ in range(7):
            assert await duration_of(pool, WAV) == 3
            pids.append(pool.worker_pids)
        assert len(set(filter(None, pids))) >= 2
        assert pool.n_worker_deaths == 0


async def test_stop_ends_what_runs_and_what_waits() -> None:
    pool = AudioDecoderPool(1, DecoderLimits())
    await pool.start()
    pids = pool.worker_pids
    dear = files.hours_of_noise(n_bytes=500_000)  # opus: plain wav might be decoded before `stop`
    jobs = [asyncio.create_task(duration_of(pool, dear)) for _ in range(3)]
    await eventually(lambda: pool.jobs.n_waiting == 2)
    await pool.stop()
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 3
    assert not any(map(exists, pids))
    with pytest.raises(Unavailable):
        await duration_of(pool, WAV)
    await pool.stop()


async def test_no_descriptor_is_left_open() -> None:
    async with running(1) as pool:
        await duration_of(pool, WAV)
    before = n_descriptors()
    async with running(2, DecoderLimits(max_jobs_per_worker=2)) as pool:
        for _ in range(3):
            (pid, *_) = pool.worker_pids
            killer = Budget(on_grow=partial(kill, pid))
            jobs = [
                asyncio.create_task(duration_of(pool, content)) for content in (WAV, LONG, b"no audio", WAV[:5_000])
            ]
            jobs.append(asyncio.create_task(duration_of(pool, LONG, killer)))
            await asyncio.sleep(0)
            jobs[1].cancel()
            for result in await asyncio.gather(*jobs, return_exceptions=True):
                assert isinstance(result, float | ApiError | asyncio.CancelledError)
            await eventually(lambda: len(pool.worker_pids) == 2)
    assert n_descriptors() == before


async def test_the_event_loop_goes_on_while_workers_work() -> None:
    """Beside a thread that only sleeps, whom a busy machine keeps waiting as well."""
    others_delays_s: list[float] = []
    async with running(2) as pool:
        jobs = asyncio.gather(*(duration_of(pool, LONG) for _ in range(6)))
        other = threading.Thread(target=note_delays, args=(jobs.done, others_delays_s))
        other.start()
        delays_s = []
        while not jobs.done():
            asked_s = time.monotonic()
            await asyncio.sleep(0.001)
            delays_s.append(time.monotonic() - asked_s)
        await jobs
        await asyncio.to_thread(other.join)
    assert median(delays_s) < 0.03 + 2 * median(others_delays_s)


def note_delays(until: Callable[[], bool], delays_s: list[float]) -> None:
    """How late a sleep of a millisecond ends."""
    while not until():
        asked_s = time.monotonic()
        time.sleep(0.001)
        delays_s.append(time.monotonic() - asked_s)


async def test_a_kernel_without_pidfds_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(pid: int, flags: int = 0) -> int:
        raise PermissionError(errno.EPERM, f"pidfd_open {pid} {flags}")

    monkeypatch.setattr(os, "pidfd_open", refused)
    async with running(1) as pool:
        (worker,) = pool._workers
        worker.kill()
        assert await worker.wait() == -signal.SIGKILL
        assert await duration_of(pool, WAV) == pytest.approx(3)
