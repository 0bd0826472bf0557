"""No word is lost: what a window leaves undecoded is decoded again (openai/whisper's `seek`); in each its own language."""

from __future__ import annotations

from itertools import pairwise

import pytest

from real_kit.scores import errors, normalised
from real_kit.speech import RATE_HZ, Clip, Recording, Sentence, joined, long_recording, prompts, wav
from server_kit.api import Api


def _prompt(language: str, name: str) -> Recording:
    clip: Clip = next(clip for clip in prompts(language) if clip.name == name)
    return Recording(name, language, clip.sound(), (Sentence(0.0, clip.duration_s, clip.text),))


@pytest.mark.parametrize("response_format", ["verbose_json", "srt"])
def test_window_that_ends_in_a_timestamp_pair_is_decoded_on(api: Api, response_format: str) -> None:
    prompt = _prompt("fr", "demo-congrats")
    heard = api.post(wav(prompt.sound), language="fr", response_format=response_format).text
    assert "standard" in heard, "the rest after <|23.94|><|23.94|> is lost"


def test_window_is_transcribed_to_its_end_without_timestamps(api: Api) -> None:
    prompt = _prompt("fr", "demo-congrats")
    assert "standard" in api.text(wav(prompt.sound), language="fr")


@pytest.mark.parametrize(("language", "max_deletions"), [("en", 3), ("fr", 25)])
def test_long_recording_keeps_its_words_with_times(api: Api, language: str, max_deletions: int) -> None:
    recording = long_recording(language)
    answer = api.verbose(wav(recording.sound), language=language)
    found = errors(recording, str(answer["text"]))
    assert found.deletions <= max_deletions
    assert found.sentences_lost == 0
    segments = answer["segments"]
    assert all(left["end"] <= right["start"] for left, right in pairwise(segments))
    texts = [normalised(segment["text"], language) for segment in segments]
    assert not [left for left, right in pairwise(texts) if left == right], "a sentence came out twice"


def test_each_half_is_in_its_own_language(api: Api) -> None:
    half_s = 22.0
    halves = [long_recording(language, n=8).sound[: round(half_s * RATE_HZ)] for language in ("en", "fr")]
    answer = api.json(wav(joined(*halves)))
    assert [one["code"] for one in answer["languages"]] == ["en", "fr"]
    words = answer["text"].lower().split()
    assert {"the", "please"} <= set(words[: len(words) // 2])
    assert not {"the", "please"} & set(words[-20:])
