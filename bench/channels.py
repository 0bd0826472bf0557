"""Two voices, one on each channel of a telephone call, with `multichannel=true`: words on the wrong side, and word errors.

Both sides speak at the same time, without cross-talk: what one channel's text has that the same sound alone has not would come
from the other side. Whisper base over HTTP; the recordings are prompts of people. Prints a table for bench/RESULTS.md.

    PYTHONPATH=tests/kit:demo python bench/channels.py --prompts 12
"""

from __future__ import annotations

import argparse
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
from figures import process_cpu_s

from real_kit.scores import Errors, errors, normalised
from real_kit.speech import LANGUAGES, RATE_HZ, Recording, Sound, long_recording
from real_kit.weights import base_checkpoint
from server_kit.api import Api
from server_kit.process import ServerProcess, running

SUBTYPES = ("PCM_16", "ULAW", "ALAW")


@dataclass(frozen=True)
class Side:
    """One channel: its words in the call, and alone."""

    together: Errors
    alone: Errors
    n_wrong: int
    """Words that it has in the call only, and the other side has."""


def call_of(sounds: Sequence[Sound], subtype: str) -> bytes:
    """A wav file with a channel per sound."""
    n_frames = max(map(len, sounds))
    file = io.BytesIO()
    channels = np.stack([np.pad(sound, (0, n_frames - len(sound))) for sound in sounds], axis=1)
    soundfile.write(file, channels, RATE_HZ, format="WAV", subtype=subtype)
    return file.getvalue()


def sides_of(api: Api, recordings: Sequence[Recording], subtype: str) -> list[Side]:
    """What each channel of the call has."""
    language = recordings[0].language
    call = api.verbose(
        call_of([recording.sound for recording in recordings], subtype), multichannel="true", language=language
    )
    alone = [
        api.verbose(call_of([recording.sound], subtype), chunking_strategy="auto", language=language)["text"]
        for recording in recordings
    ]
    sides = []
    for number, recording in enumerate(recordings):
        text = "".join(segment["text"] for segment in call["segments"] if segment["speaker"] == f"channel_{number}")
        words, own, other = (Counter(normalised(one, language)) for one in (text, alone[number], alone[1 - number]))
        n_wrong = sum(((words - own) & other).values())
        sides.append(Side(errors(recording, text), errors(recording, alone[number]), n_wrong))
    return sides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--only-costs", action="store_true")
    arguments = parser.parse_args()
    settings = {"MODEL_ID": str(base_checkpoint()), "CPU_THREADS": str(len(os.sched_getaffinity(0)))}
    with TemporaryDirectory() as folder, running(settings, Path(folder)) as server:
        api = Api(server.url)
        print(
            "| languages | wav | words | WER in the call | WER alone | words on the wrong side |\n|---|---|---|---|---|---|"
        )
        for index, language in enumerate(() if arguments.only_costs else LANGUAGES):
            subtype = SUBTYPES[index % len(SUBTYPES)]
            pair = [long_recording(language, arguments.prompts, seed) for seed in (11, 12)]
            sides = sides_of(api, pair, subtype)
            together, alone = (sum((getattr(side, name) for side in sides), Errors()) for name in ("together", "alone"))
            n_wrong = sum(side.n_wrong for side in sides)
            print(
                f"| {language} | {subtype} | {together.words} | {together.rate:.1%} | {alone.rate:.1%} | {n_wrong} |",
                flush=True,
            )
        costs(api, server, long_recording("en", arguments.prompts, 11))
        api.close()


def costs(api: Api, server: ServerProcess, recording: Recording) -> None:
    """CPU of one voice alone, and with a second channel that says nothing more."""
    sound = recording.sound
    noise = (np.random.default_rng(1).standard_normal(len(sound)) * 0.001).astype(np.float32)
    print("\n| one voice and | CPU s | with the voice alone = 1 |\n|---|---|---|")
    alone_s = 0.0
    for name, others in {
        "nothing (mono)": [],
        "silence": [np.zeros_like(sound)],
        "the same voice": [sound],
        "noise of a line at -60 dB": [noise],
        "another voice": [long_recording("en", len(recording.sentences), 12).sound],
    }.items():
        before_s = sum(process_cpu_s(process) for process in server.family())
        fields = {"multichannel": "true"} if others else {"chunking_strategy": "auto"}
        api.verbose(call_of([sound, *others], "ULAW"), language="en", **fields)
        cpu_s = sum(process_cpu_s(process) for process in server.family()) - before_s
        alone_s = alone_s or cpu_s
        print(f"| {name} | {cpu_s:.2f} | {cpu_s / alone_s:.2f} |", flush=True)


if __name__ == "__main__":
    main()
