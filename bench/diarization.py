"""Who speaks when: diarization error, number of speakers, known speakers, cost and memory, on human voices.

    make bench-diarization BENCH_ARGS="--set testing --hour"

The product's own process does the work. Set `tuning` set the thresholds, `testing` has other people; pyannote's sample (30 s) is in both.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import soundfile
from figures import machine, process_cpu_s

from pinned_packages import unpacked
from real_kit.diarization_error import DiarizationError, diarization_error, read_rttm
from real_kit.packages import PYANNOTE
from real_kit.voices import RATE_HZ, TESTING, TUNING, Conversation, Said, conversation, reference
from whisper_server.diarization.diarizer import Diarizer, KnownSpeaker, SpeakerQuestion
from whisper_server.whisper.speakers import Turn

SHAPES = ((1, 60), (2, 60), (2, 120), (2, 300), (3, 90), (3, 180), (4, 120), (4, 300), (6, 180), (6, 600))
"""(voices, seconds); every second one as a telephone has it."""
N_KNOWN = 2
"""Of the voices of a conversation of three or more, whose references are given."""


@dataclass(frozen=True)
class Row:
    """One recording's figures."""

    name: str
    error: DiarizationError
    n_found: int
    n_said: int
    cpu_share: float
    """Seconds of processor for a second of sound."""


def pyannotes_sample() -> Conversation:
    folder = unpacked(PYANNOTE) / "pyannote" / "audio" / "sample"
    sound, _ = soundfile.read(folder / "sample.wav", dtype="float32")
    said = read_rttm((folder / "sample.rttm").read_text(encoding="utf-8"))
    return Conversation("pyannote's sample", sound, tuple(Said(*one) for one in said))


def conversations(voices: Sequence[str], seed: int) -> Iterator[Conversation]:
    yield pyannotes_sample()
    choice = random.Random(seed)
    for index, (n_voices, duration_s) in enumerate(SHAPES):
        yield conversation(choice.sample(voices, n_voices), duration_s, seed + index, phone=index % 2 == 1)


async def row_of(diarizer: Diarizer, one: Conversation) -> Row:
    before_s = _worker_cpu_s()
    turns = await diarizer.turns(one.sound, SpeakerQuestion())
    cpu_s = _worker_cpu_s() - before_s
    error = diarization_error(_plain(one.said), [(turn.start_s, turn.end_s, turn.speaker) for turn in turns])
    n_found = len({turn.speaker for turn in turns})
    return Row(one.name, error, n_found, one.n_voices, cpu_s / (len(one.sound) / RATE_HZ))


async def known_right(diarizer: Diarizer, one: Conversation, seed: int) -> tuple[int, int, int]:
    """(turns with the right name or rightly without one, turns, unknown voices' turns that were given a name)."""
    voices = sorted({said.voice for said in one.said})
    known = random.Random(seed).sample(voices, min(N_KNOWN, len(voices)))
    question = SpeakerQuestion(known=tuple(KnownSpeaker(f"name of {one}", reference(one, seed)) for one in known))
    turns = await diarizer.turns(one.sound, question)
    n_right = n_given = 0
    for said in one.said:
        speaker = _most_of(said, turns)
        is_named = re.match("name of ", speaker) is not None
        n_right += speaker == f"name of {said.voice}" if said.voice in known else not is_named
        n_given += is_named and said.voice not in known
    return n_right, len(one.said), n_given


def _most_of(said: Said, turns: Sequence[Turn]) -> str:
    times: dict[str, float] = {"": 0.0}
    for turn in turns:
        shared_s = min(said.end_s, turn.end_s) - max(said.start_s, turn.start_s)
        times[turn.speaker] = times.get(turn.speaker, 0.0) + max(0.0, shared_s)
    return max(times, key=lambda speaker: times[speaker])


def _plain(said: Sequence[Said]) -> list[tuple[float, float, str]]:
    return [(one.start_s, one.end_s, one.voice) for one in said]


def _worker_cpu_s() -> float:
    return sum(process_cpu_s(child) for child in psutil.Process().children())


def _worker_peak_mib() -> int:
    """Peak resident memory of the diarizing process."""
    (child,) = psutil.Process().children()
    status = Path(f"/proc/{child.pid}/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) // 1024


async def main(args: argparse.Namespace) -> None:
    print(machine())
    voices = TESTING if args.set == "testing" else TUNING
    diarizer = Diarizer()
    await diarizer.turns(np.zeros(RATE_HZ, np.float32), SpeakerQuestion())
    rows, known = [], np.zeros(3, int)
    for one in conversations(voices, args.seed):
        row = await row_of(diarizer, one)
        rows.append(row)
        error = row.error
        parts = " + ".join(
            f"{100 * part / error.said_s:.1f}" for part in (error.missed_s, error.invented_s, error.confused_s)
        )
        print(
            f"{row.name}: {100 * error.rate:.1f} % ({parts}), {row.n_found} of {row.n_said} voices, {1000 * row.cpu_share:.0f} ms/s",
            flush=True,
        )
        if one.n_voices >= 2 and one.name != "pyannote's sample":
            known += await known_right(diarizer, one, args.seed)
    rate = np.mean([row.error.rate for row in rows])
    n_right = sum(row.n_found == row.n_said for row in rows)
    print(f"mean {100 * rate:.1f} %, right number {n_right} of {len(rows)}")
    print(
        f"known speakers: {known[0]} of {known[1]} turns right ({100 * known[0] / max(1, known[1]):.1f} %), {known[2]} of unknown voices named"
    )
    if args.hour:
        long = conversation(random.Random(args.seed).sample(voices, 4), 3600, args.seed)
        begin_s = time.monotonic()
        row = await row_of(diarizer, long)
        print(
            f"an hour: {100 * row.error.rate:.1f} %, {row.n_found} of {row.n_said}, {1000 * row.cpu_share:.0f} ms/s, {time.monotonic() - begin_s:.0f} s, peak {_worker_peak_mib()} MiB"
        )
    await diarizer.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=("tuning", "testing"), default="testing")
    parser.add_argument("--seed", type=int, default=9000)
    parser.add_argument("--hour", action="store_true", help="an hour by four voices, too")
    asyncio.run(main(parser.parse_args()))
