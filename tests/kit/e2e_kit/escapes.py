"""The escapes of `audio_kit.escapes`, made in the server's image: by its Python, its libraries and its sandbox.

The attempts are an argument of Python, as the image has no tests inside. Where the image runs is the caller's.
"""

from __future__ import annotations

import json
from pathlib import Path

from audio_kit import escapes


def command(writable: str, **files: str) -> list[str]:
    """Prints the outcomes in the container. `writable`: a folder there; `files` are read by the attempts of these names."""
    targets = {
        "read_passwd": "/etc/passwd",
        "read_api_keys": "/etc/passwd",
        "write_file": f"{writable}/written",
        "connect_to_loopback": "1",
        **files,
    }
    return ["python", "-P", "-c", Path(escapes.__file__).read_text(encoding="utf-8"), json.dumps(targets)]


def outcomes(printed: str) -> dict[str, list[str]]:
    """By attempt: what became of it in the sandbox, and outside of it."""
    found: dict[str, list[str]] = json.loads(printed.strip().splitlines()[-1])
    assert found.keys() == escapes.ESCAPES.keys()
    return found
