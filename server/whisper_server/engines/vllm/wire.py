"""What travels with a request through vLLM to the place where its tokens are chosen, and what comes back.

vLLM hands on log-probabilities token by token, as objects, which costs both its processes more than the decoding
itself. So a request comes back once, when it has ended, as one row of whole numbers: its tokens, and its figures
bit by bit. Plain data that JSON and msgpack can carry; neither torch nor vllm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

CONFIG_KEY = "whisper_server"
"""Under it, vLLM's `additional_config` holds the Vocabulary, and a request's `extra_args` its WhisperParams."""

SLOT, SCALE = "slot", "scale"
"""Names of what a window brings: its place in shared memory, and what to multiply its samples with."""

SIDE_CHANNEL_OFFSET = -1000.0
"""Added to log-probabilities that are handed back beside a token's: so low that they are never the likeliest, where
they have to pass as logits."""


@dataclass(frozen=True)
class Vocabulary:
    """Token ids that Whisper's rules speak of."""

    n_tokens: int
    endoftext: int
    notimestamps: int
    nospeech: int
    """The end token where the model has none: the place is then without meaning."""
    suppressed: tuple[int, ...]
    """Never chosen."""
    suppressed_first: tuple[int, ...]
    """Not chosen as the first token of a text: an end or a blank."""
    languages: tuple[int, ...]
    startoftranscript: int

    @property
    def timestamp_begin(self) -> int:
        """Id of `<|0.00|>`; all that follow are timestamps."""
        return self.notimestamps + 1

    def to_config(self) -> dict[str, Any]:
        """For `additional_config`."""
        return {CONFIG_KEY: asdict(self)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Vocabulary:
        """From `additional_config`, which may have made lists of tuples."""
        values: dict[str, Any] = config[CONFIG_KEY]
        tuples: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**tuples)


@dataclass(frozen=True)
class WhisperParams:
    """How the tokens of one request are chosen."""

    n_task_tokens: int = 0
    """Tokens of the prompt from `<|startoftranscript|>` on, after which the model tells whether anybody speaks; 0: a
    request of vLLM's own, without rules."""
    timestamps: bool = False
    temperature: float = 0.0
    detects_language: bool = False
    """One step that gives the probabilities of the languages."""

    def to_extra_args(self) -> dict[str, Any]:
        """For `SamplingParams.extra_args`."""
        return {CONFIG_KEY: asdict(self)}

    @classmethod
    def from_extra_args(cls, extra_args: Mapping[str, Any] | None) -> WhisperParams:
        """Of a request of vLLM's own (a warm-up): no rules."""
        return cls(**extra_args[CONFIG_KEY]) if extra_args and CONFIG_KEY in extra_args else cls()


@dataclass(frozen=True)
class WhisperOutput:
    """What a request came to."""

    tokens: tuple[int, ...]
    """All that were decoded, `<|endoftext|>` too."""
    logprobs: tuple[float, ...]
    """Of each token; at temperature 1, after the rules."""
    side_channel: tuple[float, ...]
    """Log-probabilities after `<|startoftranscript|>`, before all rules: of "no speech", or of each language."""

    def to_wire(self) -> list[int]:
        """As one row of whole numbers: tokens, figures bit by bit, how many columns there are."""
        figures = np.array([*self.logprobs, *self.side_channel], dtype=np.float32).view(np.uint32)
        return [*self.tokens, *figures.tolist(), len(self.side_channel)]

    @classmethod
    def from_wire(cls, row: Sequence[int]) -> WhisperOutput:
        """The reverse of `packed`."""
        n_columns = row[-1]
        n_tokens = (len(row) - 1 - n_columns) // 2
        figures = np.array(row[n_tokens:-1], dtype=np.uint32).view(np.float32).tolist()
        return cls(tuple(row[:n_tokens]), tuple(figures[:n_tokens]), tuple(figures[n_tokens:]))
