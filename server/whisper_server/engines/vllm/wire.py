"""What crosses the boundary between the server's process and vLLM's: typed here, plain data on the way.

vLLM carries a request's parameters as JSON-like data and its output as one row of token ids. It would return
log-probabilities token by token, as objects, which costs both processes more than the decoding itself. So a request
returns once, when it has ended, as one row of integers: its tokens, and its figures bit by bit. Imports neither torch
nor vllm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from whisper_server.engines.gpu.model_facts import Vocabulary

CONFIG_KEY = "whisper_server"
"""Under this key, vLLM's `additional_config` holds the Vocabulary, and a request's `extra_args` its WhisperParams."""

SLOT, SCALE = "slot", "scale"
"""Names of a window's multimodal data: its slot of the shared memory, and the factor for its samples."""

SIDE_CHANNEL_OFFSET = -1000.0
"""Offset of extra log-probabilities that are returned through a row of logits. It keeps them far below real logits, so
they are never sampled; the receiver subtracts it."""


def vocabulary_to_config(vocabulary: Vocabulary) -> dict[str, object]:
    """For `additional_config`."""
    return {CONFIG_KEY: asdict(vocabulary)}


def vocabulary_from_config(config: Mapping[str, Any]) -> Vocabulary:
    """From `additional_config`, in which tuples may have become lists."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in config[CONFIG_KEY].items()
    }
    return Vocabulary(**values)


@dataclass(frozen=True)
class WhisperParams:
    """How the tokens of one request are sampled."""

    n_task_tokens: int = 0
    """Prompt tokens from `<|startoftranscript|>` on, where "no speech" is read; 0: a request of vLLM's own, to which
    no rules apply."""
    timestamps: bool = False
    temperature: float = 0.0
    detects_language: bool = False
    """One step that returns the probabilities of the languages."""
    is_live: bool = False
    """Goes ahead of files' windows, up to a share."""

    def to_extra_args(self) -> dict[str, object]:
        """For `SamplingParams.extra_args`."""
        return {CONFIG_KEY: asdict(self)}

    @classmethod
    def from_extra_args(cls, extra_args: Mapping[str, Any] | None) -> WhisperParams:
        """The defaults for a request of vLLM's own, such as its warm-up."""
        return cls(**extra_args[CONFIG_KEY]) if extra_args and CONFIG_KEY in extra_args else cls()


@dataclass(frozen=True)
class WhisperOutput:
    """The result of a request."""

    tokens: tuple[int, ...]
    """All sampled tokens, `<|endoftext|>` too."""
    logprobs: tuple[float, ...]
    """One per token; at temperature 1, after the rules."""
    side_channel: tuple[float, ...]
    """Log-probabilities after `<|startoftranscript|>`, before all rules and plus SIDE_CHANNEL_OFFSET: of "no speech",
    or of each language."""

    def to_wire(self) -> list[int]:
        """One row of integers: tokens, figures bit by bit, length of the side channel."""
        figures = np.array([*self.logprobs, *self.side_channel], dtype=np.float32).view(np.uint32)
        return [*self.tokens, *figures.tolist(), len(self.side_channel)]

    @classmethod
    def from_wire(cls, row: Sequence[int]) -> WhisperOutput:
        """The reverse of `to_wire`; log-probabilities are rounded to 32 bits."""
        n_tokens = (len(row) - 1 - row[-1]) // 2
        figures = np.array(row[n_tokens:-1], dtype=np.uint32).view(np.float32).tolist()
        return cls(tuple(row[:n_tokens]), tuple(figures[:n_tokens]), tuple(figures[n_tokens:]))


@dataclass(frozen=True)
class AlignTask:
    """A window whose text tokens are to be aligned with its audio."""

    slot: int
    scale: float
    n_positions: int
    """Encoder positions that hold audio; the rest is padding."""
    heads: tuple[tuple[int, int], ...]
    """(layer, head) of the decoder; the same in all tasks of a batch."""
    sot_sequence: tuple[int, ...]
    notimestamps: int
    text_tokens: tuple[int, ...]
    endoftext: int

    @property
    def tokens(self) -> tuple[int, ...]:
        """The decoder's input, as in `find_alignment` of openai/whisper's `timing.py`."""
        return (*self.sot_sequence, self.notimestamps, *self.text_tokens, self.endoftext)

    def to_wire(self) -> dict[str, object]:
        """An argument of `collective_rpc`."""
        return asdict(self)

    @classmethod
    def from_wire(cls, values: Mapping[str, Any]) -> AlignTask:
        """The reverse of `to_wire`; tuples may have become lists on the way."""
        return cls(
            **{
                **values,
                "heads": tuple((layer, head) for layer, head in values["heads"]),
                "sot_sequence": tuple(values["sot_sequence"]),
                "text_tokens": tuple(values["text_tokens"]),
            }
        )


@dataclass(frozen=True, eq=False)
class AlignResult:
    """Where the text tokens of an AlignTask attend."""

    attention: npt.NDArray[np.float32]
    """(text token and end token, position): of all alignment heads together."""
    probabilities: tuple[float, ...]
    """One per text token."""

    def to_wire(self) -> dict[str, object]:
        """A result of `collective_rpc`."""
        return {
            "shape": list(self.attention.shape),
            "attention": np.ascontiguousarray(self.attention, dtype=np.float32).tobytes(),
            "probabilities": list(self.probabilities),
        }

    @classmethod
    def from_wire(cls, values: Mapping[str, Any]) -> AlignResult:
        """The reverse of `to_wire`."""
        attention = np.frombuffer(values["attention"], dtype=np.float32).reshape(values["shape"])
        return cls(attention, tuple(values["probabilities"]))
