"""Who says what, through OpenAI's client: its own types, its stream, known speakers, and what is refused."""

from __future__ import annotations

import base64
import http.client
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from openai.types.audio import TranscriptionDiarized

from server_kit.api import Api, form
from server_kit.process import ServerProcess
from speech_kit.scores import word_errors
from speech_kit.sentences import sentences, spoken
from speech_kit.sounds import wav

PAUSE = np.zeros(8000, np.float32)
TURNS = (("en", 0), ("de", 1), ("en", 2), ("de", 3))
"""Sentences in turn by the voices of two languages, which stand for two people."""


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def talk() -> bytes:
    return wav(np.concatenate([part for turn in TURNS for part in (spoken(*turn).samples, PAUSE)]))


@pytest.fixture(scope="module")
def answer(client: openai.OpenAI, talk: bytes) -> TranscriptionDiarized:
    return client.audio.transcriptions.create(
        model="gpt-4o-transcribe-diarize",
        file=("talk.wav", talk),
        response_format="diarized_json",
        chunking_strategy="auto",
        language="en",
        extra_body={"num_speakers": "2"},
    )


def data_url(language: str, index: int) -> str:
    return "data:audio/wav;base64," + base64.b64encode(wav(spoken(language, index).samples)).decode()


def test_clients_own_type_has_two_speakers_in_turn(answer: TranscriptionDiarized) -> None:
    speakers = [segment.speaker for segment in answer.segments]
    assert isinstance(answer, TranscriptionDiarized)
    assert set(speakers) == {"A", "B"}
    assert speakers[0] == "A"
    assert [segment.id for segment in answer.segments] == [f"seg_{index}" for index in range(len(speakers))]
    assert all(one.start <= one.end for one in answer.segments)
    assert answer.usage is not None


def test_segments_are_the_text(answer: TranscriptionDiarized) -> None:
    assert "".join("".join(one.text.split()) for one in answer.segments) == "".join(answer.text.split())
    english = " ".join(one.text for one in answer.segments if one.speaker == "A")
    assert word_errors([sentences("en")[0]], [english[: len(sentences("en")[0]) + 8]]).n_edits <= 6


def test_stream_has_a_segment_event_per_segment(
    client: openai.OpenAI, talk: bytes, answer: TranscriptionDiarized
) -> None:
    events = list(
        client.audio.transcriptions.create(
            model="gpt-4o-transcribe-diarize",
            file=("talk.wav", talk),
            response_format="diarized_json",
            chunking_strategy="auto",
            language="en",
            stream=True,
            extra_body={"num_speakers": "2"},
        )
    )
    segments = [event for event in events if event.type == "transcript.text.segment"]
    assert [(one.id, one.speaker, one.text) for one in segments] == [
        (one.id, one.speaker, one.text) for one in answer.segments
    ]
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == answer.text


def test_known_speaker_is_named_and_the_other_is_not(client: openai.OpenAI, talk: bytes) -> None:
    named: TranscriptionDiarized = client.audio.transcriptions.create(
        model="gpt-4o-transcribe-diarize",
        file=("talk.wav", talk),
        response_format="diarized_json",
        chunking_strategy="auto",
        language="en",
        known_speaker_names=["Greta"],
        known_speaker_references=[data_url("de", 5)],
        extra_body={"num_speakers": "2"},
    )
    assert {segment.speaker for segment in named.segments} == {"A", "Greta"}


def test_turns_come_as_rttm(api: Api, talk: bytes) -> None:
    lines = api.post(talk, response_format="rttm", num_speakers="2").text.splitlines()
    fields = [line.split() for line in lines]
    assert {line[0] for line in fields} == {"SPEAKER"}
    assert {len(line) for line in fields} == {10}
    assert {line[7] for line in fields} == {"A", "B"}


def test_silence_has_no_segments(api: Api) -> None:
    body = api.post(wav(np.zeros(32_000, np.float32)), response_format="diarized_json").json()
    assert body["segments"] == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": "Names."}, "prompt"),
        ({"include[]": "logprobs"}, "include"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ({"known_speaker_names[]": "Ann"}, "known_speaker_references"),
        ({"known_speaker_references[]": "data:audio/wav;base64,AAAA"}, "known_speaker_names"),
        ({"num_speakers": "2", "max_speakers": "3"}, "num_speakers"),
        ({"min_speakers": "4", "max_speakers": "3"}, "min_speakers"),
        ({"num_speakers": "0"}, "num_speakers"),
    ],
)
def test_field_that_does_not_fit_is_refused_by_name(api: Api, clip: bytes, fields: dict[str, Any], param: str) -> None:
    refused = api.post(clip, response_format="diarized_json", **fields)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/ann.wav",
        "data:audio/wav;base64,AAAA",
        "data:audio/wav;base64,%%%",
        "data:audio/wav;base64," + base64.b64encode(wav(spoken("en", 0).samples[:16_000])).decode(),
        "data:audio/wav;base64," + base64.b64encode(wav(np.tile(spoken("en", 0).samples, 6))).decode(),
        "data:audio/wav;base64," + base64.b64encode(wav(np.zeros(48_000, np.float32))).decode(),
    ],
    ids=["no data URL", "no audio", "no base64", "too short", "too long", "silence"],
)
def test_reference_that_is_none_is_refused(api: Api, clip: bytes, url: str) -> None:
    known = {"known_speaker_names[]": "Ann", "known_speaker_references[]": url}
    refused = api.post(clip, response_format="diarized_json", **known)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "known_speaker_references")


@pytest.mark.usefixtures("nothing_stays")
def test_client_that_hangs_up_ends_the_search(strict: ServerProcess, strict_api: Api) -> None:
    sound = wav(np.tile(np.concatenate([spoken("en", 0).samples, PAUSE]), 12))
    request = strict_api.http.build_request(
        "POST",
        "/v1/audio/transcriptions",
        files={"file": ("talk.wav", sound)},
        data=form(response_format="diarized_json"),
    )
    client = http.client.HTTPConnection("127.0.0.1", strict.port)
    client.request("POST", "/v1/audio/transcriptions", request.read(), dict(request.headers))
    while not any("whisper_server.diarization.worker" in one.cmdline() for one in strict.family()):
        time.sleep(0.05)
    client.close()


def test_speaker_fields_need_a_format_with_speakers(api: Api, clip: bytes) -> None:
    assert api.post(clip, response_format="json", diarize="true").json()["error"]["param"] == "diarize"
    assert api.post(clip, response_format="json", num_speakers="2").json()["error"]["param"] == "num_speakers"
