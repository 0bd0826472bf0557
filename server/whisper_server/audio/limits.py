"""What a file may cost: lengths that are refused, and what a worker process may use up.

Frozen data with the sentences that name the limits; who enforces which limit is said at each field.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from whisper_server.errors import AudioTooLong, AudioTooShort
from whisper_server.whisper.constants import SAMPLE_RATE_HZ

_CODEC_PADDING_S = 0.1
"""Encoders pad to whole frames: 60 s of mp3 must pass a limit of 60 s."""

_ROUNDING_S = 0.001
"""0.1 s at 11,025 Hz are 1,102 samples, a little less than 0.1 s."""


@dataclass(frozen=True)
class DecodeLimits:
    """Limits of one job and of one worker process."""

    min_s: float = 0.1
    max_audio_s: float = 0
    """MAX_AUDIO_SECONDS; 0: off."""
    max_decoded_s: float = 14_400
    """MAX_DECODED_SECONDS: always holds."""
    cpu_base_s: float = 10
    cpu_per_audio_s: float = 0.1
    """Processor time a job may use: the base and this much a second of audio decoded so far. The kernel holds it."""
    memory_bytes: int = 512 * 1024 * 1024
    """Address space that decoding may take above what an idle worker has. The kernel holds it."""
    stall_s: float = 120
    """A worker that sends nothing for so long is killed by the parent (it reports every 4 minutes of audio or less)."""
    start_s: float = 60
    """How long a worker may take to start."""
    n_jobs_a_worker: int = 200
    """A worker is replaced after this many jobs …"""
    growth_bytes: int = 128 * 1024 * 1024
    """… or when its resident memory grew by this much."""
    niceness: int = 5
    """Decoding yields to the event loop."""

    @property
    def max_s(self) -> float:
        """The tighter of the two limits."""
        return min(self.max_audio_s or self.max_decoded_s, self.max_decoded_s)

    def check_not_too_long(self, duration_s: float) -> None:
        """Raises AudioTooLong, naming the setting."""
        if duration_s <= self.max_s + _CODEC_PADDING_S:
            return
        setting = "MAX_DECODED_SECONDS" if self.max_s == self.max_decoded_s else "MAX_AUDIO_SECONDS"
        raise AudioTooLong(
            f"The audio is longer than this server accepts: {setting} is {self.max_s:g} s. "
            "Split the recording and send the parts one by one."
        )

    def check_not_too_short(self, n_samples: int) -> None:
        """Raises AudioTooShort."""
        if n_samples < round((self.min_s - _ROUNDING_S) * SAMPLE_RATE_HZ):
            raise AudioTooShort(
                f"The audio is too short: it lasts {n_samples / SAMPLE_RATE_HZ:.3f} s, "
                f"and the minimum is {self.min_s:g} s."
            )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DecodeLimits:
        return cls(**json.loads(text))
