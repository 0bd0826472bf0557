"""Server-sent events: the words as they are final, and a last event that agrees with them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from server_kit.api import Api, Event
from server_kit.process import StartServer
from speech_kit.recordings import Recording
from speech_kit.scores import word_errors
from speech_kit.sounds import wav


@pytest.fixture(scope="module")
def one_at_a_time(request: pytest.FixtureRequest, start_server: StartServer) -> Iterator[Api]:
    """A server that decodes one window at a time: a stream's first words come long before its last.

    On vLLM, which has no such setting, the one that all use.
    """
    if os.environ.get("TEST_ENGINE") == "vllm":
        yield request.getfixturevalue("api")
        return
    with start_server({"MAX_BATCH_WINDOWS": "1"}) as process:
        api = Api(process.url)
        yield api
        api.close()


@pytest.fixture(scope="module")
def timed_events(one_at_a_time: Api, minute_and_a_half: Recording) -> list[tuple[float, Event]]:
    """Of a recording of several windows, with the seconds from the request to each event."""
    begin_s = time.monotonic()
    events = one_at_a_time.events(wav(minute_and_a_half.samples), model="gpt-4o-transcribe")
    return [(time.monotonic() - begin_s, event) for event in events]


@pytest.fixture(scope="module")
def all_events(timed_events: list[tuple[float, Event]]) -> list[Event]:
    return [event for _, event in timed_events]


@pytest.mark.on_both_engines
def test_deltas_joined_are_the_text_of_the_last_event(all_events: list[Event]) -> None:
    *deltas, done = all_events
    assert {delta.type for delta in deltas} == {"transcript.text.delta"}
    assert done.type == "transcript.text.done"
    assert "".join(delta.data["delta"] for delta in deltas) == done.data["text"]
    assert len(deltas) >= 3


@pytest.mark.on_both_engines
def test_a_stream_says_what_was_said(all_events: list[Event], minute_and_a_half: Recording) -> None:
    assert word_errors([minute_and_a_half.text], [all_events[-1].data["text"]]).rate <= 0.07


@pytest.mark.on_ctranslate2(because="vLLM decodes a recording's windows together")
def test_first_words_come_before_the_last_are_decoded(
    timed_events: list[tuple[float, Event]], minute_and_a_half: Recording, figure: Callable[[str], None]
) -> None:
    first_s, last_s = timed_events[0][0], timed_events[-1][0]
    duration_s = minute_and_a_half.duration_s
    figure(f"stream of {duration_s:.0f} s: first event after {first_s:.1f} s, last after {last_s:.1f} s")
    assert first_s <= 0.7 * last_s


@pytest.mark.on_both_engines
def test_the_last_event_has_usage_and_language(all_events: list[Event], minute_and_a_half: Recording) -> None:
    done = all_events[-1].data
    usage = done["usage"]
    assert usage["type"] == "tokens"
    assert usage["input_token_details"]["audio_tokens"] == pytest.approx(minute_and_a_half.duration_s * 50, abs=2)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert done["languages"] == [{"code": "en"}]


def test_a_stream_of_text_format_has_the_same_events(api: Api, clip: bytes) -> None:
    events = list(api.events(clip, response_format="text"))
    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert events[0].data["delta"] == events[1].data["text"] != ""


@pytest.mark.on_both_engines
def test_logprobs_come_with_deltas_and_at_the_end(api: Api, clip: bytes) -> None:
    delta, done = list(api.events(clip, include=["logprobs"]))
    assert delta.data["logprobs"] == done.data["logprobs"]
    said = bytes(byte for each in done.data["logprobs"] for byte in each["bytes"]).decode()
    assert said.strip() == done.data["text"]


@pytest.mark.parametrize("response_format", ["srt", "vtt", "verbose_json"])
def test_other_formats_do_not_stream(api: Api, clip: bytes, response_format: str) -> None:
    answer = api.post(clip, stream="true", response_format=response_format)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "stream"


def test_bad_audio_is_an_ordinary_error_in_a_stream_too(api: Api) -> None:
    answer = api.post(b"this is not audio at all", stream="true")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_audio")


def test_stream_false_is_no_stream(api: Api, clip: bytes) -> None:
    assert api.json(clip, stream="false")["text"]
