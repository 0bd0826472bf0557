"""Voice agents' own speech-to-text clients, unmodified: LiveKit's plugin and Pipecat's service, each in a session as people speak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from live_kit.speaking import pcm
from server_kit.process import REPOSITORY
from speech_kit.scores import word_errors
from speech_kit.sentences import spoken

PROGRAMS = REPOSITORY / "tests" / "clients" / "realtime"
pytestmark = pytest.mark.before_release(because="the clients bring 360 MB of packages of their own")


@pytest.fixture(scope="module")
def python() -> Path:
    """An interpreter that has both clients and what they import here, which is all that is listed; kept between runs."""
    requirements = PROGRAMS / "requirements.txt"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "whisper-server-tests" / f"realtime-{sha256(requirements.read_bytes()).hexdigest()[:16]}"
    done = folder / "installed"
    if not done.exists():
        uv = Path(sys.executable).with_name("uv")
        commands = [
            [str(uv), "venv", "-q", "--clear", "--python", sys.executable, str(folder)],
            [
                str(uv),
                "pip",
                "install",
                "-q",
                "--no-deps",
                "--python",
                str(folder / "bin/python"),
                "-r",
                str(requirements),
            ],
        ]
        for command in commands:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
            if ended.returncode != 0:
                pytest.skip(f"the clients cannot be installed: {ended.stderr[-500:]}")
        done.touch()
    return folder / "bin" / "python"


@pytest.mark.parametrize("client", ["livekit", "pipecat"])
def test_client_hears_words_while_they_are_spoken(client: str, python: Path, base_url: str, tmp_path: Path) -> None:
    said = spoken("en", 0)
    path = tmp_path / "sound.pcm"
    path.write_bytes(pcm(said.samples, 16_000) + bytes(96_000))
    command = [str(python), str(PROGRAMS / f"{client}_listens.py"), f"{base_url}/v1", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    heard = json.loads(ended.stdout.splitlines()[-1])
    assert word_errors([said.text], [heard["final"]]).rate <= 0.2
    assert heard["interim"]
