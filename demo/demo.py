"""`make demo`: starts the server on the demo model, sends a clip with OpenAI's own client, prints the transcript.

Exits 0 only where every word is right and the server stopped cleanly.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import openai

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "demo" / "clip.wav"
SPOKEN = "The quick brown fox jumps over the lazy dog."
LOG = ROOT / ".state" / "demo.log"
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30


def main() -> int:
    """Run the demo; the result is the exit code."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    LOG.parent.mkdir(exist_ok=True)
    say(f"starting the server on the demo model at {url}")
    with LOG.open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "whisper_server"], env=environment(port), stdout=log, stderr=log
        )
    try:
        wait_until_ready(server, url)
        say(f"sending {CLIP.relative_to(ROOT)} with the openai client {openai.__version__}")
        text = transcribe(url)
    except (RuntimeError, openai.OpenAIError) as error:
        say(f"failed: {error}; the server's log:")
        print(LOG.read_text(errors="replace")[-4000:])
        return 1
    finally:
        code = stop(server)
    print(f"\n  {text}\n")
    if words(text) != words(SPOKEN):
        say(f"wrong: the clip says {SPOKEN!r}")
        return 1
    if code != 0:
        say(f"the server ended with exit code {code}; its log is {LOG}")
        return 1
    say("every word is right; the server is stopped")
    return 0


def environment(port: int) -> dict[str, str]:
    """Of the server: ours, and the settings of the demo."""
    ours = {"MODEL_ID": "demo", "INTERFACE": "127.0.0.1", "PORT": str(port), "LOG_FORMAT": "text", "DRAIN_SECONDS": "0"}
    return os.environ | ours | {"MODEL_CACHE_DIR": str(ROOT / ".state" / "models")}


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    """Until the model is loaded and warm."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with exit code {server.returncode}")
        try:
            if httpx.get(f"{url}/ready").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the server was not ready within {START_TIMEOUT_S} s")


def transcribe(url: str) -> str:
    """What the server hears in the clip."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client, CLIP.open("rb") as clip:
        return client.audio.transcriptions.create(model="whisper-1", file=clip).text


def stop(server: subprocess.Popen[bytes]) -> int:
    """End the server as a cluster would; the result is its exit code."""
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
    try:
        return server.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()


def words(text: str) -> list[str]:
    """Without case and punctuation."""
    return re.findall(r"\w+", text.lower())


def say(line: str) -> None:
    """One line about what goes on."""
    print(f"demo: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
