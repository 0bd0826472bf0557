"""The language is that of several windows while one is unsure."""

from __future__ import annotations

import numpy as np
import pytest

from model_kit.engine_double import EngineDouble, VoiceDetectorDouble, WindowDouble
from model_kit.pipeline import assert_idle, number, numbered, options, pipeline, recording, spans
from whisper_server.speech.language import LanguageVote
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


class Engine(EngineDouble):
    """Unsure in the first window, Russian after it."""

    def open_window(self, samples: Samples) -> WindowDouble:
        self.languages = (("en", 0.4), ("ru", 0.3), ("de", 0.3)) if number(samples) == 0 else (("ru", 1.0),)
        return super().open_window(samples)


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
