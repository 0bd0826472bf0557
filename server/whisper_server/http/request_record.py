"""Facts about one HTTP request, for its log line and its metrics: filled in while it runs, read once at its end."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def request_id_from(header: str | None) -> str:
    """The client's own id if it is a plain token, otherwise a new one."""
    if header is not None and _SANE_REQUEST_ID.fullmatch(header):
        return header
    return f"req_{uuid.uuid4().hex}"


@dataclass
class RequestRecord:
    """Facts about one request; times in seconds of the monotonic clock."""

    request_id: str
    started_s: float = field(default_factory=time.monotonic)
    route: str = "unmatched"
    client: str = ""
    """Name of the API key, never the key."""
    owner: str = ""
    """Whose turns and quotas the request takes: the client, or an address."""
    model: str = ""
    response_format: str = ""
    streamed: bool = False
    audio_s: float = 0.0
    upload_s: float = 0.0
    decode_s: float = 0.0
    transcribe_s: float = 0.0
    error_code: str = ""
    is_closed: bool = False
    """A WebSocket that was closed as it should be: its client may be gone before the answer's end."""
    refusal_reason: str = ""
    """For the metric, where it says more than the code."""
    begun: bool = False
    ended: bool = False
    """Answered, or abandoned because the client left."""

    def elapsed_s(self) -> float:
        """Since the head of the request was read."""
        return time.monotonic() - self.started_s
