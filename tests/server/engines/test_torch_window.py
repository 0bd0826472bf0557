"""A window's tasks for the torch engine's process, with a double in place of the process."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

import numpy as np
import pytest

from model_kit.demo import DEMO
from whisper_server.engines.gpu.model_files import ModelFiles, read_model_files
from whisper_server.engines.gpu.shared_audio import WRITES_PER_ITERATION, AudioSlot, SharedAudioPool
from whisper_server.engines.torch.window import TorchWindow
from whisper_server.engines.torch.wire import Aligned, AlignTask, Answer, DecodedTokens, DecodeTask, Place, Task
from whisper_server.whisper.engine_protocol import Alignment, DecodeRequest
from whisper_server.whisper.transcript import Samples
from whisper_server.whisper.transcript import Task as WhisperTask

FILES = read_model_files(DEMO)
TOKENIZER = FILES.tokenizer
SOT_SEQUENCE = TOKENIZER.sot_sequence("en", WhisperTask.TRANSCRIBE)
TEXT = TOKENIZER.encode_text(" Good morning.")
BEGIN = TOKENIZER.special.timestamp_begin
DECODED = (BEGIN, *TEXT, BEGIN + 50, FILES.vocabulary.endoftext)


def aligned(task_id: int, n_tokens: int, first_s: float) -> Aligned:
    return Aligned(task_id, tuple(first_s + n for n in range(n_tokens + 1)), (0.5,) * n_tokens)


@dataclass
class ProcessDouble:
    files: ModelFiles = FILES
    tasks: list[Task] = field(default_factory=list)

    def next_id(self) -> int:
        return len(self.tasks)

    async def acquire(self, samples: Samples, n_mel_frames: int, *, is_live: bool) -> Place:
        return Place(0, len(samples), 1.0, is_live, n_mel_frames)

    def release(self, slot: int) -> None: ...

    async def ask(self, task: Task) -> Answer:
        self.tasks.append(task)
        if isinstance(task, AlignTask):
            return aligned(task.task_id, len(task.text_tokens), 100.0)
        assert isinstance(task, DecodeTask)
        times = aligned(task.task_id, len(TEXT), 0.0) if task.sot_sequence else None
        return DecodedTokens(task.task_id, DECODED, (-0.1,) * len(DECODED), -9.0, times)


def request(sot_sequence: tuple[int, ...]) -> DecodeRequest:
    tokens, n_task = TOKENIZER.prompt_tokens("en", WhisperTask.TRANSCRIBE, previous=(), timestamps=True)
    return DecodeRequest(tokens, n_task, 0.0, 1, 224, logprobs=False, sot_sequence=sot_sequence)


async def test_alignment_that_came_with_the_text_is_not_asked_for() -> None:
    double = ProcessDouble()
    window = TorchWindow(double, np.zeros(16_000, np.float32))
    assert (await window.decode(request(SOT_SEQUENCE))).tokens == DECODED[:-1]
    assert await window.align(SOT_SEQUENCE, TEXT) == Alignment(
        tuple(map(float, range(len(TEXT) + 1))), (0.5,) * len(TEXT)
    )
    (task,) = double.tasks
    assert isinstance(task, DecodeTask)
    assert task.n_positions == 50


@pytest.mark.parametrize(
    ("sot_sequence", "tokens"), [(SOT_SEQUENCE, TEXT[:-1]), (SOT_SEQUENCE, (*TEXT, 11)), (SOT_SEQUENCE[:1], TEXT)]
)
async def test_other_texts_are_aligned_by_the_process(sot_sequence: tuple[int, ...], tokens: tuple[int, ...]) -> None:
    double = ProcessDouble()
    window = TorchWindow(double, np.zeros(16_000, np.float32))
    await window.decode(request(SOT_SEQUENCE))
    assert (await window.align(sot_sequence, tokens)).token_starts_s[0] == 100.0


async def test_alignment_of_the_text_before_is_dropped() -> None:
    double = ProcessDouble()
    window = TorchWindow(double, np.zeros(16_000, np.float32))
    await window.decode(request(SOT_SEQUENCE))
    await window.decode(request(()))
    assert (await window.align(SOT_SEQUENCE, TEXT)).token_starts_s[0] == 100.0


async def test_windows_of_a_long_recording_are_written_by_threads() -> None:
    """All but two, so that the event loop goes on; in the next iteration it writes again."""
    pool = SharedAudioPool.create(6)
    write, writers = pool.write, []

    def noting(slot: int, samples: Samples) -> AudioSlot:
        writers.append(threading.current_thread() is threading.main_thread())
        return write(slot, samples)

    pool.write = noting  # type: ignore[method-assign]
    sounds = [np.full(16_000, 0.1 * (slot + 1), np.float32) for slot in range(6)]
    written = await asyncio.gather(*(pool.fill(slot, sounds[slot]) for slot in range(5)))
    assert sorted(writers) == [False] * (5 - WRITES_PER_ITERATION) + [True] * WRITES_PER_ITERATION
    written.append(await pool.fill(5, sounds[5]))
    assert writers[5]
    for one, sound in zip(written, sounds, strict=True):
        np.testing.assert_allclose(pool.samples[one.index][:16_000] * one.scale, sound, atol=1e-5)
        assert not pool.samples[one.index][16_000:].any()
    pool.close()
