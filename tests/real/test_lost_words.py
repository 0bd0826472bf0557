"""No word is lost: what a window leaves undecoded is decoded again (openai/whisper's `seek`); in each its own language."""

from __future__ import annotations

from itertools import pairwise

import av
import numpy as np
import numpy.typing as npt
import pytest

from real_kit.scores import errors, normalised
from real_kit.speech import RATE_HZ, Clip, Recording, Sentence, joined, long_recording, prompts, silence, wav
from server_kit.api import Api
from server_kit.process import REPOSITORY
from speech_kit.scores import word_errors
from whisper_server.whisper.constants import SAMPLE_RATE_HZ


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


@pytest.mark.parametrize("response_format", ["json", "verbose_json"])
def test_menu_that_says_a_phrase_again_is_heard_at_temperature_0(api: Api, response_format: str) -> None:
    """Its compression ratio is 2.5: it was sampled until nonsense passed, each time another."""
    menu = [clip for clip in prompts("en") if 3 < clip.duration_s < 8][3:9]
    sound = joined(*(part for clip in menu for part in (clip.sound(), silence(0.5))))
    answer = api.post(wav(sound), language="en", response_format=response_format).json()
    said = " ".join(clip.text for clip in menu)
    assert word_errors([" ".join(normalised(said, "en"))], [" ".join(normalised(answer["text"], "en"))]).rate < 0.06
    assert {segment["temperature"] for segment in answer.get("segments", [])} <= {0.0}


def test_sentences_after_an_early_end_are_heard_without_timestamps(api: Api) -> None:
    """The first decoding ends after "intente de nuevo."."""
    starts_s = {"please-try-again": 0.0, "vm-msgsaved": 2.879, "vm-tohearenv": 5.65, "vm-unknown-caller": 11.637}
    sound = silence(15.5)
    for name, start_s in starts_s.items():
        said = _prompt("es", name).sound
        sound[round(start_s * RATE_HZ) :][: len(said)] = said
    assert {"guardado", "persona"} <= set(normalised(api.text(wav(sound), language="es"), "es"))


def test_sentence_with_the_time_of_the_whole_window_is_not_all_of_it(api: Api) -> None:
    """The first decoding is "<|0.00|> Grazie per la sua pazienza.<|23.28|>": 49 words of six sentences were lost."""
    menu = _prompt("it", "vm-options")
    sound = joined(_prompt("it", "queue-thankyou").sound, silence(1.05), menu.sound)
    heard = normalised(str(api.verbose(wav(sound), language="it")["text"]), "it")
    assert {"occupato", "nome", "password", "principale"} <= set(heard)


def test_menu_in_cyrillic_letters_is_decoded_once(api: Api) -> None:
    """In bytes of UTF-8 its compression ratio is 2.45: it was sampled until wrong letters made it less."""
    n_before = api.metric("whisper_ladder_fallbacks_total")
    menu = _prompt("ru", "conf-usermenu-162")
    assert errors(menu, api.text(wav(menu.sound), language="ru")).rate < 0.2
    assert api.metric("whisper_ladder_fallbacks_total") == n_before


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


def _reading() -> npt.NDArray[np.float32]:
    """A volunteer's sentence, at 16 kHz."""
    with av.open(str(REPOSITORY / "demo" / "voice.m4a")) as container:
        resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE_HZ)
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def test_early_timestamp_of_the_last_word_adds_no_word(api: Api) -> None:
    """At the second reading's end it is 0.5 s early: decoded alone, the rest of "disposed" is "most."."""
    twice = np.concatenate([_reading(), np.zeros(round(1.5 * SAMPLE_RATE_HZ), np.float32)] * 2)
    heard = api.post(wav(twice, SAMPLE_RATE_HZ), response_format="vtt").text
    assert normalised(heard, "en")[-5:] == ["is", "to", "be", "ill", "disposed"]


def test_each_half_is_in_its_own_language(api: Api) -> None:
    half_s = 22.0
    halves = [long_recording(language, n=8).sound[: round(half_s * RATE_HZ)] for language in ("en", "fr")]
    answer = api.json(wav(joined(*halves)))
    assert [one["code"] for one in answer["languages"]] == ["en", "fr"]
    words = answer["text"].lower().split()
    assert {"the", "please"} <= set(words[: len(words) // 2])
    assert not {"the", "please"} & set(words[-20:])
