"""What every engine offers: one Protocol, and the data that crosses it.

An engine takes whole windows and gives whole windows back; there is no token stream. Batching is the
engine's own affair. Rules shared by all engines (prompt, ladder, segments, words) live above it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from whisper_server.whisper.transcript import Samples


@dataclass(frozen=True)
class ModelFacts:
    """What the pipeline must know of the loaded model."""

    model_id: str
    engine: str
    dtype: str
    device: str
    is_multilingual: bool
    """False for the `.en` models, whose prompt has neither language nor task."""
    n_text_positions: int
    """Length of the decoder's context: 448 in every published Whisper."""
    n_windows_in_flight: int
    """Windows that the engine wants to hold at a time, to fill its batches."""


@dataclass(frozen=True)
class LanguageGuess:
    """Probabilities of the first decoding step after `<|startoftranscript|>` for one window."""

    probabilities: tuple[tuple[str, float], ...]
    """(language code, probability), best first; over the model's languages, sums to 1."""


@dataclass(frozen=True)
class DecodeRequest:
    """How one window is decoded. Token ids come from the model's own tokenizer."""

    prompt_tokens: tuple[int, ...]
    """From `<|startofprev|>` or `<|startoftranscript|>` to the last forced token."""
    n_task_tokens: int
    """Tokens from `<|startoftranscript|>` on: 4 with language, task and `<|notimestamps|>`."""
    temperature: float
    beam_size: int
    max_new_tokens: int
    logprobs: bool


@dataclass(frozen=True)
class Decoded:
    """One decoded window."""

    tokens: tuple[int, ...]
    """Text and timestamp tokens, without `<|endoftext|>`."""
    sum_logprob: float
    """Of the tokens and of `<|endoftext|>`; at temperature 1, after the rules."""
    no_speech_prob: float
    token_logprobs: tuple[float, ...] = ()
    """One a token, where asked for; at temperature 1, after the rules."""
    hit_length_limit: bool = False


@dataclass(frozen=True)
class Alignment:
    """Where the tokens of a window are heard: DTW over cross-attention."""

    token_starts_s: tuple[float, ...]
    """One a text token and one more for the end, in seconds from the start of the window."""
    token_probabilities: tuple[float, ...]
    """One a text token."""


class EngineWindow(Protocol):
    """One window inside the engine: what was computed for it once is used again."""

    async def detect_language(self) -> LanguageGuess:
        """Which language is spoken. The model must be multilingual."""

    async def decode(self, request: DecodeRequest) -> Decoded:
        """Decode the window. A cancelled call gives its place in the queue back."""

    async def align(self, sot_sequence: tuple[int, ...], text_tokens: tuple[int, ...]) -> Alignment:
        """Times of `text_tokens`; `sot_sequence` is `<|startoftranscript|>`, language and task."""

    def close(self) -> None:
        """Forget the window; work that still waits is dropped. May be called twice."""


class Engine(Protocol):
    """A Whisper model that decodes windows."""

    @property
    def facts(self) -> ModelFacts:
        """Known once started."""

    async def start(self) -> None:
        """Load and warm up. Raises StartError."""

    async def stop(self) -> None:
        """Let what runs end, drop what waits."""

    def health(self) -> str | None:
        """None while the engine lives; else what is wrong with it."""

    def open_window(self, samples: Samples) -> EngineWindow:
        """A window of at most 30 s, not padded. Cheap: nothing is computed yet."""
