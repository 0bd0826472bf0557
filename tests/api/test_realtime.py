"""Realtime sessions through OpenAI's unmodified client, with the demo model and its voice."""

from __future__ import annotations

import asyncio

import pytest

from live_kit.speaking import Conversation, converse, listen, pcm, send, session
from server_kit.process import StartServer
from speech_kit.scores import word_errors
from speech_kit.sentences import spoken

RATE_HZ = 16_000
"""Of espeak's recordings here."""
SPEED = 4.0
"""Faster than speech: CI is short of time. Up to two seconds ahead are live."""


def wrong_share(said: str, heard: str) -> float:
    """Of words."""
    return word_errors([said], [heard]).rate


async def test_words_come_while_they_are_spoken(base_url: str) -> None:
    said = spoken("en", 0)
    conversation = await converse(base_url, pcm(said.samples, RATE_HZ))
    assert wrong_share(said.text, conversation.text) <= 0.2
    assert conversation.joined_deltas() == conversation.transcripts()
    (stopped,) = conversation.of("input_audio_buffer.speech_stopped")
    assert stopped.event["audio_end_ms"] > 2000
    assert conversation.completed[0].event["usage"]["type"] == "tokens"


async def test_client_that_commits_gets_each_turn_with_logprobs(base_url: str) -> None:
    said = spoken("de", 1)
    update = {
        "audio": {"input": {"turn_detection": None, "transcription": {"model": "whisper-1", "language": "de"}}},
        "include": ["item.input_audio_transcription.logprobs"],
    }
    conversation = await converse(base_url, pcm(said.samples, RATE_HZ), update=update, speed=SPEED, commit=True)
    (completed,) = conversation.completed
    assert wrong_share(said.text, conversation.text) <= 0.2
    assert "".join(one["token"] for one in completed.event["logprobs"]).strip() == completed.event["transcript"].strip()
    assert completed.event["languages"] == [{"code": "de"}]
    assert conversation.joined_deltas() == conversation.transcripts()


async def test_semantic_vad_ends_a_turn_that_sounds_complete_before_its_silence_does(base_url: str) -> None:
    """By silence alone a turn with the lowest eagerness ends after 8 s of it."""
    said = spoken("de", 1)
    update = {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}}
    conversation = await converse(base_url, pcm(said.samples, RATE_HZ), update=update, speed=SPEED)
    (stopped,) = conversation.of("input_audio_buffer.speech_stopped")
    assert stopped.event["audio_end_ms"] < len(said.samples) * 1000 / RATE_HZ + 1000
    assert wrong_share(said.text, conversation.text) <= 0.2


@pytest.mark.before_release(because="it starts a server of its own")
async def test_session_that_cannot_finish_is_closed_with_1012_before_it_is_cut_off(start_server: StartServer) -> None:
    from websockets.exceptions import ConnectionClosed

    with start_server({"DRAIN_SECONDS": "0", "SHUTDOWN_SECONDS": "4"}) as server:
        async with session(server.url) as connection:
            sending = asyncio.create_task(send(connection, pcm(spoken("en", 3).samples, RATE_HZ) * 20))
            await asyncio.sleep(1.0)
            server.terminate()
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await asyncio.wait_for(connection.recv(), 60)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        server.popen.wait(60)
        assert "cut off" not in server.log()


@pytest.mark.before_release(because="it starts a server of its own, and turns take their time")
async def test_sigterm_finishes_the_turn_and_closes_with_1012(start_server: StartServer) -> None:
    from websockets.exceptions import ConnectionClosed

    said = spoken("en", 3)
    with start_server({"DRAIN_SECONDS": "1"}) as server:
        conversation = Conversation()
        async with session(server.url) as connection:
            listening = asyncio.create_task(listen(connection, conversation, 0.0))
            sending = asyncio.create_task(send(connection, pcm(said.samples, RATE_HZ) + bytes(48_000)))
            await asyncio.sleep(1.0)
            server.terminate()
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(connection._connection.wait_closed(), 60)
                await connection.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            sending.cancel()
            await asyncio.gather(sending, listening, return_exceptions=True)
    assert wrong_share(said.text, conversation.text) <= 0.2
