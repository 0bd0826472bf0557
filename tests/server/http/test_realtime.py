"""The WebSocket of `/v1/realtime`: events, refusals that the session survives, limits that end it, and what is left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from http_kit.doubles import Doubles
from http_kit.running import running, until
from live_kit.clients import TRANSCRIPTION, answer, come_and_go, connected, session, silence, tone
from live_kit.doubles import LiveSpeechDouble
from whisper_server.errors import ENGINE_DEAD, InternalError, Unavailable
from whisper_server.http.live import live_connection, session_processes
from whisper_server.http.live import socket as live_socket
from whisper_server.live.said import MAX_SAMPLES
from whisper_server.process.event_loop import cancel


async def test_turn_is_found_and_its_deltas_make_its_transcript() -> None:
    async with session() as client:
        await client.speak(tone(2.2) + silence(1.0))
        completed = await client.until(f"{TRANSCRIPTION}.completed")
    kinds = [kind for kind in client.types if kind != "delta"]
    assert kinds == [
        "session.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "completed",
    ]
    deltas = [event["delta"] for event in client.events if event["type"].endswith("delta")]
    assert "".join(deltas) == completed["transcript"] == "w0 w1 w2 w3"
    assert completed["usage"]["output_tokens"] == 4
    stopped = next(event for event in client.events if event["type"].endswith("speech_stopped"))
    assert 2600 <= stopped["audio_end_ms"] <= 2800
    assert len({event["event_id"] for event in client.events}) == len(client.events)
    assert len({event["item_id"] for event in client.events if "item_id" in event}) == 1


async def test_client_commits_turns_where_detection_is_off() -> None:
    async with session() as client:
        await client.update(turn_detection=None)
        updated = await client.until("session.updated")
        assert updated["session"]["audio"]["input"]["turn_detection"] is None
        for _ in range(2):
            await client.speak(tone(1.1))
            await client.send("input_audio_buffer.commit")
            completed = await client.until(f"{TRANSCRIPTION}.completed")
            assert completed["transcript"] == "w0 w1"
    committed = [event for event in client.events if event["type"] == "input_audio_buffer.committed"]
    assert committed[1]["previous_item_id"] == committed[0]["item_id"]
    assert "input_audio_buffer.speech_started" not in client.types


async def test_cleared_sound_is_not_transcribed() -> None:
    async with session() as client:
        await client.update(turn_detection=None)
        await client.speak(tone(1.1))
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")
        await client.send("input_audio_buffer.commit", event_id="mine")
        refused = await client.until("error")
    assert refused["error"]["code"] == "input_audio_buffer_commit_empty"
    assert refused["error"]["event_id"] == "mine"
    assert "completed" not in client.types


@pytest.mark.parametrize("ending", ["commit", "clear"])
async def test_half_a_sample_spoils_no_later_turn(ending: str) -> None:
    async with session() as client:
        await client.update(turn_detection=None)
        await client.speak(tone(1.1) + b"\x7f")
        await client.send(f"input_audio_buffer.{ending}")
        await client.speak(tone(1.1))
        await client.send("input_audio_buffer.commit")
        for _ in range(2 if ending == "commit" else 1):
            assert (await client.until(f"{TRANSCRIPTION}.completed"))["transcript"] == "w0 w1"


async def test_no_sound_is_left_from_before_a_clear() -> None:
    """The resampler holds up to 70 ms back: of half a sentence that was cleared, "He" became the first word of the next turn."""
    live = LiveSpeechDouble()
    async with session(live) as client:
        await client.update(turn_detection=None)
        await client.speak(tone(1.0, level=0.9))
        await client.send("input_audio_buffer.clear")
        await client.speak(tone(1.0, level=0.3))
        await client.send("input_audio_buffer.commit")
        await client.until(f"{TRANSCRIPTION}.completed")
    assert np.abs(live.windows[-1]).max() < 0.5


async def test_no_sound_is_lost_before_another_format() -> None:
    live = LiveSpeechDouble()
    async with session(live) as client:
        await client.update(turn_detection=None)
        await client.speak(tone(1.0))
        await client.update(format={"type": "audio/pcmu"})
        await client.send("input_audio_buffer.commit")
        await client.until(f"{TRANSCRIPTION}.completed")
    assert len(live.windows[-1]) == 16_000


async def test_session_ends_with_its_engine() -> None:
    live = LiveSpeechDouble(error=Unavailable("The engine is dead.", code=ENGINE_DEAD))
    async with session(live) as client:
        await client.speak(tone(1.0) + silence(1.0))
        await client.until(f"{TRANSCRIPTION}.failed")
        assert await client.closing_code() == 1011
    assert client.events[-1]["error"]["code"] == ENGINE_DEAD


async def test_event_that_cannot_be_sent_ends_the_session_as_a_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A client took it for its own goodbye: 1000, and nothing in the log."""

    async def fails(_self: object, _text: str) -> None:
        raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")

    async with session() as client:
        await client.until("session.created")
        monkeypatch.setattr(live_socket.EventSocket, "send_str", fails)
        await client.update(turn_detection=None)
        assert await client.closing_code() == 1011
    assert "Realtime session failed" in caplog.text


async def test_failed_pass_fails_its_turn_only() -> None:
    live = LiveSpeechDouble(error=InternalError("The engine failed."))
    async with session(live) as client:
        await client.speak(tone(1.0))
        failed = await client.until(f"{TRANSCRIPTION}.failed")
        assert failed["error"]["message"] == "The engine failed."
        await client.speak(silence(1.0))
        await client.until("input_audio_buffer.committed")
        live.error = None
        await client.speak(tone(1.1) + silence(1.0))
        assert (await client.until(f"{TRANSCRIPTION}.completed"))["transcript"] == "w0 w1"


async def test_earlier_text_is_the_prompt_of_the_next_turn() -> None:
    live = LiveSpeechDouble()
    async with session(live) as client:
        for _ in range(2):
            await client.speak(tone(1.1) + silence(1.0))
            await client.until(f"{TRANSCRIPTION}.completed")
    first, last = live.requests[0], [request for request in live.requests if not request.context][-1]
    assert (first.earlier_text, last.earlier_text.strip()) == ("", "w0 w1")
    assert live.requests[-1].likely_language == "en"


async def test_pass_hears_the_turn_before_again_and_goes_on_from_its_text() -> None:
    live = LiveSpeechDouble()
    async with session(live) as client:
        await client.update(transcription={"model": "whisper-1", "language": "fr"})
        for _ in range(3):
            await client.speak(tone(1.1) + silence(1.0))
            assert (await client.until(f"{TRANSCRIPTION}.completed"))["transcript"] == "w0 w1"
    first, last = live.requests[0], live.requests[-1]
    assert first.context is None
    assert last.context is not None
    assert (last.context.text, last.earlier_text) == (" w0 w1 w0 w1", "")
    assert last.context.n_samples == pytest.approx(2 * 2.1 * 16_000, abs=8_000)
    assert live.n_samples[-1] > last.context.n_samples + 16_000


async def test_sound_whose_text_is_not_known_is_no_context() -> None:
    live = LiveSpeechDouble()
    async with session(live) as client:
        await client.update(transcription={"model": "whisper-1", "language": "fr"})
        await client.speak(tone(1.1) + silence(1.0))
        await client.until(f"{TRANSCRIPTION}.completed")
        live.error = InternalError("The engine failed.")
        await client.speak(tone(1.1))
        await client.until(f"{TRANSCRIPTION}.failed")
        live.error = None
        await client.speak(silence(1.0))
        await client.until("input_audio_buffer.committed")
        await client.speak(tone(1.1) + silence(1.0))
        await client.until(f"{TRANSCRIPTION}.completed")
    assert live.requests[-1].context is None


async def test_clear_keeps_prompt_and_language_but_no_context() -> None:
    """Push-to-talk clients clear before each turn."""
    live = LiveSpeechDouble()
    async with session(live) as client:
        await client.update(turn_detection=None)
        for n in range(2):
            if n:
                await client.speak(silence(0.3))
                await client.send("input_audio_buffer.clear")
                await client.until("input_audio_buffer.cleared")
            await client.speak(tone(1.1))
            await client.send("input_audio_buffer.commit")
            await client.until(f"{TRANSCRIPTION}.completed")
    last = live.requests[-1]
    assert (last.earlier_text.strip(), last.likely_language, last.context) == ("w0 w1", "en", None)


async def test_committed_silence_is_heard_as_one_window() -> None:
    live = LiveSpeechDouble()
    async with session(live) as client:
        await client.update(turn_detection=None)
        await client.speak(silence(70.0))
        await client.send("input_audio_buffer.commit")
        await client.until(f"{TRANSCRIPTION}.completed")
    assert sum(live.n_samples) <= 31 * 16_000


BAD_EVENTS = [
    ("{", None, "invalid_json"),
    ("[1]", None, "invalid_json"),
    ("[" * 5000, None, "invalid_json"),
    ('{"type": NaN}', "type", "invalid_value"),
    (r'{"type": "nope", "event_id": "\ud800"}', None, "invalid_json"),
    (
        r'{"type": "session.update", "session": {"audio": {"input": {"transcription": {"keywords": ["\udfff"]}}}}}',
        None,
        "invalid_json",
    ),
    ('{"type": [1]}', "type", "invalid_value"),
    ('{"type": {}}', "type", "invalid_value"),
    ('{"no": 1}', "type", None),
    ('{"type": "response.create"}', "type", "invalid_value"),
    ('{"type": "transcription_session.update"}', "type", "invalid_value"),
    ('{"type": "input_audio_buffer.append"}', "audio", "invalid_value"),
    ('{"type": "input_audio_buffer.append", "audio": "%%%"}', "audio", "invalid_value"),
    ('{"type": "input_audio_buffer.commit", "event_id": 5}', "event_id", None),
    ('{"type": "session.update"}', "session", None),
    ('{"type": "session.update", "session": []}', "session", None),
    ('{"type": "session.update", "session": {"type": "realtime"}}', "session.type", None),
    ('{"type": "session.update", "session": {"voice": "x"}}', "session.voice", "unknown_parameter"),
]
BAD_INPUTS: list[tuple[Mapping[str, Any], str]] = [
    ({"format": {"type": "audio/pcm", "rate": 16000}}, "format.rate"),
    ({"format": {"type": "audio/mp3"}}, "format"),
    ({"turn_detection": {"type": "server_vad", "threshold": 2}}, "turn_detection.threshold"),
    ({"turn_detection": {"type": "server_vad", "silence_duration_ms": "x"}}, "turn_detection.silence_duration_ms"),
    ({"noise_reduction": {"strength": [1]}}, "noise_reduction.strength"),
    ({"noise_reduction": {"float": 1}}, "noise_reduction.float"),
    ({"turn_detection": {"type": "semantic_vad", "eagerness": "very"}}, "turn_detection.eagerness"),
    ({"transcription": {"language": "klingon"}}, "transcription.language"),
    ({"transcription": {"model": "gpt-9"}}, "transcription.model"),
    ({"transcription": {"language": "en", "languages": ["de"]}}, "transcription.languages"),
    ({"transcription": None}, "transcription"),
]


async def test_bad_event_is_named_and_the_session_lives_on() -> None:
    async with session() as client:
        for text, param, code in BAD_EVENTS:
            await client.socket.send_str(text)
            error = (await client.until("error"))["error"]
            assert (error["param"], error["code"]) == (param, code), text
            assert error["type"] == "invalid_request_error"
        for given, place in BAD_INPUTS:
            await client.update(**given)
            error = (await client.until("error"))["error"]
            assert error["param"] == f"session.audio.input.{place}", error
        await client.socket.send_bytes(b"sound")
        assert "text frames" in (await client.until("error"))["error"]["message"]
        await client.speak(tone(1.1) + silence(1.0))
        assert (await client.until(f"{TRANSCRIPTION}.completed"))["transcript"] == "w0 w1"


async def test_update_leaves_what_it_does_not_name() -> None:
    async with session() as client:
        await client.update(transcription={"model": "whisper-1", "language": "German", "prompt": "Kubernetes"})
        await client.update(turn_detection={"type": "semantic_vad", "eagerness": "low"}, format={"type": "audio/pcmu"})
        await client.until("session.updated")
        given = (await client.until("session.updated"))["session"]["audio"]["input"]
    assert given["transcription"]["language"] == "de"
    assert given["transcription"]["prompt"] == "Kubernetes"
    assert given["turn_detection"] == {"type": "semantic_vad", "eagerness": "low"}
    assert given["format"] == {"type": "audio/pcmu"}


async def test_frame_that_is_too_large_ends_the_session_with_1009() -> None:
    async with session() as client:
        await client.until("session.created")
        await client.socket.send_str("x" * 10_000_000)
        assert await client.closing_code() == 1009
    assert client.events[-1]["error"]["code"] == "event_too_large"


async def test_session_that_only_sends_nonsense_ends() -> None:
    async with session() as client:
        for _ in range(60):
            await client.socket.send_str("nonsense")
        assert await client.closing_code() == 1008


async def test_session_without_sound_ends() -> None:
    async with session(REALTIME_IDLE_SECONDS="1") as client:
        await client.send("input_audio_buffer.clear")
        assert await client.closing_code() == 1000
    assert client.events[-1]["error"]["code"] == "session_idle"


async def test_empty_sound_keeps_no_session_alive() -> None:
    async with session(REALTIME_IDLE_SECONDS="1") as client:
        ended = asyncio.create_task(client.closing_code())
        while not ended.done():
            with suppress(ConnectionError):
                await client.send("input_audio_buffer.append", audio="")
            await asyncio.sleep(0.1)
        assert await ended == 1000
    assert client.events[-1]["error"]["code"] == "session_idle"


async def test_session_of_which_the_sound_waits_for_the_voice_detector_is_not_idle() -> None:
    live = LiveSpeechDouble(voice_hold=asyncio.Event())
    assert live.voice_hold is not None
    async with session(live, REALTIME_IDLE_SECONDS="1") as client:
        await client.speak(tone(5.2) + silence(1.0))
        await asyncio.sleep(2.5)
        live.voice_hold.set()
        completed = await client.until(f"{TRANSCRIPTION}.completed")
        assert completed["transcript"].split()[-1] == "w9"
        assert "error" not in client.types
        assert await client.closing_code() == 1000
    assert client.events[-1]["error"]["code"] == "session_idle"


async def test_sound_that_is_far_ahead_ends_the_session() -> None:
    live = LiveSpeechDouble(hold=asyncio.Event())
    async with session(live) as client:
        for _ in range(31):
            await client.speak(tone(10.0))
        assert await client.closing_code() == 1008
    assert client.events[-1]["error"]["param"] == "audio"
    assert "300 s ahead" in client.events[-1]["error"]["message"]


async def test_recording_that_is_sent_at_once_takes_the_turns_of_a_file() -> None:
    live = LiveSpeechDouble()
    async with session(live) as client:
        await client.speak(tone(20.3) + silence(1.0))
        completed = await client.until(f"{TRANSCRIPTION}.completed")
    assert len(completed["transcript"].split()) == 40
    assert not live.turns[-1].is_urgent


async def test_quota_of_audio_ends_the_session() -> None:
    async with session(MAX_AUDIO_SECONDS_PER_MINUTE="2") as client:
        for _ in range(4):
            await client.speak(tone(1.0))
        assert await client.closing_code() == 1008
    assert client.events[-1]["error"]["code"] == "rate_limit_exceeded"


async def test_one_session_too_many_is_refused_before_the_upgrade() -> None:
    async with running(MAX_REALTIME_SESSIONS="1") as server:
        async with connected(server) as client:
            await client.until("session.created")
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with connected(server):
                    pass
            assert refused.value.status == 429
            assert refused.value.headers is not None
            assert refused.value.headers["Retry-After"] == "5"
        await until(lambda: server.state.live_sessions.n_open == 0)
        async with connected(server) as client:
            await client.until("session.created")


@pytest.mark.parametrize(
    ("window_s", "has_free_logprobs", "asked"),
    [(0.2, True, (True, False)), (0.05, True, (False, True)), (0.05, False, (False, False))],
)
async def test_passes_ask_for_what_says_how_sure_a_word_is(
    window_s: float, has_free_logprobs: bool, asked: tuple[bool, bool]
) -> None:
    live = LiveSpeechDouble(window_seconds=window_s, has_free_logprobs=has_free_logprobs)
    async with session(live) as client:
        await client.speak(tone(1.1))
        await until(lambda: len(live.requests) == 1)
        await client.speak(silence(1.0))
        await client.until(f"{TRANSCRIPTION}.completed")
    first, last = live.requests[0], live.requests[-1]
    assert (first.options.words, first.options.logprobs) == asked
    assert not last.is_final or not last.options.logprobs, "the client did not ask"


async def test_engine_that_is_slow_takes_fewer_sessions() -> None:
    async with running(Doubles(live=LiveSpeechDouble(window_seconds=0.2))) as server:
        assert server.state.live_sessions.limit(0.2) == 10
        assert server.state.live_sessions.limit(3.0) == 4


async def test_plain_get_is_answered_with_426() -> None:
    async with running() as server:
        status, headers, body = await answer(server, "/v1/realtime?intent=transcription", method="GET")
    assert (status, headers["Upgrade"], body["error"]["code"]) == (426, "websocket", "upgrade_required")


@pytest.mark.parametrize(
    ("query", "status"),
    [("?intent=conversation", 400), ("?model=gpt-9", 404), ("?intent=transcription&model=whisper-1", 101)],
)
async def test_query_is_checked_before_the_upgrade(query: str, status: int) -> None:
    async with running() as server:
        if status == 101:
            async with connected(server, query) as client:
                await client.until("session.created")
            return
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with connected(server, query):
                pass
    assert refused.value.status == status


async def test_drain_finishes_the_turn_and_closes_with_1012() -> None:
    async with running() as server, connected(server) as client:
        await client.speak(tone(1.1))
        await client.until("input_audio_buffer.speech_started")
        server.service.closing.set()
        await asyncio.sleep(0.2)
        await client.speak(silence(1.0))
        assert await client.closing_code() == 1012
    assert client.types[-2:] == ["completed", "error"]
    assert client.events[-2]["transcript"] == "w0 w1"
    assert client.events[-1]["error"]["code"] == "draining"


@pytest.mark.parametrize("why", ["drain", "idle"])
async def test_session_that_the_server_ends_is_no_client_that_left(why: str, caplog: pytest.LogCaptureFixture) -> None:
    """And its connection stays until the client closes it: what it still sends would reset it, with events that are not read."""
    caplog.set_level(logging.INFO)
    async with running(REALTIME_IDLE_SECONDS="1" if why == "idle" else "300") as server:
        async with connected(server, autoclose=False) as client:
            await client.until("session.created")
            if why == "drain":
                server.service.closing.set()
            assert await client.closing_code() == (1000 if why == "idle" else 1012)
            await client.speak(tone(0.1))
            await asyncio.sleep(0.2)
            await client.speak(tone(0.1))
            assert len(server.http.connections) == 1
        await until(lambda: not server.http.connections)
    (line,) = [record.getMessage() for record in caplog.records if "/v1/realtime" in record.getMessage()]
    assert line == "GET /v1/realtime 101"


async def test_drain_ends_though_the_client_goes_on_speaking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The turn is cut, with a speech_stopped by which the client drops its sound; what it says from then on is its to send again."""
    monkeypatch.setattr(live_connection, "FINISH_TURN_S", 0.3)
    async with running() as server, connected(server) as client:

        async def speak_on() -> None:
            with suppress(ConnectionError):
                while True:
                    await client.speak(tone(0.5))
                    await asyncio.sleep(0.02)

        speaking = asyncio.create_task(speak_on())
        await client.until("input_audio_buffer.speech_started")
        server.service.closing.set()
        assert await client.closing_code() == 1012
        await cancel(speaking)
    kinds = [kind for kind in client.types if kind != "delta"]
    stopped = kinds.index("input_audio_buffer.speech_stopped")
    assert kinds[stopped + 1] == "input_audio_buffer.committed"
    assert "completed" in kinds[stopped:]


async def test_hundred_clients_that_leave_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_processes, "LOCAL_SESSIONS", 100)
    async with running() as server:
        for first in range(0, 100, 10):
            await asyncio.gather(*(come_and_go(server, first + number) for number in range(10)))
        await until(lambda: server.state.live_sessions.n_open == 0 and not len(server.http.in_flight))
        assert server.state.budget.used_bytes == 0
        assert server.state.slots.n_taken == 0
        assert not [task for task in asyncio.all_tasks() if "whisper_server/live" in repr(task)]


@pytest.mark.parametrize("limit", [{"MAX_UNSENT_EVENTS": 512}, {"WATCH_S": 0.01, "MAX_SEND_S": 0.05}])
async def test_client_that_never_reads_is_cut_off(limit: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ({"MAX_UNSENT_EVENTS": 10**6} | limit).items():
        monkeypatch.setattr(live_socket, name, value)
    async with running() as server, connected(server) as client:
        given = {"model": "whisper-1", "prompt": "long " * 1000}
        await client.update(transcription=given)
        await client.until("session.updated")
        with suppress(aiohttp.ClientError, ConnectionError):
            for _ in range(3000):
                await client.update(transcription=given)
        # It is cut off once 512 events wait, behind what the kernel and aiohttp hold, or once sending takes too long.
        await until(lambda: server.state.live_sessions.n_open == 0)
        await until(lambda: server.state.budget.used_bytes == 0)


async def test_silent_client_is_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_socket, "WATCH_S", 0.01)
    monkeypatch.setattr(live_socket, "PING_S", 0.02)
    async with running() as server, connected(server, autoping=False) as client:
        await client.until("session.created")
        for _ in range(2):
            assert (await client.socket.receive(20)).type is aiohttp.WSMsgType.PING


async def test_long_session_holds_little_more_than_the_turn_under_way() -> None:
    live = LiveSpeechDouble()
    async with running(Doubles(live=live)) as server, connected(server) as client:
        for _ in range(6):
            await client.speak((tone(4.0) + silence(1.0)) * 2)
            await client.until(f"{TRANSCRIPTION}.completed")
            await client.until(f"{TRANSCRIPTION}.completed")
            assert server.state.budget.used_bytes < 8 * 2**20
    in_context = [request.context.n_samples if request.context else 0 for request in live.requests]
    assert max(n - n_again for n, n_again in zip(live.n_samples, in_context, strict=True)) <= 6 * 16_000
    assert max(live.n_samples) <= MAX_SAMPLES


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    (tmp_path / "alice").write_text("alices-secret-key")
    return tmp_path


async def test_key_may_come_in_a_header_or_in_a_subprotocol(keys: Path) -> None:
    async with running(API_KEYS_DIR=str(keys)) as server:
        async with connected(server, headers={"Authorization": "Bearer alices-secret-key"}) as client:
            await client.until("session.created")
        protocols = ("realtime", "openai-insecure-api-key.alices-secret-key")
        async with connected(server, protocols=protocols) as client:
            assert client.socket.protocol == "realtime"
            await client.until("session.created")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with connected(server, protocols=("realtime", "openai-insecure-api-key.wrong")):
                pass
        assert refused.value.status == 401


async def test_client_secret_opens_sessions_until_it_expires_or_its_key_goes(keys: Path) -> None:
    alice = {"Authorization": "Bearer alices-secret-key"}
    async with running(API_KEYS_DIR=str(keys)) as server:
        given = {"type": "transcription", "audio": {"input": {"transcription": {"language": "de"}}}}
        body = {"session": given, "expires_after": {"anchor": "created_at", "seconds": 60}}
        options = {"method": "POST", "json": body, "headers": alice}
        status, _, secret = await answer(server, "/v1/realtime/client_secrets", **options)
        assert (status, secret["session"]["audio"]["input"]["transcription"]["language"]) == (200, "de")
        protocols = ("realtime", f"openai-insecure-api-key.{secret['value']}")
        async with connected(server, protocols=protocols) as client:
            created = await client.until("session.created")
            assert created["session"]["audio"]["input"]["transcription"]["language"] == "de"
        # For sessions only.
        bearer = {"Authorization": f"Bearer {secret['value']}"}
        assert (await answer(server, "/v1/models", method="GET", headers=bearer))[0] == 401
        for wrong in (secret["value"][:-4] + "AAAA", "ek_", "ek_x.y", secret["value"] + ".x"):
            status, _, _ = await answer(
                server, "/v1/realtime", method="GET", headers={"Authorization": f"Bearer {wrong}"}
            )
            assert status == 401
        (keys / "alice").unlink()
        (keys / "bob").write_text("bobs-own-secret-key")
        async with asyncio.timeout(20):
            refreshing = asyncio.create_task(server.keys.keep_fresh(0.05))
            while (await answer(server, "/v1/realtime", method="GET", headers=bearer))[0] != 401:
                await asyncio.sleep(0.05)
            refreshing.cancel()


async def test_client_secret_expires(keys: Path) -> None:
    from whisper_server.http.keys import KeyRing
    from whisper_server.http.live.client_secrets import ClientSecrets

    ring = KeyRing(keys)
    async with running(API_KEYS_DIR=str(keys)) as server:
        expired = ClientSecrets(ring).issue("alice", 1_000_000, None)
        status, _, body = await answer(
            server, "/v1/realtime", method="GET", headers={"Authorization": f"Bearer {expired}"}
        )
    assert (status, "expired" in body["error"]["message"]) == (401, True)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"seconds": 5}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "now"}}, "expires_after.anchor"),
        ({"expires_after": 5}, "expires_after"),
        ({"session": {"type": "realtime"}}, "session.type"),
        ({"session": {"audio": {"input": {"transcription": {"prompt": "x" * 4000}}}}}, "session"),
        ({"voice": 1}, "voice"),
    ],
)
async def test_wrong_request_for_a_client_secret_is_refused(body: Any, param: str) -> None:
    async with running() as server:
        status, _, refused = await answer(server, "/v1/realtime/client_secrets", method="POST", json=body)
    assert (status, refused["error"]["param"]) == (400, param)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize(
    "place",
    ["noise_reduction.strength", "turn_detection.threshold", "turn_detection.prefix_padding_ms"],
)
async def test_number_that_json_lacks_is_refused_by_name(place: str, number: str) -> None:
    part, field = place.split(".")
    session = f'{{"audio": {{"input": {{"{part}": {{"type": "server_vad", "{field}": {number}}}}}}}}}'
    if part == "noise_reduction":
        session = session.replace("server_vad", "near_field")
    path = f"session.audio.input.{place}"
    async with running() as server, aiohttp.ClientSession(server.url) as http:
        answer = await http.post("/v1/realtime/client_secrets", data=f'{{"session": {session}}}')
        refused = (await answer.json())["error"]
        assert (answer.status, refused["param"]) == (400, path)
        assert refused["message"].startswith(f"{path}: ")
        async with http.ws_connect("/v1/realtime?intent=transcription") as socket:
            await socket.send_str(f'{{"type": "session.update", "session": {session}}}')
            created, error = await socket.receive_json(timeout=20), await socket.receive_json(timeout=20)
            assert (created["type"], error["error"]["param"]) == ("session.created", path)
            await socket.send_str('{"type": "session.update", "session": {}}')
            assert (await socket.receive_json(timeout=20))["type"] == "session.updated"
