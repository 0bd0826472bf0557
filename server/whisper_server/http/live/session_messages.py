"""Messages between the server's process and a process of realtime sessions. Frozen data, pickled: both ends are this program, at
one version. `session_wire` carries them.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisper_server.api.realtime_session import SessionConfig
from whisper_server.errors import ApiError
from whisper_server.http.live.live_connection import SessionTerms
from whisper_server.live.speech_protocol import SpeechFacts
from whisper_server.speech.live_windows import LiveTranscript, WindowRequest


@dataclass(frozen=True)
class Start:
    """To the process: the first message."""

    facts: SpeechFacts
    terms: SessionTerms
    log_format: str
    log_level: str


@dataclass(frozen=True)
class Pace:
    """How fast the engine is now."""

    pass_s: float
    window_s: float


@dataclass(frozen=True)
class Open:
    """To the process: a session that was admitted, with its socket."""

    number: int
    place: int
    """Of its sound in the shared memory."""
    head: bytes
    """The request as the client sent it, and what has come behind it."""
    headers: dict[str, str]
    """Of the answer, besides those of WebSockets."""
    config: SessionConfig
    owner: str
    request_id: str
    pace: Pace


@dataclass(frozen=True)
class Counted:
    """To the process: the answer to `Count`."""

    number: int
    refusal: ApiError | None


@dataclass(frozen=True)
class SlotHeld:
    """To the process: the answer to `Slot`."""

    number: int
    pace: Pace


@dataclass(frozen=True)
class PassDone:
    """To the process: the answer to `Pass`."""

    number: int
    result: LiveTranscript | ApiError
    pace: Pace


@dataclass(frozen=True)
class TurnEndDone:
    """To the process: the answer to `TurnEnd`."""

    number: int
    result: float | ApiError


@dataclass(frozen=True)
class Cut:
    """To the process: end this session at once."""

    number: int


@dataclass(frozen=True)
class Closing:
    """To the process: the server is about to end."""


@dataclass(frozen=True)
class Ping:
    """To the process, which answers with `Alive`."""


@dataclass(frozen=True)
class Upgraded:
    """From a session: its connection is a WebSocket now."""

    number: int


@dataclass(frozen=True)
class Count:
    """From a session: so much sound has arrived since the last one, and its buffer takes so many bytes."""

    number: int
    audio_s: float
    n_bytes: int


@dataclass(frozen=True)
class Slot:
    """From a session: it waits until the engine has time for a pass."""

    number: int
    is_urgent: bool


@dataclass(frozen=True)
class Pass:
    """From a session, which holds a slot for it: hear so many samples, from the start of its place in the shared memory."""

    number: int
    n_samples: int
    request: WindowRequest


@dataclass(frozen=True)
class Release:
    """From a session: its slot is free, there is nothing to hear any more."""

    number: int


@dataclass(frozen=True)
class TurnEnd:
    """From a session: is the turn over that ends with so many samples, which lie behind those of passes?"""

    number: int
    n_samples: int


@dataclass(frozen=True)
class Delay:
    """From a session: words were sent so many seconds after their sound had arrived."""

    number: int
    delay_s: float


@dataclass(frozen=True)
class Refused:
    """From a session: an event was refused."""

    number: int
    error: ApiError


@dataclass(frozen=True)
class End:
    """From the process: the session is over, and its socket closed."""

    number: int
    status: int | None
    """Of the answer; None: the client left first."""
    uncounted_s: float
    audio_s: float
    error_code: str
    refusal_reason: str
    is_closed: bool


@dataclass(frozen=True)
class Alive:
    """From the process: the answer to `Ping`."""

    max_lag_s: float
    """Of its event loop, in the last minute."""


ToProcess = Start | Counted | SlotHeld | PassDone | TurnEndDone | Cut | Closing | Ping
FromSession = Upgraded | Count | Slot | Pass | Release | TurnEnd | Delay | Refused | End
FromProcess = FromSession | Alive
