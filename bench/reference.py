"""This server's pipeline beside openai/whisper's own package, window by window, on the same weights in float32.

Whisper base; prompts and windows of long recordings in five languages. Both sides get the same samples, greedy, without
conditioning on previous text. openai/whisper runs as published but for the padding of features (`--padding`), and this
server pads every window to 30 s, as openai/whisper does; what its own, shorter padding changes is in `padding`. A line of
JSON per window goes to --out, tables of all its lines to the screen: runs add up.
PYTHONPATH=demo:tests/kit python bench/reference.py [--clips 8 --windows 8 --languages en,es]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from figures import machine
from openai_whisper import TORCH_VERSION, VERSION, OpenAiWhisper
from our_pipeline import Heard, OurPipeline

from real_kit.speech import LANGUAGES, RATE_HZ, clips, long_recording
from real_kit.weights import base_checkpoint
from whisper_base import base_ctranslate2
from whisper_server.speech.windows import cut
from whisper_server.whisper.constants import N_MEL_FRAMES, SAMPLE_RATE_HZ
from whisper_server.whisper.mel import LogMel
from whisper_server.whisper.transcript import Samples

MAX_MEL_DIFFERENCE = 1e-4
MAX_WORD_DIFFERENCE_S = 0.04
SEED = 7
Words = Sequence[tuple[str, float, float]]
"""Word, start and end in seconds."""


@dataclass(frozen=True)
class Compared:
    """One window on both sides."""

    language: str
    name: str
    duration_s: float
    mel_difference: float
    is_one_window: bool
    """Ours did not cut it further."""
    same_tokens: bool
    same_ladder: bool
    same_text: bool
    """Of the whole window, rests included."""
    alignment_s: tuple[float, ...]
    """Differences of the words' starts and ends as the alignment gives them, where the tokens are the same."""
    words_s: tuple[float, ...]
    """The same for the words of the answer."""
    difference: Mapping[str, Any] | None
    ours: Mapping[str, Any]
    reference: Mapping[str, Any]


def windows(language: str, n_clips: int, n_windows: int) -> Iterator[tuple[str, Samples]]:
    """Prompts, then windows that this server cuts a long recording into; 16 kHz."""
    for clip in clips(language, n_clips, seed=SEED):
        yield clip.name, _samples(clip.sound)
    samples = _samples(long_recording(language, seed=SEED).sound)
    for window in cut(samples)[:n_windows]:
        yield f"long-{SEED} at {window.start_s:.2f} s", window.of(samples)


def compare(
    language: str, name: str, samples: Samples, *, ours: Heard, reference: Mapping[str, Any], mel: Samples
) -> Compared:
    """What differs in one window."""
    first = reference["windows"][0]
    mine = ours.windows[0]
    same_tokens = list(mine.tokens) == first[0]["tokens"]
    alignment: tuple[float, ...] = ()
    if same_tokens and mine.alignment and reference["alignments"]:
        theirs = _words(reference["alignments"][0])
        alignment = _differences(mine.alignment, theirs)
    return Compared(
        language=language,
        name=name,
        duration_s=len(samples) / SAMPLE_RATE_HZ,
        mel_difference=float(np.abs(LogMel(mel.shape[0])(samples) - mel).max()),
        is_one_window=mine.n_samples == len(samples),
        same_tokens=same_tokens,
        # Not so for some menus in Cyrillic letters: `temperature_fallback.compression_ratio` says why.
        same_ladder=(mine.n_decodings > 1, bool(ours.text)) == (len(first) > 1, bool(reference["text"].strip())),
        same_text=ours.text.split() == reference["text"].split(),
        alignment_s=alignment,
        words_s=_differences(ours.words, _words(reference["words"])) if same_tokens else (),
        difference=reference["difference"],
        ours=asdict(ours),
        reference=reference,
    )


def table(compared: Sequence[Compared]) -> str:
    """A row per language, and one of all."""
    heads = [
        "language",
        "windows",
        "mel: largest difference",
        "same tokens",
        "same ladder decision",
        "same text in the end",
    ]
    heads += ["alignment within 40 ms", "words within 40 ms"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for language in (*dict.fromkeys(one.language for one in compared), "all"):
        mine = [one for one in compared if language in {one.language, "all"}]
        shares = [
            f"{sum(flags)} of {len(flags)}"
            for flags in (
                [one.same_tokens for one in mine],
                [one.same_ladder for one in mine],
                [one.same_text for one in mine],
            )
        ]
        row = [language, str(len(mine)), f"{max(one.mel_difference for one in mine):.1e}", *shares]
        row += [
            _within([s for one in mine for s in one.alignment_s]),
            _within([s for one in mine for s in one.words_s]),
        ]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def differences(compared: Sequence[Compared]) -> str:
    """A row per window whose first decoding differs, with what the reference thinks of both tokens."""
    lines = [
        "| window | after | reference | ours | log-probability in the reference: its own / ours |",
        "|---|---|---|---|---|",
    ]
    for one in compared:
        if one.difference:
            found = one.difference
            cells = [f"{one.language}, {one.name}", found["before"], found["reference"], found["other"]]
            cells.append(f"{found['reference_logprob']:.3f} / {found['other_logprob']:.3f}")
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--clips", type=int, default=8, help="prompts per language")
    parser.add_argument("--windows", type=int, default=8, help="windows of a long recording per language")
    parser.add_argument("--part", default="1/1", help="2/6: the second of every six of these, for one of six processes")
    parser.add_argument("--only-table", action="store_true", help="of the lines in --out")
    parser.add_argument("--threads", type=int, default=1, help="per side; the sides take turns")
    parser.add_argument("--padding", choices=("silence", "zero"), default="silence", help="openai/whisper's features")
    parser.add_argument("--no-timestamps", action="store_true", help="compare texts as `json` has them, without words")
    parser.add_argument("--out", type=Path, default=Path("reference.jsonl"))
    return parser.parse_args()


async def run(args: argparse.Namespace) -> None:
    """All windows, one side after the other for each."""
    timestamps = not args.no_timestamps
    options = {"temperature": [0.0, 0.0], "condition_on_previous_text": False}
    options |= {"word_timestamps": True} if timestamps else {"without_timestamps": True}
    part, n_parts = (int(number) for number in args.part.split("/"))
    with (
        tempfile.TemporaryDirectory() as name,
        OpenAiWhisper(base_checkpoint(), args.threads) as peer,
        args.out.open("a", encoding="utf-8") as lines,
    ):
        mel_path = Path(name) / "mel.npy"
        # openai/whisper encodes 30 s, however short the window is.
        async with OurPipeline(base_ctranslate2(), Path(name), args.threads, lambda _: N_MEL_FRAMES) as pipeline:
            for language in args.languages.split(","):
                for which, samples in islice(windows(language, args.clips, args.windows), part - 1, None, n_parts):
                    ours = await pipeline.hear(samples, language, timestamps=timestamps)
                    reference = await asyncio.to_thread(
                        peer.transcribe,
                        samples,
                        mel=str(mel_path),
                        padding=args.padding,
                        options={**options, "language": language},
                        other_tokens=ours.windows[0].tokens,
                    )
                    one = compare(language, which, samples, ours=ours, reference=reference, mel=np.load(mel_path))
                    lines.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
                    lines.flush()
                    print(f"{language}, {which}: same tokens {one.same_tokens}", file=sys.stderr)


def main() -> None:
    args = parsed()
    print(
        f"{machine()}; openai-whisper {VERSION}, torch {TORCH_VERSION}; float32, {args.threads} thread, {args.padding}"
    )
    if not args.only_table:
        asyncio.run(run(args))
    compared = [Compared(**json.loads(line)) for line in args.out.read_text(encoding="utf-8").splitlines()]
    print(table(compared))
    print(differences(compared))


def _words(words: Sequence[Mapping[str, Any]]) -> Words:
    return [(str(word["word"]), float(word["start_s"]), float(word["end_s"])) for word in words]


def _differences(mine: Words, theirs: Words) -> tuple[float, ...]:
    """Ours less the reference's, start and end by turns; nothing where the words themselves differ."""
    if [word.strip() for word, _, _ in mine] != [word.strip() for word, _, _ in theirs]:
        return ()
    return tuple(a - b for one, two in zip(mine, theirs, strict=True) for a, b in zip(one[1:], two[1:], strict=True))


def _within(differences_s: Sequence[float]) -> str:
    if not differences_s:
        return "–"
    share = np.mean([abs(one) <= MAX_WORD_DIFFERENCE_S + 1e-6 for one in differences_s])
    return f"{share:.1%} of {len(differences_s)}"


def _samples(sound: Samples) -> Samples:
    return np.asarray(soxr.resample(sound, RATE_HZ, SAMPLE_RATE_HZ), np.float32)


if __name__ == "__main__":
    main()
