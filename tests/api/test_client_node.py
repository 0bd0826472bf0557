"""OpenAI's Node client, unmodified: every parameter that it has for these routes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from live_kit.speaking import pcm
from server_kit import node_client
from speech_kit.scores import word_errors
from speech_kit.sentences import sentences, spoken

TEXT = sentences("en")[0]


@pytest.fixture(scope="module")
def folder() -> Path:
    """Where the client is installed."""
    try:
        return node_client.installed()
    except node_client.NoNode as why:
        pytest.skip(str(why))


@pytest.mark.parametrize("route", ["Transcription", "Translation"])
def test_every_parameter_of_the_client_is_tested_here(folder: Path, route: str) -> None:
    types = folder / "node_modules" / "openai" / "resources" / "audio" / f"{route.lower()}s.d.ts"
    interfaces = re.findall(
        rf"interface {route}CreateParams\w*(?:<.*>)? .*?^}}$", types.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    parameters = {name for text in interfaces for name in re.findall(r"^    (\w+)\??: ", text, re.MULTILINE)}
    assert {"file", "model", "prompt", "response_format", "temperature"} <= parameters
    calls = (node_client.SOURCE / "calls.mjs").read_text("utf-8")
    assert not [name for name in parameters if not re.search(rf"\b{name}: ", calls)]


@pytest.fixture(scope="module")
def results(base_url: str, folder: Path, clip: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of every call."""
    path = tmp_path_factory.mktemp("node") / "clip.wav"
    path.write_bytes(clip)
    return node_client.every_call(folder, f"{base_url}/v1", path)


def test_realtime_session_with_a_client_secret(base_url: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "sound.pcm"
    path.write_bytes(pcm(spoken("en", 0).samples, 16_000) + bytes(48_000))
    events = node_client.realtime_events(folder, f"{base_url}/v1", path)
    assert events[0]["session"]["audio"]["input"]["transcription"]["language"] == "en"
    deltas = [event["delta"] for event in events if event["type"].endswith(".delta")]
    assert "".join(deltas) == events[-1]["transcript"]
    assert word_errors([TEXT], [events[-1]["transcript"]]).rate <= 0.2


def _value(results: dict[str, Any], name: str) -> Any:
    assert "value" in results[name], results[name]
    return results[name]["value"]


def _is_said(text: str) -> bool:
    return word_errors([TEXT], [text]).n_edits <= 2


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "language",
        "languages",
        "keywords",
        "prompt",
        "temperature",
        "chunking_auto",
        "chunking_vad",
        "stream_off",
    ],
)
def test_node_gets_the_words_with(results: dict[str, Any], name: str) -> None:
    value = _value(results, name)
    assert _is_said(value["text"]), value


def test_node_gets_every_format(results: dict[str, Any]) -> None:
    assert _is_said(_value(results, "text"))
    assert _value(results, "srt").startswith("1\n00:00:0")
    assert _value(results, "vtt").startswith("WEBVTT\n\n00:00:0")
    verbose = _value(results, "verbose_json")
    assert (verbose["language"], verbose["task"]) == ("english", "transcribe")
    assert _is_said(" ".join(segment["text"] for segment in verbose["segments"]))
    words = _value(results, "words")
    assert _is_said(" ".join(word["word"] for word in words["words"]))
    assert words["segments"]


def test_node_gets_log_probabilities(results: dict[str, Any]) -> None:
    value = _value(results, "logprobs")
    assert value["usage"]["type"] == "tokens"
    assert _is_said("".join(each["token"] for each in value["logprobs"]))


@pytest.mark.parametrize("name", ["stream", "stream_logprobs"])
def test_node_reads_a_stream(results: dict[str, Any], name: str) -> None:
    *deltas, done = _value(results, name)
    assert "".join(delta["delta"] for delta in deltas) == done["text"]
    assert _is_said(done["text"])
    assert ("logprobs" in done) == (name == "stream_logprobs")


def test_node_gets_speakers(results: dict[str, Any]) -> None:
    value = _value(results, "diarized_json")
    assert value["task"] == "transcribe"
    assert {(one["type"], one["speaker"]) for one in value["segments"]} == {("transcript.text.segment", "A")}
    assert _is_said(" ".join(one["text"] for one in value["segments"]))
    assert {one["speaker"] for one in _value(results, "known_speaker")["segments"]} == {"Ann"}


def test_node_reads_a_stream_of_speakers(results: dict[str, Any]) -> None:
    *events, done = _value(results, "stream_speakers")
    segments = [event for event in events if event["type"] == "transcript.text.segment"]
    assert segments == _value(results, "diarized_json")["segments"]
    assert done["type"] == "transcript.text.done"
    assert _is_said(done["text"])


def test_node_reaches_the_other_routes(results: dict[str, Any]) -> None:
    assert _value(results, "translation")["task"] == "translate"
    assert {"whisper", "whisper-1", "gpt-4o-transcribe"} <= set(_value(results, "models"))
    assert _value(results, "model")["id"] == "whisper-1"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("known_speaker_names", ("BadRequestError", 400, "known_speaker_names")),
        ("known_speaker_references", ("BadRequestError", 400, "known_speaker_references")),
        ("unknown_model", ("NotFoundError", 404, "model")),
        ("bad_temperature", ("BadRequestError", 400, "temperature")),
        ("not_audio", ("BadRequestError", 400, "file")),
    ],
)
def test_node_raises_the_right_error(results: dict[str, Any], name: str, error: tuple[str, int, str]) -> None:
    got = results[name]["error"]
    assert (got["name"], got["status"], got["param"]) == error
