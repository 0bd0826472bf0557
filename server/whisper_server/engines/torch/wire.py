"""Messages between the server's process and the torch engine's process. Frozen data; knows no torch.

They are pickled by `multiprocessing.Connection`: both ends are this program, at one version.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from whisper_runtime.choices import DType
from whisper_server.engines.gpu.model_facts import ModelShape, Vocabulary
from whisper_server.whisper.constants import N_MEL_FRAMES

MAX_WINDOWS = 512
"""Windows in the engine at most: 512 fill an H200 with turbo (4.85 ms a step; 256 take 2.58 ms)."""


@dataclass(frozen=True)
class WorkerConfig:
    """What the engine's process must know before it loads the model."""

    folder: Path
    shape: ModelShape
    vocabulary: Vocabulary
    alignment_heads: tuple[tuple[int, int], ...]
    """(layer, head) of the decoder."""
    dtype: DType
    """As the setting says."""
    memory_utilization: float
    """Share of the GPU's memory that the engine may take."""
    n_threads: int
    """On a CPU; 0: one per core."""
    fp8_encoder: bool
    """The encoder's matrix products in FP8."""
    fp8_cache: bool
    """The cross-attention cache in FP8."""
    audio_pool_pid: int
    audio_pool_descriptor: int
    """The server's memory file of MAX_WINDOWS slots, opened by way of /proc."""


@dataclass(frozen=True)
class Place:
    """Where a window's samples lie in the shared memory."""

    window_id: int
    """A slot that holds another window than last time is encoded again."""
    slot: int
    scale: float
    """Factor from 16-bit samples to −1 … 1."""
    is_live: bool = False
    """Of a realtime session: encoded ahead of files."""
    n_mel_frames: int = N_MEL_FRAMES
    """That it is padded to; one of `batches.ENCODER_FRAMES`."""


@dataclass(frozen=True)
class DetectTask:
    """Probabilities of the languages, after `<|startoftranscript|>`."""

    task_id: int
    place: Place


@dataclass(frozen=True)
class DecodeTask:
    """Tokens of a window."""

    task_id: int
    place: Place
    prompt: tuple[int, ...]
    n_task_tokens: int
    """Tokens of the prompt from `<|startoftranscript|>` on."""
    timestamps: bool
    temperature: float
    max_new_tokens: int
    sot_sequence: tuple[int, ...] = ()
    """Of an alignment that is wanted with the answer; empty: it is not."""
    n_positions: int = 0
    """As in AlignTask."""


@dataclass(frozen=True)
class AlignTask:
    """Word times, by the cross-attention of the alignment heads while the known text is decoded once more."""

    task_id: int
    place: Place
    n_positions: int
    """Encoder positions that the recording fills; padding is left out."""
    sot_sequence: tuple[int, ...]
    text_tokens: tuple[int, ...]


Task = DetectTask | DecodeTask | AlignTask


@dataclass(frozen=True)
class Cancel:
    """The caller no longer waits for this task."""

    task_id: int


@dataclass(frozen=True)
class Stop:
    """End the process."""


Request = Task | Cancel | Stop


@dataclass(frozen=True)
class Ready:
    """The model is loaded and warm."""

    device: str
    dtype: str
    n_slots: int


@dataclass(frozen=True)
class StartFailed:
    """One line: what is wrong, and what to set instead."""

    message: str


@dataclass(frozen=True)
class Detected:
    """Log-probability per language, in the vocabulary's order."""

    task_id: int
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class Aligned:
    """Start of each text token and of what follows the last, in seconds, and the probability of each text token."""

    task_id: int
    starts_s: tuple[float, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class DecodedTokens:
    """A decoded window, `<|endoftext|>` included where it was reached."""

    task_id: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Of each token; at temperature 1, after the rules."""
    no_speech_logprob: float
    aligned: Aligned | None = None
    """Of the text tokens among them."""


@dataclass(frozen=True)
class TaskFailed:
    """This task cannot be answered; others go on."""

    task_id: int
    message: str


Answer = Detected | DecodedTokens | Aligned | TaskFailed
Report = Ready | StartFailed | tuple[Answer, ...]
