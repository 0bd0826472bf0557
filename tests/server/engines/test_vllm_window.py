"""A window's requests to vLLM and what is made of the answers, with a double in vLLM's place."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_kit.demo import DEMO, checkpoint_like_demo
from whisper_server.engine_protocol import DecodeRequest
from whisper_server.engines.vllm.model_files import ModelFiles, read_model_files
from whisper_server.engines.vllm.plans import BASE, LOGPROB_STEPS, Plan
from whisper_server.engines.vllm.window import Sound, VllmWindow
from whisper_server.errors import InternalError, StartError
from whisper_server.transcript import Task

FILES = read_model_files(DEMO)
TOKENIZER, VOCABULARY = FILES.tokenizer, FILES.vocabulary
SECOND = np.sin(np.arange(16_000, dtype=np.float32)) * np.float32(0.25)


@dataclass(frozen=True)
class Said:
    tokens: tuple[int, ...]
    columns: tuple[tuple[float, ...], ...] = ()


@dataclass
class VllmDouble:
    answer: Said = Said(())
    aligned: Any = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    files: ModelFiles = FILES

    async def generate(
        self, sound: Sound, prompt: Sequence[int], plan: Plan, *, max_tokens: int, columns: Sequence[int]
    ) -> Said:
        self.asked.append(
            {"sound": sound, "prompt": list(prompt), "plan": plan, "max_tokens": max_tokens, "columns": list(columns)}
        )
        return self.answer

    async def align(self, request: list[Any]) -> Any:
        self.asked.append({"align": request})
        return self.aligned


def closing(sum_logprob: float, no_speech_prob: float) -> tuple[int, ...]:
    steps = round(-sum_logprob * LOGPROB_STEPS)
    return (steps // BASE, steps % BASE, round(no_speech_prob * (BASE - 1)), VOCABULARY.stop)


def request(*, timestamps: bool, prompt: str = "", logprobs: bool = False, max_new_tokens: int = 224) -> DecodeRequest:
    previous = TOKENIZER.previous_text(prompt, [])
    tokens, n_task = TOKENIZER.prompt_tokens("en", Task.TRANSCRIBE, previous=previous, timestamps=timestamps)
    return DecodeRequest(tokens, n_task, 0.2, 1, max_new_tokens, logprobs)


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("prompt", ["", "some words before"])
async def test_a_text_is_decoded_from_the_start_token_and_what_follows_it_is_forced(
    timestamps: bool,
    prompt: str,
) -> None:
    text = TOKENIZER.encode_text(" Good morning.")
    asked = request(timestamps=timestamps, prompt=prompt)
    forced = asked.prompt_tokens[-(asked.n_task_tokens - 1) :]
    double = VllmDouble(Said((*forced, *text, *closing(-3.25, 0.5))))
    decoded = await VllmWindow(double, SECOND).decode(asked)
    (seen,) = double.asked
    assert seen["prompt"][-1] == TOKENIZER.special.startoftranscript
    assert (*seen["prompt"], *forced) == asked.prompt_tokens
    assert seen["plan"] == Plan(forced=forced, timestamps=timestamps, temperature=0.2, max_new_tokens=224)
    assert seen["max_tokens"] == len(forced) + 224 + 4
    assert seen["columns"] == []
    assert decoded.tokens == text
    assert decoded.sum_logprob == pytest.approx(-3.25, abs=1e-3)
    assert decoded.no_speech_prob == pytest.approx(0.5, abs=1e-3)
    assert not decoded.hit_length_limit
    assert decoded.token_logprobs == ()


async def test_logprobs_are_those_of_the_text_tokens() -> None:
    text = TOKENIZER.encode_text(" Good morning.")
    asked = request(timestamps=False, logprobs=True)
    n_forced = asked.n_task_tokens - 1
    tokens = (*asked.prompt_tokens[-n_forced:], *text, *closing(-1, 0))
    columns = tuple((-float(place), 0.0) for place in range(len(tokens)))
    decoded = await VllmWindow(VllmDouble(Said(tokens, columns)), SECOND).decode(asked)
    assert decoded.token_logprobs == tuple(-float(n_forced + place) for place in range(len(text)))


async def test_the_length_limit_leaves_room_for_the_figures() -> None:
    double = VllmDouble(Said((0, 0, 0, *([9] * 12), *closing(-1, 0))))
    decoded = await VllmWindow(double, SECOND).decode(request(timestamps=False, max_new_tokens=12))
    assert decoded.hit_length_limit
    await VllmWindow(double, SECOND).decode(request(timestamps=False, prompt="word " * 400, max_new_tokens=448))
    seen = double.asked[-1]
    assert len(seen["prompt"]) + seen["max_tokens"] == FILES.shape.n_text_positions


async def test_an_answer_without_its_end_is_an_error() -> None:
    with pytest.raises(InternalError):
        await VllmWindow(VllmDouble(Said((1, 2, 3, 4, 5, 6, 7))), SECOND).decode(request(timestamps=False))


async def test_languages_come_best_first_and_sum_to_one() -> None:
    languages = TOKENIZER.languages
    logprobs = [-20.0] * len(languages)
    logprobs[languages.index("de")], logprobs[languages.index("fa")] = math.log(0.6), math.log(0.2)
    double = VllmDouble(Said((0,), ((-1.0, *logprobs),)))
    guess = await VllmWindow(double, SECOND).detect_language()
    assert double.asked[0]["plan"] == Plan(detects=True)
    assert double.asked[0]["max_tokens"] == 1
    assert [code for code, _ in guess.probabilities[:2]] == ["de", "fa"]
    assert guess.probabilities[0][1] == pytest.approx(0.75, abs=1e-4)
    assert sum(probability for _, probability in guess.probabilities) == pytest.approx(1)


async def test_words_are_aligned_over_the_sounds_own_length() -> None:
    attention = np.zeros((4, 50), dtype=np.float32)
    for row in range(4):
        attention[row, row * 12 : row * 12 + 12] = 1
    double = VllmDouble(aligned=[4, 50, attention.tobytes(), [0.5, 0.25, 1.0]])
    sot = TOKENIZER.sot_sequence("en", Task.TRANSCRIBE)
    alignment = await VllmWindow(double, SECOND).align(sot, (11, 12, 13))
    samples, scale, n_positions, heads, sot_sequence, notimestamps, text, end = double.asked[0]["align"]
    heard = np.frombuffer(samples, dtype=np.int16) * scale
    assert np.abs(heard - SECOND).max() < 1e-5
    assert n_positions == 50
    assert heads == json.loads((DEMO / "generation_config.json").read_text())["alignment_heads"]
    assert (sot_sequence, notimestamps, text, end) == (
        list(sot),
        TOKENIZER.special.notimestamps,
        [11, 12, 13],
        TOKENIZER.special.endoftext,
    )
    assert alignment.token_starts_s == pytest.approx([0, 0.24, 0.48, 0.72], abs=0.021)
    assert alignment.token_probabilities == (0.5, 0.25, 1.0)


def test_silence_survives_packing() -> None:
    sound = Sound.of(np.zeros(100, dtype=np.float32))
    assert not sound.samples.any()
    assert math.isfinite(sound.scale)


def test_model_files_tell_what_the_rules_must_know() -> None:
    assert VOCABULARY.n_tokens == 6609
    assert VOCABULARY.timestamp_begin == VOCABULARY.notimestamps + 1
    assert VOCABULARY.suppressed_first == (5000,)
    assert VOCABULARY.stop == TOKENIZER.special.startoftranscript
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
def test_what_is_no_whisper_checkpoint_is_refused(
    tmp_path: Path, without: tuple[str, ...], changes: dict[str, Any], reason: str
) -> None:
    folder = checkpoint_like_demo(tmp_path / "model", without=without, json_changes=changes)
    with pytest.raises(StartError, match=r"^MODEL_ID: ") as caught:
        read_model_files(folder)
    assert reason in str(caught.value)


def test_a_ctranslate2_folder_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(StartError, match="ENGINE=ctranslate2"):
        read_model_files(tmp_path)


def test_alignment_heads_are_the_last_half_of_the_layers_where_none_are_named(tmp_path: Path) -> None:
    changes = {"generation_config.json": {"alignment_heads": None}}
    heads = read_model_files(checkpoint_like_demo(tmp_path / "model", json_changes=changes)).alignment_heads
    assert heads == tuple((layer, head) for layer in (2, 3) for head in range(4))
