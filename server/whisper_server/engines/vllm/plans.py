"""What travels with a request through vLLM to the place where its tokens are chosen, and back.

Plain data that JSON and msgpack can carry; neither torch nor vllm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

CONFIG_KEY = "whisper_server"
"""Under it, vLLM's `additional_config` holds the Vocabulary, and a request's `extra_args` its Plan."""

NO_SPEECH_SHIFT = 1000.0
"""Taken from the log-probability of "no speech", so that nothing that chooses the highest ever chooses it."""

MAX_FORCED = 4


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
    detects: bool = False
    """One step that gives the probabilities of the languages."""

    def as_extra_args(self) -> dict[str, Any]:
        """For `SamplingParams.extra_args`."""
        return {CONFIG_KEY: [list(self.forced), self.timestamps, self.temperature, self.detects]}

    @classmethod
    def from_extra_args(cls, extra_args: Mapping[str, Any] | None) -> Plan:
        """Of a request of vLLM's own (a warm-up): no rules."""
        if not extra_args or CONFIG_KEY not in extra_args:
            return cls()
        forced, timestamps, temperature, detects = extra_args[CONFIG_KEY]
        return cls(tuple(forced), timestamps, temperature, detects)
