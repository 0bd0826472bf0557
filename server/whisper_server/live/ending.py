"""Why there is no session, or why the server ends it: an `error` event, then a WebSocket's close code."""

from __future__ import annotations

from enum import IntEnum

from whisper_server.errors import ApiError


class CloseCode(IntEnum):
    """RFC 6455, section 7.4, and IANA's registry."""

    NORMAL = 1000
    POLICY = 1008
    TOO_LARGE = 1009
    INTERNAL = 1011
    RESTART = 1012
    """Clients connect again, to another pod."""
    TRY_LATER = 1013


class SessionOver(Exception):
    """The session ends: the client is over a limit."""

    def __init__(self, error: ApiError, code: CloseCode) -> None:
        super().__init__(error.message)
        self.error = error
        self.code = code


class UpgradeRequired(ApiError):
    """A route that is a WebSocket was called as a page."""

    status = 426
    type = "invalid_request_error"
    code = "upgrade_required"

    def __init__(self) -> None:
        super().__init__("This route is a WebSocket: connect with wss:// or ws://; docs/realtime.md has examples.")

    def headers(self) -> dict[str, str]:
        return {"Upgrade": "websocket", "Connection": "Upgrade"}


class SessionIdle(ApiError):
    """A realtime session got no sound for too long."""

    status = 408
    type = "invalid_request_error"
    code = "session_idle"

    def __init__(self, idle_s: float) -> None:
        super().__init__(
            f"No sound arrived for {idle_s:g} s (REALTIME_IDLE_SECONDS). Connect again when there is some.",
            param="audio",
        )
