"""What travels with a request through vLLM to the place where its tokens are chosen, and back.

vLLM hands on log-probabilities token by token, as objects, which costs both its processes more than the decoding
itself. So a text ends in four tokens that are none: they spell what the whole of it came to. Plain data that JSON
and msgpack can carry; neither torch nor vllm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

CONFIG_KEY = "whisper_server"
"""Under it, vLLM's `additional_config` holds the Vocabulary, and a request's `extra_args` its Plan."""

MAX_FORCED = 4
SAMPLES, SCALE = "samples", "scale"
"""Names of what a window brings: its 16-bit samples, and what to multiply them with."""

BASE = 4096
"""Figures at the end of a text are spelled in tokens of so many values; every vocabulary is larger."""
LOGPROB_STEPS = 1024.0
"""A nat of the sum of log-probabilities is spelled in so many steps."""
N_CLOSING = 4
"""Tokens after a text: two of the sum, one of "no speech", and the one that vLLM stops at."""


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
    stop: int
    """What vLLM stops at: never chosen, so that nothing but the end of a request is one."""

    @property
    def timestamp_begin(self) -> int:
        """Id of `<|0.00|>`; all that follow are timestamps."""
        return self.notimestamps + 1

    def as_config(self) -> dict[str, Any]:
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
class Plan:
    """How the tokens of one request are chosen."""

    forced: tuple[int, ...] = ()
    """Language, task and `<|notimestamps|>`: decoded, not prompted, so that the step before them tells of speech."""
    timestamps: bool = False
    temperature: float = 0.0
    max_new_tokens: int = 0
    """After so many tokens the text is closed; 0: never (vLLM's own requests)."""
    logprobs: bool = False
    """The log-probability of every token is handed on, too."""
    detects: bool = False
    """One step that gives the probabilities of the languages."""

    def as_extra_args(self) -> dict[str, Any]:
        """For `SamplingParams.extra_args`."""
        return {CONFIG_KEY: asdict(self)}

    @classmethod
    def from_extra_args(cls, extra_args: Mapping[str, Any] | None) -> Plan:
        """Of a request of vLLM's own (a warm-up): no rules."""
        if not extra_args or CONFIG_KEY not in extra_args:
            return cls()
        values: dict[str, Any] = dict(extra_args[CONFIG_KEY])
        return cls(forced=tuple(values.pop("forced")), **values)


def spelled_out(closing: Sequence[int]) -> tuple[float, float]:
    """Sum of the log-probabilities, and probability of "no speech", from the closing tokens."""
    high, low, no_speech, _ = closing
    return -(high * BASE + low) / LOGPROB_STEPS, no_speech / (BASE - 1)
