"""People who speak into the reconnecting examples of docs/examples, and what these write down."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from live_kit.speaking import CHUNK_S, RATE_HZ, pcm
from speech_kit.scores import Alignment, aligned, normalised
from speech_kit.sentences import spoken

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
ESPEAK_RATE_HZ = 16_000
PAUSE_S = 1.2
"""After each sentence: longer than the silence that ends a turn."""
SENTENCES = tuple(number for number in range(64) if number != 16)
"""Where a session begins with that one, as after a rollout, the demo model hears `soup in` as one word."""
END_S = 300.0


def programs(base_url: str) -> Sequence[Sequence[str]]:
    """The example in Python and the one in JavaScript; node 20 has WebSockets behind a flag."""
    in_javascript = f"{base_url.replace('http', 'ws', 1)}/realtime"
    return (
        (sys.executable, str(EXAMPLES / "realtime_reconnect.py"), base_url, "none"),
        (_node(), "--experimental-websocket", str(EXAMPLES / "realtime_reconnect.mjs"), in_javascript, "none"),
    )


class Speaker(threading.Thread):
    """Says sentence after sentence, as fast as people speak, until it is enough."""

    def __init__(self, program: Sequence[str], first: int, scratch: Path) -> None:
        super().__init__(daemon=True)
        self.said: list[str] = []
        self._first = first
        self._enough = threading.Event()
        self._errors = scratch / f"speaker-{first}.stderr"
        self._heard = scratch / f"speaker-{first}.stdout"
        # Files: an hour's words may be more than a pipe holds.
        with self._errors.open("wb") as errors, self._heard.open("wb") as heard:
            self._popen = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=heard, stderr=errors, text=False)

    @property
    def n_reconnects(self) -> int:
        return self._errors.read_text(errors="replace").count("connecting again")

    @property
    def n_written(self) -> int:
        """Turns that are written down."""
        return len(self._heard.read_text(encoding="utf-8").splitlines())

    def run(self) -> None:
        with suppress(BrokenPipeError):  # the program has ended; `end` says how
            self._speak()

    def _speak(self) -> None:
        stdin, number = self._popen.stdin, self._first
        assert stdin is not None
        while not self._enough.is_set():
            sentence = spoken("en", SENTENCES[number % len(SENTENCES)])
            pause = np.zeros(int(PAUSE_S * ESPEAK_RATE_HZ), np.float32)
            sound = pcm(np.concatenate([sentence.samples, pause]), ESPEAK_RATE_HZ)
            n_bytes = int(CHUNK_S * RATE_HZ) * 2
            began_s = time.monotonic()
            for piece, at in enumerate(range(0, len(sound), n_bytes), start=1):
                time.sleep(max(0.0, began_s + piece * CHUNK_S - time.monotonic()))
                stdin.write(sound[at : at + n_bytes])
            stdin.flush()
            self.said.append(sentence.text)
            number += 1
        stdin.close()

    def finish_sentence(self) -> None:
        """Say no further one."""
        self._enough.set()

    def end(self) -> None:
        """Wait until all is written down. Raises AssertionError where the program fails."""
        self.join(END_S)
        code = self._popen.wait(END_S)
        assert code == 0, self._errors.read_text(errors="replace")

    def words(self) -> Alignment:
        """What was said, by what was written down."""
        return aligned(normalised(" ".join(self.said)), self._heard_words())

    def lost_words(self) -> list[str]:
        """Each word that is missing, with those next to it, and what was written down there."""
        said, heard, words = normalised(" ".join(self.said)), self._heard_words(), self.words()
        there, lost = dict(words.matched), []
        for at in words.lost:
            near = range(max(0, at - 4), min(at + 5, len(said)))
            written = " ".join(heard[there[other]] for other in near if other in there)
            lost.append(f"{said[at]!r} of {' '.join(said[other] for other in near)!r}: {written!r}")
        return lost

    def _heard_words(self) -> list[str]:
        return normalised(self._heard.read_text(encoding="utf-8"))

    def kill(self) -> None:
        self._enough.set()
        self._popen.kill()
        self._popen.wait()
        self.join(END_S)


@contextmanager
def speaking(base_url: str, n_speakers: int, scratch: Path) -> Iterator[Sequence[Speaker]]:
    """Half of them with each example; at the end all that they said is written down."""
    commands = programs(base_url)
    speakers = [Speaker(commands[number % 2], 7 * number, scratch) for number in range(n_speakers)]
    try:
        for speaker in speakers:
            speaker.start()
        yield speakers
        for speaker in speakers:  # all of them, before one is waited for: it may wait for another one's session to end
            speaker.finish_sentence()
        for speaker in speakers:
            speaker.end()
    finally:
        for speaker in speakers:
            speaker.kill()


def _node() -> str:
    found = shutil.which("node")
    assert found is not None, "node is not installed"
    return found
