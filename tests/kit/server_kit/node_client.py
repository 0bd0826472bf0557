"""OpenAI's Node client, installed from its lock once a machine, and what came of every call that it can make.

The calls are in tests/clients/node. What the answers should be is the tests' business.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

from server_kit.process import REPOSITORY

SOURCE = REPOSITORY / "tests" / "clients" / "node"
LIMIT_S = 300


class NoNode(Exception):
    """This machine lacks it; the message says what to install."""


def installed() -> Path:
    """A folder with the client that the lock names, kept between runs. Raises NoNode."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NoNode("Node is not on this machine: apt-get install nodejs npm")
    lock = (SOURCE / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "whisper-server-tests" / f"node-{sha256(lock).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "calls.mjs", "realtime.mjs"):
        shutil.copy(SOURCE / name, folder)
    if not (folder / "node_modules" / ".package-lock.json").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=LIMIT_S)
    return folder


def realtime_events(folder: Path, base_url: str, sound: Path) -> list[dict[str, Any]]:
    """Of a session that hears a file of PCM. Raises AssertionError where the program itself failed."""
    command = ["node", "--experimental-websocket", "--no-warnings", "realtime.mjs", base_url, str(sound)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if ended.returncode != 0:
        raise AssertionError(ended.stdout + ended.stderr)
    events: list[dict[str, Any]] = json.loads(ended.stdout)
    return events


def every_call(folder: Path, base_url: str, clip: Path) -> dict[str, Any]:
    """By the call's name: its "value", or its "error". Raises AssertionError where the program itself failed."""
    command = ["node", "calls.mjs", base_url, str(clip)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if ended.returncode != 0:
        raise AssertionError(ended.stderr)
    answers: dict[str, Any] = json.loads(ended.stdout)
    return answers
