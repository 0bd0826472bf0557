"""Fields that change what is decoded: language, prompt, keywords, temperature, task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from server_kit.api import Api, in_flight
from speech_kit.scores import word_errors
from speech_kit.sentences import LANGUAGE_NAMES, said, sentences, spoken
from speech_kit.sounds import silence, wav

TEXT = sentences("en")[0]
SPECIAL = ("<|endoftext|>", "<|startoftranscript|>", "<|nospeech|>", "<|0.00|>", "<|notimestamps|>", "<|de|>")


def _n_edits(text: str, said_text: str = TEXT) -> int:
    return word_errors([said_text], [text]).n_edits


@pytest.mark.parametrize(("language", "form"), [("en", "code"), ("de", "name"), ("es", "code"), ("ru", "name")])
def test_language_may_be_given_by_code_or_name(api: Api, language: str, form: str) -> None:
    """tests/server/whisper/test_languages.py has every code and name; here each form reaches the model."""
    utterance = spoken(language, 5)
    given = language if form == "code" else LANGUAGE_NAMES[language].capitalize()
    answer = api.verbose(wav(utterance.samples), language=given)
    assert answer["language"] == LANGUAGE_NAMES[language]
    assert word_errors([utterance.text], [answer["text"]]).rate <= 0.25


def test_the_given_language_is_used_and_reported_even_if_it_is_wrong(api: Api, clip: bytes) -> None:
    assert api.verbose(clip, language="ru")["language"] == "russian"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"language": "xx"}, "language"),
        ({"language": "klingon"}, "language"),
        ({"languages": ["en", "qq"]}, "languages"),
        ({"language": "en", "languages": ["de"]}, "languages"),
        ({"temperature": "1.5"}, "temperature"),
        ({"temperature": "-0.1"}, "temperature"),
        ({"temperature": "nan"}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"response_format": "yaml"}, "response_format"),
        ({"response_format": "diarized_json", "prompt": "Ann."}, "prompt"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities"),
        ({"timestamp_granularities": ["letter"], "response_format": "verbose_json"}, "timestamp_granularities"),
        ({"include": ["logprobs"], "response_format": "verbose_json"}, "include"),
        ({"include": ["everything"]}, "include"),
        ({"keywords": ["<b>"]}, "keywords"),
        ({"stream": "maybe"}, "stream"),
        ({"chunking_strategy": "sometimes"}, "chunking_strategy"),
        ({"known_speaker_names": ["Ann"]}, "known_speaker_names"),
        ({"langauge": "en"}, "langauge"),
    ],
    ids=str,
)
def test_what_cannot_be_honoured_is_refused_by_name(
    api: Api, clip: bytes, fields: Mapping[str, Any], param: str
) -> None:
    answer = api.post(clip, **fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert param in error["message"]


@pytest.mark.on_both_engines
def test_languages_restrict_what_is_detected(api: Api) -> None:
    russian = wav(spoken("ru", 5).samples)
    assert api.verbose(russian, languages=["de", "es"])["language"] in {"german", "spanish"}
    assert api.verbose(russian, languages=["de", "ru"])["language"] == "russian"


def test_one_language_a_request_from_the_first_speech(api: Api) -> None:
    """verbose_json names one language; a second one in the same recording does not change it."""
    spanish, english = spoken("es", 1), spoken("en", 1)
    both = wav(np.concatenate([silence(3), spanish.samples, silence(30), english.samples]))
    assert api.verbose(both)["language"] == "spanish"


def test_a_prompt_does_not_change_what_was_said(api: Api, clip: bytes) -> None:
    prompts = ["", "A report on travelling by rail.", "Trains, timetables, mornings. " * 300]
    texts = in_flight(lambda prompt: api.text(clip, prompt=prompt), prompts)
    assert [_n_edits(text) <= 1 for text in texts] == [True] * 3, texts


@pytest.mark.parametrize("prompt", ["Thank you. " * 60, "la la la la " * 80, "The river. " * 60])
@pytest.mark.parametrize("language", ["en", "de"])
def test_a_prompt_does_not_suppress_speech(api: Api, prompt: str, language: str) -> None:
    utterance = spoken(language, 0)
    text = api.verbose(wav(utterance.samples), prompt=prompt)["text"]
    assert word_errors([utterance.text], [text]).rate <= 0.25


@pytest.mark.on_both_engines
def test_prompt_and_keywords_count_as_input_tokens(api: Api, clip: bytes) -> None:
    def n_text_tokens(**fields: Any) -> int:
        usage = api.json(clip, model="gpt-4o-transcribe", **fields)["usage"]
        n_tokens: int = usage["input_token_details"]["text_tokens"]
        return n_tokens

    assert n_text_tokens() == 0
    short, keyed = (
        n_text_tokens(prompt="A railway."),
        n_text_tokens(prompt="A railway.", keywords=["Thalys", "Eurostar"]),
    )
    assert 0 < short < keyed < 60
    assert n_text_tokens(prompt="Many words about railways. " * 200) == 223


def test_special_tokens_in_a_prompt_are_text(api: Api, clip: bytes) -> None:
    """In one prompt: as a token, each of them would end the text or change its language, its times or its task."""
    assert _n_edits(api.text(clip, prompt=f"A train. {' and '.join(SPECIAL)} and {' '.join(SPECIAL)}")) <= 1


def test_special_tokens_in_a_prompt_are_counted_as_text(api: Api, clip: bytes) -> None:
    usage = api.json(clip, model="gpt-4o-transcribe", prompt="<|endoftext|>")["usage"]
    assert usage["input_token_details"]["text_tokens"] > 3


def test_keywords_are_taken_with_and_without_brackets(api: Api, clip: bytes) -> None:
    bare = api.http.post(
        "/v1/audio/transcriptions",
        files={"file": ("clip.wav", clip)},
        data={"model": "whisper-1", "keywords": ["train", "city"]},
    )
    assert bare.status_code == 200
    assert _n_edits(bare.json()["text"]) <= 1
    assert _n_edits(api.text(clip, keywords=["train", "city"])) <= 1


def test_temperature_zero_is_the_same_text_every_time(api: Api, clip: bytes) -> None:
    texts = in_flight(lambda _: api.text(clip, temperature=0), range(3))
    assert len(set(texts)) == 1


def test_a_temperature_is_used_and_reported(api: Api) -> None:
    audio = wav(spoken("ru", 3, "heldout").samples)
    texts: set[str] = set()
    for _ in range(10):  # chance may draw the same words six times
        answers = in_flight(lambda _: api.verbose(audio, temperature=1), range(6))
        assert {segment["temperature"] for answer in answers for segment in answer["segments"]} == {1.0}
        texts |= {answer["text"] for answer in answers}
        if len(texts) > 1:
            break
    assert len(texts) > 1


def test_translations_answer_in_english_and_say_so(api: Api) -> None:
    """The demo model was never taught to translate: what is held here is the route, not its words."""
    answer = api.verbose(wav(spoken("de", 0).samples), route="translations")
    assert (answer["task"], answer["language"]) == ("translate", "english")
    text = api.post(wav(spoken("de", 0).samples), route="translations", response_format="text")
    assert (text.status_code, text.headers["content-type"].split(";")[0]) == (200, "text/plain")


def test_vendor_fields_are_passed_over(api: Api, clip: bytes) -> None:
    """In one request: a refusal of any names it."""
    vendors = ("vad_filter", "hotwords", "seed", "top_p", "beam_size", "repetition_penalty")
    answer = api.post(clip, **dict.fromkeys(vendors, "1"))
    assert answer.status_code == 200, answer.text


def test_an_empty_value_is_an_absent_one(api: Api, clip: bytes) -> None:
    empty = dict.fromkeys(("language", "prompt", "response_format", "temperature", "stream"), "")
    assert _n_edits(api.json(clip, **empty)["text"]) <= 1


def test_models(api: Api, clip: bytes) -> None:
    listed = api.http.get("/v1/models").json()
    names = [model["id"] for model in listed["data"]]
    assert listed["object"] == "list"
    assert {
        "whisper",
        "whisper-1",
        "gpt-4o-transcribe",
        "gpt-4o-mini-transcribe",
        "gpt-transcribe",
        "gpt-4o-transcribe-diarize",
    } <= set(names)
    for name in names:
        assert api.http.get(f"/v1/models/{name}").json()["id"] == name
    statuses = in_flight(lambda name: api.post(clip, model=name).status_code, names)
    assert statuses == [200] * len(names)
    unknown = api.post(clip, model="whisper-99")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert unknown.json()["error"]["param"] == "model"
    missing = api.post(clip, model="")
    assert (missing.status_code, missing.json()["error"]["param"]) == (400, "model")


def test_a_voice_with_another_accent_is_understood(api: Api) -> None:
    texts = ["The library is closed on the first Monday of the month.", "Please close the window before you go to bed."]
    audio = [wav(said(text, "en", "+f3").samples) for text in texts]
    assert word_errors(texts, in_flight(api.text, audio)).rate <= 0.15
