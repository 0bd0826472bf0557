"""What a file may cost: the lengths that are refused, the resources of a worker process, and the price of decoding it.

Frozen data with the messages that name the limits; each field says what enforces it. The unit of prices is a second of
ordinary sound (48 kHz stereo or less): 1 to 2 ms of processor time, be it opus, wav or flac. A FLAC of 655 kHz with 8
channels costs 55 of them for each second, 70 ms.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from whisper_runtime.memory import DECODER_ROOM_BYTES
from whisper_server.audio.messages import Probed
from whisper_server.errors import AudioTooLong, AudioTooShort, BadRequest
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import MAX_CHANNELS

_CODEC_PADDING_S = 0.1
"""Encoders pad to whole frames: 60 s of mp3 must pass a limit of 60 s."""

_ROUNDING_S = 0.001
"""0.1 s at 11,025 Hz is 1,102 samples, a little less than 0.1 s."""


_ORDINARY_VALUES_PER_S = 48_000 * 2
_ORDINARY_BYTES_PER_S = 16_000
"""128 kbit/s. Silence is smaller by far; the header then says more."""
_SAMPLES_BYTES_PER_S = 16_000 * 4
MIN_PRICE_S = 5.0
"""Opening a file costs as much as decoding so much of it: 5 ms."""
LONG_PRICE_S = 600.0
"""A file that costs more is long: it takes a second of processor time or more, and others do not wait for it."""

WRONG_CHANNELS = "wrong_channels"
"""Code of their refusal."""


@dataclass(frozen=True)
class DecoderLimits:
    """Limits of one job and of one worker process."""

    min_s: float = 0.1
    max_audio_s: float = 0
    """MAX_AUDIO_SECONDS; 0: off."""
    max_decoded_s: float = 14_400
    """MAX_DECODED_SECONDS: always holds."""
    cpu_base_s: float = 10
    cpu_per_audio_s: float = 0.1
    """Processor time that a job may use: the base, and this much per second of audio that it was granted memory for.
    The kernel enforces it."""
    short_cpu_s: float = 5
    """Processor time of a job that does not count as long. If it takes more, it is read again as a long one (`job_queue`)."""
    memory_bytes: int = DECODER_ROOM_BYTES
    """Address space that decoding may take above that of an idle worker. The kernel enforces it."""
    stall_s: float = 12
    """A worker is frozen if it sends no message and uses no processor time for this long; the server kills it."""
    max_silence_s: float = 120
    """A worker that sends no message for this long is killed even if it works (it reports every 4 minutes of audio or
    less)."""
    start_s: float = 60
    """The longest start of a worker."""
    max_jobs_per_worker: int = 200
    """A worker is replaced after this many jobs …"""
    growth_bytes: int = 128 * 1024 * 1024
    """… or when its resident memory has grown by this much."""
    niceness: int = 5
    """Decoding yields to the event loop."""

    @property
    def max_s(self) -> float:
        """The tighter of the two limits of length."""
        return min(self.max_audio_s or self.max_decoded_s, self.max_decoded_s)

    @property
    def max_samples_bytes(self) -> int:
        """The longest recording as float32, and a minute: the kernel lets a worker write no larger file."""
        return round((self.max_s + 60) * SAMPLE_RATE_HZ) * 4

    @property
    def max_cpu_per_job_s(self) -> float:
        """Of the longest recording (1,510 s by default)."""
        return self.cpu_base_s + self.cpu_per_audio_s * (self.max_s + 600)

    @property
    def max_cpu_per_worker_s(self) -> float:
        """Hard limit of a worker's life. One that has used two thirds of it gets no further job."""
        return 3 * self.max_cpu_per_job_s

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
    def from_json(cls, text: str) -> DecoderLimits:
        return cls(**json.loads(text))


def price_of_header(header: Probed) -> float:
    """Of the recording, as far as its header says."""
    return max(MIN_PRICE_S, header.duration_ms / 1000 * _price_of_second(header))


def price_of_bytes(n_bytes: int) -> float:
    """Before the header is known."""
    return max(MIN_PRICE_S, n_bytes / _ORDINARY_BYTES_PER_S)


def price_of_samples(n_bytes: int, header: Probed | None) -> float:
    """Of what was decoded to so many bytes of samples."""
    return n_bytes / _SAMPLES_BYTES_PER_S * _price_of_second(header)


def _price_of_second(header: Probed | None) -> float:
    return 1.0 if header is None else max(1.0, header.rate_hz * header.n_channels / _ORDINARY_VALUES_PER_S)


def check_channels(n_channels: int) -> None:
    """Raises BadRequest unless the channels of a recording can be transcribed each by itself."""
    if n_channels == 1:
        problem = "the recording has one channel; leave multichannel out"
    elif n_channels > MAX_CHANNELS:
        problem = (
            f"the recording has {n_channels} channels, and at most {MAX_CHANNELS} are transcribed each by itself; "
            "send fewer, or leave multichannel out to have them mixed"
        )
    else:
        return
    raise BadRequest(f"multichannel: {problem}.", param="multichannel", code=WRONG_CHANNELS)
