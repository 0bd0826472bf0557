"""The diarizing process: `python -P -m whisper_server.diarization.worker PARENT_PID`, jobs on stdin, results on stdout.

It takes one job after another. The samples come as they are read, 5 s at a time, so that it never holds a recording.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from whisper_server.audio import sandbox
from whisper_server.diarization import known_voices
from whisper_server.diarization.clustering import SpeakerCount, speakers_of
from whisper_server.diarization.local_voices import local_voices
from whisper_server.diarization.messages import READY, DiarizationJob, DiarizationResult
from whisper_server.diarization.nets import SpeakerNets
from whisper_server.diarization.timeline import turns_of
from whisper_server.whisper.transcript import Samples

PIECE_SAMPLES = 80_000
_SAMPLE_BYTES = 4
_NICENESS = 5
"""Yields to the server, as decoding does."""


def diarize(nets: SpeakerNets, job: DiarizationJob, source: BinaryIO) -> DiarizationResult:
    """Read the job's samples from `source`, all of them, and find the turns."""
    sounds = [np.concatenate([*pieces(source, n_samples)]) for n_samples in job.n_reference_samples]
    references = [known_voices.reference_of(nets, sound) for sound in sounds]
    bad = next((index for index, one in enumerate(references) if one.n_voices != 1), None)
    if bad is not None:
        for _ in pieces(source, job.n_samples):
            pass
        return DiarizationResult((), bad_reference=bad, n_reference_voices=references[bad].n_voices)
    found = local_voices(nets, pieces(source, job.n_samples))
    speakers = speakers_of(found, SpeakerCount(job.exact, job.least, job.most))
    turns = turns_of(found, speakers.of_stretch, len(speakers.voiceprints))
    pairs = known_voices.matches(speakers.voiceprints, [one.voiceprints for one in references])
    return DiarizationResult(
        tuple((round(turn.start_s, 3), round(turn.end_s, 3), int(turn.speaker)) for turn in turns), pairs
    )


def pieces(source: BinaryIO, n_samples: int) -> Iterator[Samples]:
    """`n_samples` samples of `source`, 5 s at a time. Raises EOFError if there are fewer."""
    left = n_samples
    while left:
        n_bytes = min(left, PIECE_SAMPLES) * _SAMPLE_BYTES
        data = source.read(n_bytes)
        if len(data) < n_bytes:
            raise EOFError("the server is gone")
        left -= n_bytes // _SAMPLE_BYTES
        yield np.frombuffer(data, np.float32)


def serve(source: BinaryIO, answers: BinaryIO) -> None:
    """One job after another until `source` ends."""
    nets = SpeakerNets()
    answers.write(READY)
    answers.flush()
    while line := source.readline():
        result = diarize(nets, DiarizationJob.from_line(line), source)
        answers.write(result.to_line())
        answers.flush()


def main(parent_pid: int) -> None:
    sandbox.follow_parent(parent_pid)
    sandbox.yield_to_server(_NICENESS)
    sandbox.forbid_memory_access()
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main(int(sys.argv[1]))
