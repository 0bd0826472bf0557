"""The language is that of several windows while one is unsure."""

from __future__ import annotations

import numpy as np
import pytest

from model_kit.demo import demo_tokenizer
from model_kit.engine_double import EngineDouble, VoiceDetectorDouble, WindowDouble, said
from model_kit.pipeline import assert_idle, number, numbered, options, pipeline, recording, spans
from whisper_server.speech.language import LanguageVote, language_of_window
from whisper_server.whisper.engine_protocol import LanguageGuess
from whisper_server.whisper.transcript import Samples


def vote(candidates: tuple[str, ...], *windows: dict[str, float]) -> LanguageVote:
    counted = LanguageVote(candidates)
    for window in windows:
        counted.add(LanguageGuess(tuple(window.items())))
    return counted


SURE = {"en": 0.8, "ru": 0.2}
UNSURE = {"en": 0.4, "ru": 0.3, "uk": 0.3}
RUSSIAN = {"ru": 0.9, "en": 0.1}


@pytest.mark.parametrize(
    ("windows", "language", "is_decided"),
    [
        ([], "en", False),
        ([SURE], "en", True),
        ([UNSURE], "en", False),
        ([UNSURE, RUSSIAN], "ru", True),
        ([UNSURE, UNSURE], "en", False),
        ([UNSURE, UNSURE, UNSURE], "en", True),
    ],
)
def test_unsure_windows_are_averaged(windows: list[dict[str, float]], language: str, is_decided: bool) -> None:
    counted = vote(("en", "ru", "uk"), *windows)
    assert (counted.language, counted.is_decided) == (language, is_decided)


def test_probabilities_are_those_among_the_candidates() -> None:
    counted = vote(("ru", "uk"), {"en": 0.9, "ru": 0.06, "uk": 0.04})
    assert (counted.language, counted.is_decided) == ("ru", True)


def test_single_candidate_needs_no_window() -> None:
    assert vote(("ru",)).is_decided


@pytest.mark.parametrize(
    ("window", "candidates", "language"),
    [
        ({"es": 0.95, "en": 0.05}, ("en", "es", "fr"), "es"),
        ({"es": 0.6, "en": 0.4}, ("en", "es", "fr"), "en"),
        ({"de": 0.95, "es": 0.045, "en": 0.005}, ("en", "es"), "es"),
        ({"de": 0.95}, ("en", "es"), "en"),
    ],
)
def test_window_changes_the_language_where_it_is_clear(
    window: dict[str, float], candidates: tuple[str, ...], language: str
) -> None:
    assert language_of_window(LanguageGuess(tuple(window.items())), "en", candidates) == language


class Changing(EngineDouble):
    """English in the first two windows, then Japanese, which is written without spaces."""

    def open_window(
        self, samples: Samples, *, owner: str = "", is_live: bool = False, timestamps: bool = True
    ) -> WindowDouble:
        self.languages = (("en", 0.9), ("ja", 0.1)) if number(samples) < 4 else (("ja", 0.9), ("en", 0.1))
        return super().open_window(samples, owner=owner, is_live=is_live, timestamps=timestamps)


@pytest.mark.parametrize(
    ("languages", "language", "written", "found"),
    [
        ((), None, "w0 w2w4w6", ("en", "ja")),
        (("en",), None, "w0 w2 w4 w6", ("en",)),
        ((), "en", "w0 w2 w4 w6", ("en",)),
    ],
)
async def test_each_window_is_decoded_in_its_language(
    languages: tuple[str, ...], language: str | None, written: str, found: tuple[str, ...]
) -> None:
    engine = Changing(lambda samples, _request: said(f"w{number(samples)}"), n_slots=1)
    windows_of_2_s = tuple((first, last) for (first, _), (_, last) in zip(spans(8)[::2], spans(8)[1::2], strict=True))
    transcriber = pipeline(engine, VoiceDetectorDouble(spans=windows_of_2_s))
    transcriber.max_window_s = 2.0
    async with transcriber.transcribe(recording(8), options(language=language, languages=languages)) as job:
        transcript = await job.transcript()
    assert (transcript.text, transcript.languages, transcript.language) == (written, found, "en")
    codes = demo_tokenizer().special.languages
    assert [codes["ja"] in request.prompt_tokens for request in engine.requests] == [False] * 2 + [
        found == ("en", "ja")
    ] * 2
    assert_idle(transcriber, engine)


@pytest.mark.parametrize(
    ("languages", "language", "reported"), [((), None, "en"), (("de", "es"), None, "de"), ((), "ru", "ru")]
)
async def test_recording_without_words_has_no_guessed_language(
    languages: tuple[str, ...], language: str | None, reported: str
) -> None:
    engine = EngineDouble(lambda _samples, _request: said(""), languages=(("cy", 0.5), ("es", 0.3), ("de", 0.2)))
    transcriber = pipeline(engine, VoiceDetectorDouble(lambda _samples: False, spans(1)))
    async with transcriber.transcribe(recording(1), options(language=language, languages=languages)) as job:
        assert (await job.transcript()).language == reported


@pytest.mark.parametrize(("peak", "decoded_in", "n_detections"), [(4 / 2**15, "en", 0), (17 / 2**15, "cy", 1)])
async def test_dither_is_not_decoded_in_a_guessed_language(peak: float, decoded_in: str, n_detections: int) -> None:
    engine = EngineDouble(lambda _samples, _request: said(""), languages=(("cy", 0.5), ("en", 0.3)))
    transcriber = pipeline(engine, VoiceDetectorDouble(lambda _samples: False, spans(1)))
    dither = np.random.default_rng(0).uniform(-peak, peak, 16_000).astype(np.float32)
    async with transcriber.transcribe(dither, options(language=None)) as job:
        await job.transcript()
    assert engine.n_detections == n_detections
    assert [demo_tokenizer().special.languages[decoded_in] in request.prompt_tokens for request in engine.requests] == [
        True
    ]


class Engine(EngineDouble):
    """Unsure in the first window, Russian after it."""

    def open_window(
        self, samples: Samples, *, owner: str = "", is_live: bool = False, timestamps: bool = True
    ) -> WindowDouble:
        self.languages = (("en", 0.4), ("ru", 0.3), ("de", 0.3)) if number(samples) == 0 else (("ru", 1.0),)
        return super().open_window(samples, owner=owner, is_live=is_live, timestamps=timestamps)


@pytest.mark.parametrize("n_slots", [1, 4])
async def test_next_window_is_examined_while_the_language_is_unsure(n_slots: int) -> None:
    engine = Engine(numbered, n_slots=n_slots)
    transcriber = pipeline(engine, VoiceDetectorDouble(spans=spans(4)))
    async with transcriber.transcribe(recording(4), options(language=None)) as job:
        transcript = await job.transcript()
    assert transcript.language == "ru"
    assert transcript.text == "w0 w1 w2 w3"
    assert engine.n_detections == 2
    assert engine.max_open <= n_slots
    assert_idle(transcriber, engine)


async def test_recording_of_one_unsure_window_is_examined_once() -> None:
    engine = Engine(numbered)
    async with pipeline(engine, VoiceDetectorDouble(spans=spans(1))).transcribe(
        np.zeros(16_000, np.float32), options(language=None)
    ) as job:
        assert (await job.transcript()).language == "en"
    assert engine.n_detections == 1
