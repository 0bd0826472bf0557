"""One session: a client's events in, the server's events out.

`Session.take` handles a client's events in order, `Session.run` makes the passes. Decisions are pure
(`turn_detection`, `passes`, `turn`, `agreement`); this module, `listening` and `turn_transcription` join it with time and with
the engine. It knows no transport.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from whisper_server.api.realtime_client_events import AppendAudio, ClientEvent, CommitAudio, UpdateSession
from whisper_server.api.realtime_server_events import ServerEvent, SessionChanged, TranscriptFailed
from whisper_server.api.realtime_session import SessionConfig
from whisper_server.audio.live_samples import RawFormat, duration_s
from whisper_server.errors import ENGINE_DEAD, ApiError, RateLimited
from whisper_server.live.ending import CloseCode, SessionOver
from whisper_server.live.listening import Listening
from whisper_server.live.said import SoFar
from whisper_server.live.session_options import SessionRules, turn_rules
from whisper_server.live.speech_protocol import LiveSpeech
from whisper_server.live.turn import Turn
from whisper_server.live.turn_transcription import TurnTranscription
from whisper_server.speech.live_windows import Turns
from whisper_server.whisper.constants import SAMPLE_RATE_HZ

MAX_HELD_S = 300.0
"""Sound that is not transcribed yet. A client may send a recording faster than it was spoken, up to this much ahead."""
URGENT_AHEAD_S = 2.0
"""Sound that has arrived this much earlier than it can have been spoken is a file's, and takes a file's turns."""


@dataclass(frozen=True)
class SessionHooks:
    """The server's part of a session."""

    emit: Callable[[ServerEvent], None]
    count: Callable[[float, int], Awaitable[None]]
    """So many more seconds have arrived, and the session's buffer takes so many bytes. Raises ApiError."""
    note_delay: Callable[[float], None]
    """Words were sent so many seconds after their sound had arrived."""


class Session:
    """One client's session."""

    def __init__(
        self,
        session_id: str,
        config: SessionConfig,
        speech: LiveSpeech,
        rules: SessionRules,
        hooks: SessionHooks,
        *,
        owner: str,
        clock: Callable[[], float],
    ) -> None:
        """Raises ApiError for a configuration that this server or its model does not have."""
        self._id = session_id
        self._config = config
        self._speech = speech
        self._rules = rules
        self._hooks = hooks
        self._owner = owner
        self._clock = clock
        self._began_s: float | None = None
        self.audio_s = 0.0
        """Sound that has arrived."""
        options = rules.check(config, speech.facts)
        self._listening = Listening(
            speech, turn_rules(config), options, turns_of=self._turns, emit=hooks.emit, clock=clock
        )
        self._format = RawFormat(config.input.format.type)
        self._listening.configure(turn_rules(config), self._format, options)
        self._so_far = SoFar()

    def begin(self) -> None:
        """Send the first event."""
        self._hooks.emit(SessionChanged(self._document(), is_new=True))

    async def take(self, event: ClientEvent) -> None:
        """Act on a client's event. Raises ApiError for one that cannot be acted on, SessionOver at a limit."""
        if isinstance(event, AppendAudio):
            await self._count(event.audio)
            await self._listening.append(event.audio)
            return
        await self._listening.catch_up()
        if isinstance(event, CommitAudio):
            self._listening.commit()
        elif isinstance(event, UpdateSession):
            self._update(event.session)
        else:
            self._listening.clear()

    async def run(self) -> None:
        """Hear the sound and make the passes, turn after turn, until cancelled. Raises SessionOver where the engine is dead."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listening.hearing.run())
                tasks.create_task(self._make_passes())
        except BaseExceptionGroup as group:
            if (over := group.subgroup(SessionOver)) is not None:
                raise over.exceptions[0] from None
            raise

    async def _make_passes(self) -> None:
        while True:
            if not self._listening.turns:
                await self._listening.changed()
                continue
            turn = self._listening.turns[0]
            try:
                await TurnTranscription(
                    turn,
                    self._so_far,
                    self._listening,
                    self._speech,
                    turns_of=self._turns,
                    emit=self._hooks.emit,
                    note_delay=self._hooks.note_delay,
                ).run()
            except ApiError as error:
                await self._fail(turn, error)
            if turn.is_dropped:
                self._so_far.end_context()
            self._listening.forget(turn)

    async def finish(self, grace_s: float) -> None:
        """Let the turn under way end, for at most `grace_s`, then commit it, and wait until all before is transcribed."""
        await self._listening.catch_up()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._until(lambda: self._listening.open_turn is None or not self._listening.open_turn.has_speech)
        await self._listening.catch_up()
        self._listening.close()
        # Not those that begin from now on: a client that goes on speaking sends them again.
        rest = {turn.item_id for turn in self._listening.turns}
        await self._until(lambda: rest.isdisjoint(turn.item_id for turn in self._listening.turns))

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._listening.changed()

    async def _fail(self, turn: Turn, error: ApiError) -> None:
        """A turn whose passes failed has no further text. Raises SessionOver if no later one can have any."""
        self._hooks.emit(TranscriptFailed(turn.item_id, error))
        if error.code == ENGINE_DEAD:
            raise SessionOver(error, CloseCode.INTERNAL)
        self._so_far.end_context()
        turn.pieces.clear()
        while turn.end is None:
            await self._listening.changed()
            turn.pieces.clear()

    def _update(self, session: object) -> None:
        config = self._config.updated(session)
        options = self._rules.check(config, self._speech.facts)
        self._config, self._format = config, RawFormat(config.input.format.type)
        self._listening.configure(turn_rules(config), self._format, options)
        self._hooks.emit(SessionChanged(self._document()))

    async def _count(self, audio: bytes) -> None:
        """Raises SessionOver for sound that is too much."""
        added_s = duration_s(len(audio), self._format)
        now_s = self._clock()
        self._began_s = now_s if self._began_s is None else self._began_s
        held_s = (self._listening.buffer.end - self._listening.untranscribed_from) / SAMPLE_RATE_HZ + added_s
        try:
            if held_s > MAX_HELD_S:
                raise RateLimited(
                    f"audio: {held_s:.0f} s of sound wait to be transcribed, and a session may be {MAX_HELD_S:.0f} s ahead. "
                    "Send sound no faster than it is spoken, or send the recording to /v1/audio/transcriptions.",
                    reason="realtime_ahead",
                    retry_after_s=5,
                )
            await self._hooks.count(added_s, self._listening.buffer.n_bytes)
        except ApiError as error:
            error.param = "audio"
            raise SessionOver(error, CloseCode.POLICY) from None
        self.audio_s += added_s

    def _turns(self) -> Turns:
        spoken_s = 0.0 if self._began_s is None else self._clock() - self._began_s
        return Turns(self._owner, self, is_urgent=self.audio_s - spoken_s <= URGENT_AHEAD_S)

    def _document(self) -> dict[str, object]:
        return {"id": self._id, "object": "realtime.transcription_session", **self._config.document()}
