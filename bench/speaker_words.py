"""Words by speaker (cpWER) beside the words alone, segments with the right name, and what speakers cost, on Whisper base.

    PYTHONPATH=demo:tests/kit python bench/speaker_words.py [--seconds 120]

Conversations of two voices of one language whose words are known, of the set that tests `diarization.py`, and pyannote's sample. Each
goes to a server of ours as `json` and as `diarized_json`, with a reference of the first voice. cpWER (Watanabe et al., CHiME-6,
2020): the words of each speaker against those of a voice, with the pairs that give the fewest errors.
"""

from __future__ import annotations

import argparse
import base64
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import jiwer
import psutil
from diarization import pyannotes_sample
from figures import machine, process_cpu_s

from pinned_packages import unpacked
from real_kit.packages import PYANNOTE
from real_kit.scores import normalised
from real_kit.speech import wav
from real_kit.voices import RATE_HZ, Conversation, Line, conversation, reference
from server_kit.api import Api
from server_kit.process import ServerProcess, running
from whisper_base import base_ctranslate2

PAIRS = {"fr": ("fr", "stamps-fr"), "ru": ("ru", "stamps-ru")}
NAME = "Known"


@dataclass(frozen=True)
class Talk:
    """A conversation with its words."""

    language: str
    known: str | None
    """The voice whose reference is given."""
    recorded: Conversation
    lines: tuple[Line, ...]


def talks(duration_s: float, seed: int) -> Iterator[Talk]:
    folder = unpacked(PYANNOTE) / "pyannote" / "audio" / "sample"
    rows = [line.split(maxsplit=5) for line in (folder / "sample.stm").read_text("utf-8").splitlines()]
    yield Talk("en", None, pyannotes_sample(), tuple(Line(row[2], row[5]) for row in rows))
    for language, voices in PAIRS.items():
        for overlap in (0.0, 0.3):
            one = conversation(voices, duration_s, seed, overlap=overlap, has_words=True)
            yield Talk(language, voices[0], one, one.lines)


def errors_by_speaker(said: Mapping[str, Sequence[str]], heard: Mapping[str, Sequence[str]]) -> int:
    """Word errors with the best pairs; a voice or a speaker without a partner is all errors."""
    n = max(len(said), len(heard))
    voices = [*said.values(), *[[]] * (n - len(said))]
    speakers = [*heard.values(), *[[]] * (n - len(heard))]
    counts = [[_n_errors(voice, speaker) for speaker in speakers] for voice in voices]
    return min(sum(counts[row][column] for row, column in enumerate(order)) for order in permutations(range(n)))


def _n_errors(said: Sequence[str], heard: Sequence[str]) -> int:
    if not said or not heard:
        return len(said) + len(heard)
    aligned = jiwer.process_words(" ".join(said), " ".join(heard))
    return aligned.substitutions + aligned.deletions + aligned.insertions


def by(language: str, rows: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The words of each speaker."""
    texts: dict[str, str] = {}
    for speaker, text in rows:
        texts[speaker] = f"{texts.get(speaker, '')} {text}"
    return {speaker: normalised(text, language) for speaker, text in texts.items()}


def right_names(talk: Talk, segments: Sequence[Mapping[str, Any]]) -> int:
    """Segments of the known voice with the name, and of the other one without it."""
    return sum((segment["speaker"] == NAME) == (_voice_of(talk, segment) == talk.known) for segment in segments)


def _voice_of(talk: Talk, segment: Mapping[str, Any]) -> str:
    times_s: dict[str, float] = {}
    for said in talk.recorded.said:
        shared_s = min(said.end_s, segment["end"]) - max(said.start_s, segment["start"])
        times_s[said.voice] = times_s.get(said.voice, 0.0) + max(0.0, shared_s)
    return max(times_s, key=lambda voice: times_s[voice])


def cpu_s(server: ServerProcess, *, diarizing: bool) -> dict[int, float]:
    """Of the diarizing process, or of each of the others, by process id."""
    return {one.pid: process_cpu_s(one) for one in server.family() if _is_diarizing(one) == diarizing}


def spent_s(before_s: Mapping[int, float], after_s: Mapping[int, float]) -> float:
    """A process that is new counts with its start: the diarizing one ends after a minute without work."""
    return sum(one_s - before_s.get(pid, 0.0) for pid, one_s in after_s.items())


def _is_diarizing(process: psutil.Process) -> bool:
    try:
        return "whisper_server.diarization.worker" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def report(talk: Talk, server: ServerProcess, api: Api, seed: int) -> tuple[float, float]:
    """Print one line; seconds of processor for transcription as `json`, and in the diarizing process."""
    sound = wav(talk.recorded.sound, RATE_HZ)
    before_s = cpu_s(server, diarizing=False)
    api.text(sound, language=talk.language)
    plain_s = spent_s(before_s, cpu_s(server, diarizing=False))
    fields: dict[str, Any] = {"language": talk.language, "response_format": "diarized_json"}
    if talk.known is not None:
        url = "data:audio/wav;base64," + base64.b64encode(wav(reference(talk.known, seed), RATE_HZ)).decode()
        fields |= {"known_speaker_names": [NAME], "known_speaker_references": [url]}
    before_s = cpu_s(server, diarizing=True)
    answer = api.json(sound, **fields)
    speakers_s = spent_s(before_s, cpu_s(server, diarizing=True))
    said = by(talk.language, [(line.voice, line.text) for line in talk.lines])
    heard = by(talk.language, [(segment["speaker"], segment["text"]) for segment in answer["segments"]])
    n_words = sum(map(len, said.values()))
    whole = normalised(" ".join(line.text for line in talk.lines), talk.language)
    plain = _n_errors(whole, normalised(answer["text"], talk.language)) / n_words
    by_speaker = errors_by_speaker(said, heard) / n_words
    named = (
        ""
        if talk.known is None
        else f", {right_names(talk, answer['segments'])} of {len(answer['segments'])} named right"
    )
    print(
        f"{talk.language} {talk.recorded.name}: WER {100 * plain:.1f} %, cpWER {100 * by_speaker:.1f} %, {n_words} words{named}; "
        f"CPU {plain_s:.1f} s, speakers {speakers_s:.1f} s ({speakers_s / plain_s:.2f} ×)",
        flush=True,
    )
    return plain_s, speakers_s


def main(args: argparse.Namespace) -> None:
    print(machine())
    settings = {"MODEL_ID": str(base_ctranslate2()), "DTYPE": "int8", "CPU_THREADS": "1", "ENGINE": "ctranslate2"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running(settings | {"MODEL_CACHE_DIR": str(folder / "cache")}, folder) as server:
            api = Api(server.url)
            warm = wav(pyannotes_sample().sound[: 12 * RATE_HZ], RATE_HZ)
            api.json(warm, language="en", response_format="diarized_json")
            rows = [report(talk, server, api, args.seed) for talk in talks(args.seconds, args.seed)]
    plain_s, speakers_s = (sum(part) for part in zip(*rows, strict=True))
    print(
        f"in all: transcription {plain_s:.0f} s of processor, speakers {speakers_s:.0f} s: {speakers_s / plain_s:.2f} ×"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=9000)
    main(parser.parse_args())
