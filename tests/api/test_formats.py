"""The five formats of one recording, against what was said in it and against each other."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from server_kit.api import Api, in_flight
from speech_kit.recordings import Recording, join
from speech_kit.scores import normalised, word_errors
from speech_kit.sentences import spoken
from speech_kit.sounds import wav

SRT_CUE = re.compile(r"(\d+)\n(\d\d:\d\d:\d\d,\d{3}) --> (\d\d:\d\d:\d\d,\d{3})\n(.+?)(?:\n\n|\n?\Z)", re.DOTALL)
VTT_CUE = re.compile(r"(\d\d:\d\d:\d\d\.\d{3}|\d\d:\d\d\.\d{3}) --> (\S+)\n(.+?)(?:\n\n|\n?\Z)", re.DOTALL)


@pytest.fixture(scope="module")
def recording() -> Recording:
    """About 45 s in German: two windows, and text that is not ASCII."""
    return join([spoken("de", index) for index in range(10)], seed=4)


@pytest.fixture(scope="module")
def answers(api: Api, recording: Recording) -> dict[str, httpx.Response]:
    formats = ["json", "text", "srt", "vtt", "verbose_json"]
    audio = wav(recording.samples)
    return dict(zip(formats, in_flight(lambda name: api.post(audio, response_format=name), formats), strict=True))


@pytest.fixture(scope="module")
def verbose(answers: dict[str, httpx.Response]) -> Any:
    return answers["verbose_json"].json()


@pytest.mark.on_both_engines
def test_every_format_says_what_was_said(answers: dict[str, httpx.Response], recording: Recording) -> None:
    texts = {
        "json": answers["json"].json()["text"],
        "text": answers["text"].text,
        "srt": " ".join(cue[3] for cue in SRT_CUE.findall(answers["srt"].text)),
        "vtt": " ".join(cue[2] for cue in VTT_CUE.findall(answers["vtt"].text)),
        "verbose_json": answers["verbose_json"].json()["text"],
    }
    errors = {name: word_errors([recording.text], [text]).rate for name, text in texts.items()}
    assert max(errors.values()) <= 0.08, errors


@pytest.mark.on_both_engines
def test_content_types(answers: dict[str, httpx.Response]) -> None:
    types = {name: answer.headers["content-type"].replace(" ", "").lower() for name, answer in answers.items()}
    assert types["json"].startswith("application/json")
    assert types["verbose_json"].startswith("application/json")
    assert types["text"] == "text/plain;charset=utf-8"
    assert types["vtt"] == "text/vtt;charset=utf-8"
    assert types["srt"] in {"application/x-subrip;charset=utf-8", "text/plain;charset=utf-8"}


@pytest.mark.on_both_engines
def test_subtitles_are_numbered_and_in_order(answers: dict[str, httpx.Response], recording: Recording) -> None:
    cues = SRT_CUE.findall(answers["srt"].text)
    assert [int(cue[0]) for cue in cues] == list(range(1, len(cues) + 1))
    times = [(_seconds(cue[1]), _seconds(cue[2])) for cue in cues]
    assert all(start_s < end_s <= recording.duration_s + 0.05 for start_s, end_s in times)
    assert times == sorted(times)
    assert len(cues) >= 5


@pytest.mark.on_both_engines
def test_subtitles_begin_where_the_sentences_do(answers: dict[str, httpx.Response], recording: Recording) -> None:
    starts_s = [_seconds(cue[1]) for cue in SRT_CUE.findall(answers["srt"].text)]
    near = [any(abs(start_s - said_s) <= 0.5 for start_s in starts_s) for said_s in recording.starts_s]
    assert sum(near) >= 0.8 * len(near)


@pytest.mark.on_both_engines
def test_vtt_has_the_cues_of_srt(answers: dict[str, httpx.Response]) -> None:
    vtt = answers["vtt"].text
    assert vtt.startswith("WEBVTT\n\n")
    assert not vtt.startswith("\ufeff")
    cues = [(_seconds(start), _seconds(end), text.strip()) for start, end, text in VTT_CUE.findall(vtt)]
    srt = [(_seconds(cue[1]), _seconds(cue[2]), cue[3].strip()) for cue in SRT_CUE.findall(answers["srt"].text)]
    assert [(round(cue[0]), cue[2]) for cue in cues] == [(round(cue[0]), cue[2]) for cue in srt]


def _seconds(written: str) -> float:
    *hours, minutes, seconds = written.replace(",", ".").split(":")
    return sum(int(hour) * 3600 for hour in hours) + int(minutes) * 60 + float(seconds)


@pytest.mark.on_both_engines
def test_verbose_json_has_every_field_of_openai(verbose: Any, recording: Recording) -> None:
    assert verbose["task"] == "transcribe"
    assert verbose["language"] == "german"
    assert verbose["duration"] == pytest.approx(recording.duration_s, abs=0.02)
    assert verbose["usage"] == {"type": "duration", "seconds": pytest.approx(recording.duration_s, abs=1)}
    assert "words" not in verbose
    for index, segment in enumerate(verbose["segments"]):
        assert segment["id"] == index
        assert segment.keys() == {
            "id", "seek", "start", "end", "text", "tokens",
            "temperature", "avg_logprob", "compression_ratio", "no_speech_prob",
        }  # fmt: skip
        assert segment["seek"] / 100 <= segment["start"] < segment["end"]
        assert -5 < segment["avg_logprob"] < 0
        assert 0 <= segment["no_speech_prob"] < 0.6
        assert 0 < segment["compression_ratio"] < 2.4
        assert segment["temperature"] in {0, 0.2, 0.4, 0.6, 0.8, 1.0}
        assert all(isinstance(token, int) for token in segment["tokens"])


@pytest.mark.on_both_engines
def test_segments_joined_are_the_text(verbose: Any) -> None:
    assert normalised("".join(f" {segment['text']}" for segment in verbose["segments"])) == normalised(verbose["text"])


@pytest.mark.on_both_engines
@pytest.mark.parametrize(
    ("granularities", "present"),
    [(["word"], {"words"}), (["segment"], {"segments"}), (["word", "segment"], {"words", "segments"})],
)
def test_granularities_choose_what_has_times(
    api: Api, clip: bytes, granularities: list[str], present: set[str]
) -> None:
    answer = api.verbose(clip, timestamp_granularities=granularities)
    assert answer.keys() & {"words", "segments"} == present
    assert all(answer[name] for name in present)


@pytest.mark.parametrize(
    ("model", "response_format", "kind"),
    [
        ("whisper-1", "json", "duration"),
        ("gpt-4o-transcribe", "json", "tokens"),
        ("gpt-transcribe", "json", "tokens"),
        ("gpt-4o-transcribe", "verbose_json", "duration"),
    ],
)
def test_usage_is_of_the_kind_that_the_model_name_promises(
    api: Api, clip: bytes, model: str, response_format: str, kind: str
) -> None:
    usage = api.json(clip, model=model, response_format=response_format)["usage"]
    assert usage["type"] == kind
    if kind == "duration":
        assert usage["seconds"] > 0
    else:
        details = usage["input_token_details"]
        assert details["audio_tokens"] > 50
        assert usage["input_tokens"] == details["audio_tokens"] + details["text_tokens"]
        assert usage["output_tokens"] > 3
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@pytest.mark.on_both_engines
def test_logprobs_belong_to_the_tokens_of_the_text(api: Api, clip: bytes) -> None:
    answer = api.json(clip, model="gpt-4o-transcribe", include=["logprobs"])
    logprobs = answer["logprobs"]
    assert bytes(byte for each in logprobs for byte in each["bytes"]).decode().strip() == answer["text"].strip()
    assert all(each["logprob"] <= 0 for each in logprobs)
    assert -1 < sum(each["logprob"] for each in logprobs) / len(logprobs) < 0
    assert len({each["logprob"] for each in logprobs}) > 3
    assert not any("<|" in each["token"] for each in logprobs)


@pytest.mark.on_both_engines
def test_without_include_there_are_no_logprobs(api: Api, clip: bytes) -> None:
    assert "logprobs" not in api.json(clip, model="gpt-4o-transcribe")
