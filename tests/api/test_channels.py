"""A call with a voice per channel, in every format and as a stream, and its readable subtitles."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import soundfile

from server_kit.api import Api, in_flight
from speech_kit.recordings import Recording, join
from speech_kit.scores import word_errors
from speech_kit.sentences import spoken
from speech_kit.sounds import silence

NAMES = ["Ann", "Bob"]
FIELDS: dict[str, Any] = {"multichannel": "true", "known_speaker_names": NAMES, "language": "en"}
FORMATS = ("json", "text", "verbose_json", "srt", "vtt")


def call_of(*channels: np.ndarray[Any, np.dtype[np.float32]], subtype: str = "PCM_16") -> bytes:
    n_frames = max(map(len, channels))
    file = io.BytesIO()
    frames = np.stack([np.pad(channel, (0, n_frames - len(channel))) for channel in channels], axis=1)
    soundfile.write(file, frames, 16_000, format="WAV", subtype=subtype)
    return file.getvalue()


@pytest.fixture(scope="module")
def sides() -> Sequence[Recording]:
    """Both speak at the same time."""
    return [join([spoken("en", index) for index in indices], seed=3) for indices in ((0, 1), (2, 3))]


@pytest.fixture(scope="module")
def call(sides: Sequence[Recording]) -> bytes:
    return call_of(*(side.samples for side in sides))


@pytest.fixture(scope="module")
def answers(api: Api, call: bytes) -> dict[str, httpx.Response]:
    fields: dict[str, Any] = {
        "verbose_json": {"timestamp_granularities": ["word", "segment"]},
        "srt": {"max_line_width": "24"},
    }
    sent = in_flight(lambda name: api.post(call, response_format=name, **FIELDS, **fields.get(name, {})), FORMATS)
    return dict(zip(FORMATS, sent, strict=True))


def test_each_side_has_its_own_words_in_every_format(
    answers: dict[str, httpx.Response], sides: Sequence[Recording]
) -> None:
    verbose = answers["verbose_json"].json()
    lines = answers["text"].text.splitlines()
    cues = answers["vtt"].text.split("\n\n")[1:-1]
    for name, side in zip(NAMES, sides, strict=True):
        heard = {
            "segments": "".join(one["text"] for one in verbose["segments"] if one["speaker"] == name),
            "words": " ".join(one["word"] for one in verbose["words"] if one["speaker"] == name),
            "text": " ".join(line.removeprefix(f"{name}: ") for line in lines if line.startswith(f"{name}: ")),
            "vtt": " ".join(cue.split(f"<v {name}>")[1] for cue in cues if f"<v {name}>" in cue),
        }
        assert {key: word_errors([side.text], [text]).rate for key, text in heard.items()} == pytest.approx(
            dict.fromkeys(heard, 0), abs=0.08
        )
    starts = [one["start"] for one in verbose["segments"]]
    assert starts == sorted(starts)
    assert [one["id"] for one in verbose["segments"]] == list(range(len(starts)))
    body = answers["json"].json()
    assert body["text"] == verbose["text"]
    assert body["usage"]["seconds"] == pytest.approx(2 * verbose["duration"], abs=1)


def test_stream_names_the_speaker_of_each_delta(api: Api, call: bytes, answers: dict[str, httpx.Response]) -> None:
    *deltas, done = (event.data for event in api.events(call, **FIELDS))
    assert done["text"] == "".join(delta["delta"] for delta in deltas) == answers["json"].json()["text"]
    assert {delta["speaker"] for delta in deltas} == set(NAMES)


def test_lines_of_subtitles_keep_their_width(answers: dict[str, httpx.Response]) -> None:
    lines = [line for cue in answers["srt"].text.split("\n\n")[:-1] for line in cue.split("\n")[2:]]
    assert len(lines) > 4
    assert max(map(len, lines)) <= 24
    assert all(cue.split("\n")[2].startswith(("Ann: ", "Bob: ")) for cue in answers["srt"].text.split("\n\n")[:-1])


def test_silent_and_repeated_channels_cost_nothing(api: Api, sides: Sequence[Recording]) -> None:
    voice = sides[0].samples
    before_s = api.metric("whisper_audio_seconds_total")
    texts = [
        api.json(call_of(*channels, subtype="ULAW"), **FIELDS)["text"]
        for channels in ((voice, voice), (silence(1), voice))
    ]
    assert api.metric("whisper_audio_seconds_total") - before_s == pytest.approx(2 * len(voice) / 16_000, abs=0.1)
    assert word_errors([sides[0].text] * 2, [text.replace("\n", " ") for text in texts]).rate <= 0.08


def test_client_of_openai_sends_channels_and_is_refused_by_name(base_url: str, clip: bytes, call: bytes) -> None:
    client = openai.OpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0)
    extra: dict[str, Any] = {"multichannel": True}
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", clip), extra_body=extra)
    assert (refused.value.param, refused.value.code) == ("multichannel", "wrong_channels")
    with pytest.raises(openai.BadRequestError) as refused:
        extra["known_speaker_names"] = ["A", "B", "C"]
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", call), extra_body=extra)
    assert refused.value.param == "known_speaker_names"
    client.close()
