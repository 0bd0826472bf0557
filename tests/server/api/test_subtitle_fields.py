"""The fields and arguments of readable subtitles: what they become, and where they are refused."""

from __future__ import annotations

import argparse

import pytest

from whisper_runtime.choices import Subtitles
from whisper_server.api.options import OptionsSpec, Policy, ResponseFormat
from whisper_server.api.subtitles.limits import CueLimits, CueShape, limits_of
from whisper_server.api.values import parse_name, parse_values, spec_of
from whisper_server.errors import BadRequest
from whisper_server.settings import Settings
from whisper_server.transcribe_files.command import _options, add_arguments
from whisper_server.whisper.transcript import Task, VoiceActivity

INF = float("inf")


def asked(**fields: str) -> OptionsSpec:
    pairs = [(parse_name(name, Task.TRANSCRIBE), value) for name, value in {"model": "m", **fields}.items()]
    return spec_of(parse_values(pairs, Task.TRANSCRIBE).fields, Task.TRANSCRIBE)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_line_width": "42"}, "max_line_width"),
        ({"max_line_count": "2", "response_format": "text"}, "max_line_count"),
        ({"max_words_per_line": "2", "response_format": "verbose_json"}, "max_words_per_line"),
        ({"max_cps": "20", "response_format": "json", "stream": "true"}, "max_cps"),
        ({"highlight_words": "true", "response_format": "srt"}, "highlight_words"),
        ({"max_line_width": "7", "response_format": "srt"}, "max_line_width"),
        ({"max_line_count": "0", "response_format": "srt"}, "max_line_count"),
        ({"max_cps": "nan", "response_format": "srt"}, "max_cps"),
        ({"max_words_per_line": "two", "response_format": "vtt"}, "max_words_per_line"),
        ({"max_line_width": "42", "response_format": "srt", "stream": "true"}, "stream"),
    ],
)
def test_limits_are_refused_by_name_where_no_line_is(fields: dict[str, str], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        asked(**fields)
    assert refused.value.param == param
    assert refused.value.message.startswith(param)


@pytest.mark.parametrize(
    "field", ["max_line_width", "max_words_per_line", "max_cps", "max_line_count", "highlight_words"]
)
def test_any_limit_has_the_words_timed(field: str) -> None:
    spec = asked(response_format="vtt", **{field: "true" if field == "highlight_words" else "9"})
    assert spec.options(Policy()).words
    assert spec.shape(Policy()) == spec.cue_shape != CueShape()


def test_cues_are_segments_unless_asked_or_set() -> None:
    plain, readable = Policy(), Policy(subtitles=Subtitles.READABLE)
    spec = asked(response_format="srt", highlight_words="false")
    assert spec.shape(plain) is None
    assert not spec.options(plain).words
    assert spec.shape(readable) == CueShape()
    assert spec.options(readable).words
    assert asked(response_format="json").shape(readable) is None


@pytest.mark.parametrize(
    ("shape", "language", "limits"),
    [
        (CueShape(), "en", CueLimits(42, 2, INF, 20.0)),
        (CueShape(), "zh", CueLimits(32, 2, INF, 20.0)),
        (CueShape(max_line_count=1), "ja", CueLimits(26, 1, INF, 20.0)),
        (CueShape(max_line_width=30, max_cps=17.0), "ko", CueLimits(30, 2, INF, 17.0)),
        (CueShape(max_words_per_line=3), "en", CueLimits(42, 1, 3, INF)),
        (CueShape(max_words_per_line=3, max_line_count=2), "en", CueLimits(42, 2, 3, 20.0)),
    ],
)
def test_what_is_left_out_follows_the_language(shape: CueShape, language: str, limits: CueLimits) -> None:
    assert limits_of(shape, language) == limits


def test_channels_have_their_silence_left_out_and_their_turns_timed() -> None:
    spec = asked(multichannel="true", response_format="text", **{"known_speaker_names[]": "Ann"})
    options = spec.options(Policy())
    assert (options.multichannel, options.speaker_names) == (True, ("Ann",))
    assert (options.voice_activity, options.timestamps) == (VoiceActivity(), True)
    assert not asked(response_format="text").options(Policy()).timestamps


def arguments(*texts: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["a.wav", *texts])


def test_command_line_has_the_same_limits() -> None:
    settings = Settings.from_env({"MODEL_ID": "demo"})
    chosen = _options(settings, arguments("--format", "vtt", "--max-line-width", "30", "--highlight-words"))
    assert chosen.cue_shape == CueShape(max_line_width=30, highlight_words=True)
    assert chosen.options.words
    assert _options(settings, arguments("--format", "srt")).cue_shape is None
    readable = Settings.from_env({"MODEL_ID": "demo", "SUBTITLES": "readable"})
    assert _options(readable, arguments("--format", "srt")).cue_shape == CueShape()
    assert _options(readable, arguments("--format", ResponseFormat.TEXT)).cue_shape is None
    with pytest.raises(BadRequest, match="--highlight-words needs --format vtt"):
        _options(settings, arguments("--format", "srt", "--highlight-words"))
    with pytest.raises(BadRequest, match="need --format srt or vtt"):
        _options(settings, arguments("--max-cps", "20"))
    with pytest.raises(SystemExit):
        arguments("--max-line-width", "7")


def test_command_line_has_channels() -> None:
    settings = Settings.from_env({"MODEL_ID": "demo"})
    options = _options(settings, arguments("--multichannel", "--speaker-name", "Ann", "--speaker-name", "Bob")).options
    assert (options.multichannel, options.speaker_names) == (True, ("Ann", "Bob"))
    with pytest.raises(BadRequest, match="--speaker-name needs --multichannel"):
        _options(settings, arguments("--speaker-name", "Ann"))
