"""The CPU engine on the demo model: single encoding, shared batches, failures, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model_kit.demo import DEMO, demo_tokenizer
from speech_kit.sentences import spoken
from speech_kit.sounds import silence, white_noise
from whisper_server.engines.ctranslate2.engine import (
    Ctranslate2Config,
    Ctranslate2Engine,
    Ctranslate2Window,
    thread_plan,
)
from whisper_server.errors import InternalError, Unavailable
from whisper_server.whisper.engine_protocol import DecodeRequest
from whisper_server.whisper.mel import padded_mel_frames
from whisper_server.whisper.transcript import Task

SAMPLES, TEXT = spoken("en", 0).samples, " " + spoken("en", 0).text
MAX_DRAWS = 100
"""Until two differ: chance may draw the same words several times."""


def make_engine(cache: Path) -> Ctranslate2Engine:
    return Ctranslate2Engine(Ctranslate2Config("demo", DEMO, cache, "auto", n_threads=1, max_batch_windows=4))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("converted")


@pytest.fixture(scope="module")
def engine(cache: Path) -> Iterator[Ctranslate2Engine]:
    engine = make_engine(cache)
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.stop())


@pytest.fixture(scope="module")
def window(engine: Ctranslate2Engine) -> Ctranslate2Window:
    """A window that is encoded already."""
    window = engine.open_window(SAMPLES)
    asyncio.run(window.encode())
    return window


def request(
    language: str = "en", *, previous: Sequence[int] = (), timestamps: bool = False, **changes: Any
) -> DecodeRequest:
    prompt, n_task_tokens = demo_tokenizer().prompt_tokens(
        language, Task.TRANSCRIBE, previous=previous, timestamps=timestamps
    )
    usual = DecodeRequest(prompt, n_task_tokens, 0.0, 1, 448 - len(prompt), logprobs=False)
    return replace(usual, **changes)


class Watched:
    """Sizes of the batches of each computation; `fail_on` decides which batches fail."""

    def __init__(self, engine: Ctranslate2Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: dict[str, list[int]] = {}
        self.fail_on: Callable[[str, list[Any]], bool] = lambda _name, _payloads: False
        for name in ("encode", "detect", "decode", "align"):
            monkeypatch.setattr(engine._model, name, self._watching(name, getattr(engine._model, name)))

    def _watching(self, name: str, compute: Any) -> Any:
        def watched(payloads: list[Any]) -> Any:
            self.sizes.setdefault(name, []).append(len(payloads))
            if self.fail_on(name, payloads):
                raise RuntimeError("no position encodings")
            return compute(payloads)

        return watched


@pytest.fixture
def watched(engine: Ctranslate2Engine, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(engine, monkeypatch)


def text(tokens: Sequence[int]) -> str:
    return demo_tokenizer().detokenize(tokens)


async def test_window_is_encoded_once_for_all_its_computations(engine: Ctranslate2Engine, watched: Watched) -> None:
    window = engine.open_window(SAMPLES)
    guess = await window.detect_language()
    cold = await window.decode(request())
    await window.decode(request(temperature=0.4))
    alignment = await window.align(demo_tokenizer().sot_sequence("en", Task.TRANSCRIBE), cold.tokens)
    window.close()
    window.close()

    assert guess.probabilities[0][0] == "en"
    assert sum(probability for _, probability in guess.probabilities) == pytest.approx(1, abs=1e-3)
    assert text(cold.tokens) == TEXT
    assert len(alignment.token_starts_s) == len(cold.tokens) + 1
    assert len(alignment.token_probabilities) == len(cold.tokens)
    assert watched.sizes == {"encode": [1], "detect": [1], "decode": [1, 1], "align": [1]}


async def test_windows_of_different_requests_share_batches(engine: Ctranslate2Engine, watched: Watched) -> None:
    languages = ("en", "de", "es", "ru")

    async def decode(number: int) -> str:
        language = languages[number % 4]
        window = engine.open_window(spoken(language, number).samples)
        return text((await window.decode(request(language))).tokens)

    together = await asyncio.gather(*(decode(number) for number in range(8)))
    assert watched.sizes["decode"] == [4, 4]
    assert watched.sizes["encode"] == [1] * 8
    assert together[:2] == [await decode(0), await decode(1)]


async def test_prompts_of_different_lengths_are_decoded_concurrently(
    window: Ctranslate2Window, watched: Watched
) -> None:
    tokenizer = demo_tokenizer()
    prompts = [
        (),
        tokenizer.encode_text(" Trains"),
        tokenizer.encode_text(" A story of trains and cities. " * 30)[-223:],
    ]
    decoded = await asyncio.gather(*(window.decode(request(previous=prompt)) for prompt in prompts))
    assert [text(one.tokens) for one in decoded[:2]] == [TEXT, TEXT]
    assert watched.sizes == {"decode": [1, 1, 1]}


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("beam_size", [1, 5])
async def test_token_logprobs_add_up_to_the_sum(window: Ctranslate2Window, timestamps: bool, beam_size: int) -> None:
    """The sum has one term more: the end token's. The batch holds two windows, of which one ends earlier."""
    wanted = [request(language, timestamps=timestamps, beam_size=beam_size, logprobs=True) for language in ("en", "de")]
    for decoded in await asyncio.gather(*(window.decode(one) for one in wanted)):
        assert len(decoded.token_logprobs) == len(decoded.tokens)
        assert all(logprob <= 1e-6 for logprob in decoded.token_logprobs)
        assert -0.5 < decoded.sum_logprob - sum(decoded.token_logprobs) < 1e-3


async def test_temperature_above_zero_draws_tokens(window: Ctranslate2Window) -> None:
    drawn: set[tuple[int, ...]] = set()
    for _ in range(MAX_DRAWS):
        drawn |= {(await window.decode(request(temperature=1.0, max_new_tokens=20))).tokens}
        if len(drawn) > 1:
            break
    assert len(drawn) > 1
    surest = [(await window.decode(request(max_new_tokens=20))).tokens for _ in range(2)]
    assert surest[0] == surest[1]


@pytest.mark.parametrize("n_previous", [0, 3, 100])
@pytest.mark.parametrize("max_new_tokens", [1, 4])
async def test_token_limit_is_exact_and_reported(
    window: Ctranslate2Window, max_new_tokens: int, n_previous: int
) -> None:
    previous = demo_tokenizer().encode_text(" He took the train to the city. We leave at nine." * 20)[:n_previous]
    decoded = await window.decode(request(previous=previous, max_new_tokens=max_new_tokens))
    assert len(decoded.tokens) == max_new_tokens
    assert decoded.hit_length_limit


async def test_text_that_ends_before_the_limit_reports_no_limit(window: Ctranslate2Window) -> None:
    decoded = await window.decode(request())
    assert not decoded.hit_length_limit
    cut_off = await window.decode(request(max_new_tokens=len(decoded.tokens) + 1))
    assert cut_off.tokens == decoded.tokens
    assert not cut_off.hit_length_limit


async def test_silence_has_a_high_no_speech_probability(engine: Ctranslate2Engine, window: Ctranslate2Window) -> None:
    decoded = await engine.open_window(silence(3.0)).decode(request())
    assert decoded.no_speech_prob > 0.6
    assert not text(decoded.tokens).strip()
    assert (await window.decode(request())).no_speech_prob < 0.1


@pytest.mark.parametrize("n_samples", [1, 1600, 480_000])
async def test_any_text_is_aligned_with_any_audio(engine: Ctranslate2Engine, n_samples: int) -> None:
    tokens = demo_tokenizer().encode_text(" the" * 500)
    sot_sequence = demo_tokenizer().sot_sequence("en", Task.TRANSCRIBE)
    window = engine.open_window(white_noise(30.0)[:n_samples])
    for n_tokens in (1, 2, 443):
        starts_s = (await window.align(sot_sequence, tokens[:n_tokens])).token_starts_s
        assert len(starts_s) == n_tokens + 1
        assert list(starts_s) == sorted(starts_s)
        assert starts_s[0] >= 0
        assert starts_s[-1] <= n_samples / 16_000 + 0.02


async def test_failure_affects_its_own_batch_only(
    engine: Ctranslate2Engine, window: Ctranslate2Window, watched: Watched
) -> None:
    watched.fail_on = lambda name, payloads: name == "decode" and payloads[0][1].temperature == 0.2
    failed, fine = await asyncio.gather(
        window.decode(request(temperature=0.2)), window.decode(request()), return_exceptions=True
    )
    assert isinstance(failed, InternalError)
    assert "position encodings" not in failed.message  # the log has it
    assert not isinstance(fine, BaseException)
    assert engine.health() is None
    assert text((await window.decode(request())).tokens) == TEXT


async def test_cancelled_call_removes_its_item(engine: Ctranslate2Engine, watched: Watched) -> None:
    windows = [engine.open_window(SAMPLES) for _ in range(6)]
    calls = [asyncio.create_task(window.decode(request())) for window in windows]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for call in calls[1:]:
        call.cancel()
    await asyncio.wait(calls)
    assert text(calls[0].result().tokens) == TEXT
    assert all(call.cancelled() for call in calls[1:])
    assert sum(watched.sizes["encode"]) <= 2
    assert watched.sizes["decode"] == [1]
    assert engine.batches.n_queued == 0


async def test_stop_finishes_running_batches_and_fails_queued_items(cache: Path) -> None:
    engine = make_engine(cache)
    with pytest.raises(Unavailable):
        _ = engine.facts
    assert engine.health() == "the model is still loading"
    await engine.start()
    windows = [engine.open_window(SAMPLES) for _ in range(5)]
    calls = [asyncio.create_task(window.encode()) for window in windows]
    while engine.batches.n_queued != 4:
        await asyncio.sleep(0)
    await engine.stop()
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert not isinstance(results[0], BaseException)
    assert all(isinstance(result, Unavailable) for result in results[1:])
    assert engine.health() == "the engine has stopped"
    with pytest.raises(Unavailable):
        await windows[1].decode(request())
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("n_threads", [1, 2, 3, 4, 7, 16, 64])
def test_threads_are_divided_among_workers(n_threads: int) -> None:
    n_workers, n_each = thread_plan(n_threads)
    assert n_workers >= 1
    assert n_threads / 2 < n_workers * n_each <= n_threads


@pytest.mark.parametrize(
    ("duration_s", "padded_s"), [(0.01, 15), (13, 15), (13.01, 20), (18, 20), (23, 25), (25, 30), (28.5, 30), (30, 30)]
)
def test_window_is_padded_as_far_as_the_model_needs(duration_s: float, padded_s: int) -> None:
    assert padded_mel_frames(round(duration_s * 16_000)) == padded_s * 100


@pytest.mark.parametrize(
    ("duration_s", "how", "n_positions"),
    [
        (5.0, {"timestamps": False}, 750),
        (5.0, {"is_live": True}, 750),
        (5.0, {}, 1500),
        (29.0, {"timestamps": False}, 1500),
    ],
)
async def test_short_windows_without_timestamps_are_padded_less(
    engine: Ctranslate2Engine, duration_s: float, how: dict[str, bool], n_positions: int
) -> None:
    window = engine.open_window(silence(duration_s), **how)  # type: ignore[arg-type]
    assert (await window.encode()).shape[0] == n_positions
    window.close()
