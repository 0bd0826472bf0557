"""What is known of one HTTP request while it runs: for its log line and its metrics.

Filled in by whoever learns something; read once, at the end. No HTTP library here.
"""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def request_id_from(header: str | None) -> str:
    """The client's own id where it is a plain token, else a new one."""
    if header is not None and _SANE_REQUEST_ID.fullmatch(header):
        return header
    return f"req_{uuid.uuid4().hex}"


@dataclass
class RequestRecord:
    """Notes on one request; times in seconds, by the monotonic clock."""

    request_id: str
    started_s: float = field(default_factory=time.monotonic)
    route: str = "unmatched"
    client: str = ""
    """Name of the API key, never the key."""
    model: str = ""
    response_format: str = ""
    streamed: bool = False
    audio_s: float = 0.0
    upload_s: float = 0.0
    decode_s: float = 0.0
    transcribe_s: float = 0.0
    error_code: str = ""
    begun: bool = False
    ended: bool = False
    """Answered, or given up because the client left."""

    def elapsed_s(self) -> float:
        """Since the head of the request was read."""
        return time.monotonic() - self.started_s
