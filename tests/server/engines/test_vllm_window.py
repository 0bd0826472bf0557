"""A window's requests to vLLM and the results from its outputs, with a double in place of vLLM."""

import asyncio
import json
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_kit.demo import DEMO, checkpoint_like_demo
from whisper_server.engines.gpu.model_files import ModelFiles, read_model_files
from whisper_server.engines.gpu.shared_audio import AudioSlot, SharedAudioPool
from whisper_server.engines.vllm.window import VllmWindow
from whisper_server.engines.vllm.wire import (
    SIDE_CHANNEL_OFFSET,
    AlignResult,
    AlignTask,
    WhisperOutput,
    WhisperParams,
)
from whisper_server.errors import InternalError, StartError
from whisper_server.whisper.engine_protocol import DecodeRequest
from whisper_server.whisper.transcript import Samples, Task

FILES = read_model_files(DEMO)
TOKENIZER, VOCABULARY = FILES.tokenizer, FILES.vocabulary
SECOND = np.sin(np.arange(16_000, dtype=np.float32)) * np.float32(0.25)


@dataclass
class VllmDouble:
    output: WhisperOutput = field(default_factory=lambda: WhisperOutput((), (), ()))
    aligned: AlignResult | None = None
    tasks: list[AlignTask] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    files: ModelFiles = FILES
    audio_pool: SharedAudioPool = field(default_factory=lambda: SharedAudioPool.create(2))

    async def generate(
        self, slot: AudioSlot, prompt: Sequence[int], params: WhisperParams, *, max_tokens: int
    ) -> WhisperOutput:
        self.asked.append({"slot": slot, "prompt": tuple(prompt), "params": params, "max_tokens": max_tokens})
        return self.output

    async def align(self, task: AlignTask) -> AlignResult:
        assert self.aligned is not None
        self.tasks.append(AlignTask.from_wire(json.loads(json.dumps(task.to_wire()))))
        return AlignResult.from_wire(self.aligned.to_wire())


def output_of(text: tuple[int, ...], *, ends: bool = True, no_speech_prob: float = 0.0) -> WhisperOutput:
    """Each token a little less likely than the one before it."""
    tokens = (*text, VOCABULARY.endoftext) if ends else text
    logprobs = tuple(-0.25 * place for place in range(len(tokens)))
    return WhisperOutput(tokens, logprobs, (math.log(no_speech_prob or 1e-9) + SIDE_CHANNEL_OFFSET,))


def request(*, timestamps: bool, prompt: str = "", logprobs: bool = False, max_new_tokens: int = 224) -> DecodeRequest:
    previous = TOKENIZER.previous_text(prompt, [])
    tokens, n_task = TOKENIZER.prompt_tokens("en", Task.TRANSCRIBE, previous=previous, timestamps=timestamps)
    return DecodeRequest(tokens, n_task, 0.2, 1, max_new_tokens, logprobs)


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("prompt", ["", "some words before"])
async def test_window_is_decoded_from_its_prompt(timestamps: bool, prompt: str) -> None:
    text = TOKENIZER.encode_text(" Good morning.")
    asked = request(timestamps=timestamps, prompt=prompt)
    double = VllmDouble(output_of(text, no_speech_prob=0.5))
    decoded = await VllmWindow(double, SECOND).decode(asked)
    (seen,) = double.asked
    assert seen["prompt"] == asked.prompt_tokens
    assert seen["params"] == WhisperParams(n_task_tokens=asked.n_task_tokens, timestamps=timestamps, temperature=0.2)
    assert seen["max_tokens"] == 224
    assert decoded.tokens == text
    assert decoded.sum_logprob == pytest.approx(-0.25 * sum(range(len(text) + 1)))
    assert decoded.no_speech_prob == pytest.approx(0.5, abs=1e-3)
    assert not decoded.hit_length_limit
    assert decoded.token_logprobs == ()


async def test_logprobs_are_those_of_the_text_tokens() -> None:
    text = TOKENIZER.encode_text(" Good morning.")
    decoded = await VllmWindow(VllmDouble(output_of(text)), SECOND).decode(request(timestamps=False, logprobs=True))
    assert decoded.token_logprobs == tuple(-0.25 * place for place in range(len(text)))


async def test_output_without_end_token_has_hit_the_length_limit() -> None:
    double = VllmDouble(output_of((9,) * 12, ends=False))
    decoded = await VllmWindow(double, SECOND).decode(request(timestamps=False, max_new_tokens=12))
    assert decoded.hit_length_limit
    assert decoded.tokens == (9,) * 12


async def test_prompt_and_text_fit_into_the_context() -> None:
    double = VllmDouble(output_of((9,) * 5))
    await VllmWindow(double, SECOND).decode(request(timestamps=False, prompt="word " * 400, max_new_tokens=448))
    (seen,) = double.asked
    assert len(seen["prompt"]) + seen["max_tokens"] == FILES.shape.n_text_positions


async def test_output_that_breaks_off_is_an_error() -> None:
    with pytest.raises(InternalError):
        await VllmWindow(VllmDouble(output_of((1, 2, 3), ends=False)), SECOND).decode(request(timestamps=False))


async def test_languages_are_ranked_and_sum_to_one() -> None:
    languages = TOKENIZER.languages
    logprobs = [SIDE_CHANNEL_OFFSET - 20.0] * len(languages)
    logprobs[languages.index("de")] = math.log(0.6) + SIDE_CHANNEL_OFFSET
    logprobs[languages.index("fa")] = math.log(0.2) + SIDE_CHANNEL_OFFSET
    double = VllmDouble(WhisperOutput((0,), (0.0,), tuple(logprobs)))
    guess = await VllmWindow(double, SECOND).detect_language()
    assert double.asked[0]["params"] == WhisperParams(n_task_tokens=1, detects_language=True)
    assert double.asked[0]["prompt"] == (TOKENIZER.special.startoftranscript,)
    assert double.asked[0]["max_tokens"] == 1
    assert [code for code, _ in guess.probabilities[:2]] == ["de", "fa"]
    assert guess.probabilities[0][1] == pytest.approx(0.75, abs=1e-4)
    assert sum(probability for _, probability in guess.probabilities) == pytest.approx(1)


async def test_words_are_aligned_over_the_audio_without_padding() -> None:
    attention = np.zeros((4, 50), dtype=np.float32)
    for row in range(4):
        attention[row, row * 12 : row * 12 + 12] = 1
    double = VllmDouble(aligned=AlignResult(attention, (0.5, 0.25, 1.0)))
    sot = TOKENIZER.sot_sequence("en", Task.TRANSCRIBE)
    alignment = await VllmWindow(double, SECOND).align(sot, (11, 12, 13))
    (task,) = double.tasks
    written = double.audio_pool.samples[task.slot] * task.scale
    assert np.abs(written[: len(SECOND)] - SECOND).max() < 1e-5
    assert not written[len(SECOND) :].any()
    assert task.n_positions == 50
    heads = json.loads((DEMO / "generation_config.json").read_text())["alignment_heads"]
    assert task.heads == tuple(map(tuple, heads))
    assert task.tokens == (*sot, TOKENIZER.special.notimestamps, 11, 12, 13, TOKENIZER.special.endoftext)
    assert alignment.token_starts_s == pytest.approx([0, 0.24, 0.48, 0.72], abs=0.021)
    assert alignment.token_probabilities == (0.5, 0.25, 1.0)


async def test_closed_windows_release_their_slots() -> None:
    double = VllmDouble(output_of((9,)))
    windows = [VllmWindow(double, SECOND) for _ in range(2)]
    for window in windows:
        await window.decode(request(timestamps=False))
    assert {seen["slot"].index for seen in double.asked} == {0, 1}
    for window in windows:
        window.close()
        window.close()
    assert sorted([await double.audio_pool.acquire(), await double.audio_pool.acquire()]) == [0, 1]


async def test_slot_is_released_after_its_write_has_ended() -> None:
    double = VllmDouble(output_of((9,)))
    may_go_on = threading.Event()
    write = double.audio_pool.write

    def slowly(slot: int, samples: Samples) -> AudioSlot:
        may_go_on.wait()
        return write(slot, samples)

    double.audio_pool.write = slowly  # type: ignore[method-assign]
    window = VllmWindow(double, SECOND)
    decoding = asyncio.create_task(window.decode(request(timestamps=False)))
    await asyncio.sleep(0.01)
    decoding.cancel()
    await asyncio.wait([decoding])
    window.close()
    await asyncio.sleep(0.01)
    free = await double.audio_pool.acquire()
    next_one = asyncio.create_task(double.audio_pool.acquire())
    await asyncio.sleep(0.01)
    assert not next_one.done()
    may_go_on.set()
    assert {free, await asyncio.wait_for(next_one, 5)} == {0, 1}


def test_model_files_hold_the_vocabulary_of_the_rules() -> None:
    assert VOCABULARY.n_tokens == 6609
    assert VOCABULARY.timestamp_begin == VOCABULARY.notimestamps + 1
    assert VOCABULARY.suppressed_first == (5000,)
    assert VOCABULARY.startoftranscript == TOKENIZER.special.startoftranscript
    assert len(VOCABULARY.languages) == len(TOKENIZER.languages)
    assert FILES.is_multilingual


@pytest.mark.parametrize(
    ("without", "changes", "reason"),
    [
        (("config.json",), {}, "has no config.json"),
        (("tokenizer.json",), {}, "has no tokenizer.json"),
        (("model.safetensors",), {}, "lacks model.safetensors"),
        ((), {"config.json": {"model_type": "bert"}}, "is a model of type 'bert'"),
        ((), {"config.json": {"d_model": None}}, "is not as transformers writes"),
    ],
)
def test_other_checkpoints_than_whisper_are_refused(
    tmp_path: Path, without: tuple[str, ...], changes: dict[str, Any], reason: str
) -> None:
    folder = checkpoint_like_demo(tmp_path / "model", without=without, json_changes=changes)
    with pytest.raises(StartError, match=r"^MODEL_ID: ") as caught:
        read_model_files(folder)
    assert reason in str(caught.value)


def test_ctranslate2_folder_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(StartError, match="ENGINE=ctranslate2"):
        read_model_files(tmp_path)


def test_alignment_heads_default_to_the_last_half_of_the_layers(tmp_path: Path) -> None:
    changes = {"generation_config.json": {"alignment_heads": None}}
    heads = read_model_files(checkpoint_like_demo(tmp_path / "model", json_changes=changes)).alignment_heads
    assert heads == tuple((layer, head) for layer in (2, 3) for head in range(4))


def test_slot_is_silent_behind_its_window() -> None:
    pool = SharedAudioPool.create(2)
    for n_samples in (4000, 1000, 3000):
        slot = pool.write(1, np.linspace(-0.5, 0.25, n_samples, dtype=np.float32))
        sound = pool.samples[1] * slot.scale
        assert np.allclose(sound[:n_samples], np.linspace(-0.5, 0.25, n_samples), atol=1e-5)
        assert not sound[n_samples:].any()
    assert not pool.samples[0].any()
    pool.close()
