"""The channels of one recording, each decoded by itself: those that are worth transcribing.

A channel without sound, and one that is the same as another (music players' and telephones' “stereo”), are left out. No
decoding here: the workers do it, one channel per job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from whisper_server.audio.limits import check_channels
from whisper_server.audio.memory_file import MemoryFile
from whisper_server.memory.budget import Reservation
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

SILENT_PEAK = 0.0004
"""−68 dB. The least step of µ-law and A-law is 0.00024, which an idle line plays; resampling overshoots a little."""
SAME_SHARE = 0.01
"""Two channels are the same where, in each second, their difference is 40 dB below the louder one: codecs that lose something
store a mono sound twice with less. It is asked second by second, so that one word that only one channel has makes them differ."""


class Sound(Protocol):
    """A decoded recording, or one channel of it; leaving it as a context manager frees the samples."""

    @property
    def samples(self) -> Samples: ...

    @property
    def duration_s(self) -> float: ...

    @property
    def n_channels(self) -> int:
        """Of the recording."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class ChannelDecoder(Protocol):
    """Decodes files to samples."""

    async def read_audio(
        self, source: MemoryFile, reservation: Reservation, owner: str = "", channel: int | None = None
    ) -> Sound:
        """One channel, or all of them mixed. The reservation is released with the sound.

        Raises ApiError; a cancelled call stops the work.
        """


@dataclass
class Channels:
    """Leaving it as a context manager frees the samples."""

    kept: dict[int, Sound] = field(default_factory=dict)
    """By number, from 0: those that sound, each different from the others. Never empty."""
    n_channels: int = 0
    _open: ExitStack = field(default_factory=ExitStack)

    @property
    def duration_s(self) -> float:
        """The length of the recording."""
        return max(sound.duration_s for sound in self.kept.values())

    def keep(self, number: int, sound: Sound) -> None:
        """Hold `sound` until the channels are left."""
        self.kept[number] = self._open.enter_context(sound)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kept = {}
        self._open.close()


async def read_channels(
    decoder: ChannelDecoder, source: MemoryFile, new_reservation: Callable[[], Reservation], owner: str = ""
) -> Channels:
    """Decode every channel of `source`, one after the other; each has a reservation of its own.

    Raises BadRequest for a recording of one channel or of more than MAX_CHANNELS, and what the decoder raises.
    """
    channels = Channels()
    try:
        number = 0
        while number == 0 or number < channels.n_channels:
            sound = await decoder.read_audio(source, new_reservation(), owner, number)
            with ExitStack() as dropped:
                dropped.enter_context(sound)
                if number == 0:
                    check_channels(sound.n_channels)  # no message of a worker is trusted
                    channels.n_channels = sound.n_channels
                others = [kept.samples for kept in channels.kept.values()]
                if await asyncio.to_thread(_is_new, sound.samples, others):
                    dropped.pop_all()
                    channels.keep(number, sound)
            number += 1
        if not channels.kept:
            channels.keep(0, await decoder.read_audio(source, new_reservation(), owner, 0))
    except BaseException:
        channels.__exit__()
        raise
    return channels


def _is_new(samples: Samples, others: list[Samples]) -> bool:
    """Whether the channel sounds, and differs from each of the others."""
    return not _is_silent(samples) and not any(is_same(samples, other) for other in others)


def _is_silent(samples: Samples) -> bool:
    return max(float(samples.max()), -float(samples.min())) <= SILENT_PEAK


def is_same(one: Samples, other: Samples) -> bool:
    """Whether two channels have the same sound, as far as one can hear."""
    n_samples = min(len(one), len(other))
    for start in range(0, n_samples, SAMPLE_RATE_HZ):
        left, right = one[start : start + SAMPLE_RATE_HZ], other[start : start + SAMPLE_RATE_HZ]
        n_both = min(len(left), len(right))
        difference = left[:n_both] - right[:n_both]
        power = max(float(left @ left), float(right @ right))
        if float(difference @ difference) > max(SAME_SHARE**2 * power, SILENT_PEAK**2 * n_both):
            return False
    return _is_silent_or_empty(one[n_samples:]) and _is_silent_or_empty(other[n_samples:])


def _is_silent_or_empty(samples: Samples) -> bool:
    return not len(samples) or _is_silent(samples)
