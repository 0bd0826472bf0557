"""Decoded frames of any format → mono float32 at 16 kHz, block by block.

Channels are averaged, except in a block where they cancel each other. NaN and infinity become silence; the rest is
clipped to −1 … 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import soxr

from whisper_server.audio.limits import check_channels
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

_FULL_SCALE = {np.dtype(np.int16): 2.0**15, np.dtype(np.int32): 2.0**31, np.dtype(np.uint8): 2.0**7}

_STEP = 8
"""Of eight frames one is enough to compare the power of channels; all of them cost 5 % of the time that flac takes."""


RATES_HZ = range(1_000, 768_001)
"""Sampling rates that can be read."""


@dataclass(frozen=True)
class Header:
    """The facts of a recording before it is decoded."""

    rate_hz: int
    n_channels: int
    length_s: float
    """Declared, or estimated; 0 if nothing says it."""


@dataclass(frozen=True)
class Block:
    """Sound as the decoder gave it, shape (n_channels, n_frames)."""

    values: npt.NDArray[Any]
    rate_hz: int


@dataclass(frozen=True)
class Silence:
    """A gap in the recording's own time line."""

    duration_s: float


class Mixer(Protocol):
    """Makes mono sound of the channels of a recording, block by block."""

    def mix(self, values: npt.NDArray[Any]) -> Samples:
        """(n_channels, n_frames) of any sample type → (n_frames,) float32, −1 … 1."""


class MonoMixer:
    """Mixes the blocks of one recording to mono.

    Averaging n channels of which one has sound loses a factor of n² in power, and n in-phase channels lose nothing. A
    block that loses four times more than that (stereo: 12 dB below the louder channel) has channels in opposite
    phase, and its loudest channel is taken instead. Each block decides for itself, so that an hour with one speaker
    per channel does not lose one of them to a hum in opposite phase.
    """

    def __init__(self) -> None:
        self._channel = 0
        self.n_channels = 0

    def mix(self, values: npt.NDArray[Any]) -> Samples:
        """(n_channels, n_frames) of any sample type → (n_frames,) float32, −1 … 1."""
        channels, full_scale = _to_float(values)
        self.n_channels = n_channels = len(channels)
        if n_channels == 1:
            only: Samples = channels[0] * np.float32(1 / full_scale)
            return only
        # A product of matrices: `mean` takes fifty times as long on interleaved channels.
        mono: Samples = np.full(n_channels, 1 / (n_channels * full_scale), np.float32) @ channels
        sample, mono_sample = channels[:, ::_STEP].copy(), mono[::_STEP].copy()
        powers = np.einsum("ij,ij->i", sample, sample)
        loudest = int(powers.argmax())
        if powers[loudest] <= 4 * (n_channels * full_scale) ** 2 * float(mono_sample @ mono_sample):
            return mono
        # Channels in opposite phase are equally loud: changing between them would turn the phase at each block.
        if self._channel >= n_channels or powers[self._channel] < powers[loudest] / 2:
            self._channel = loudest
        taken: Samples = channels[self._channel] / np.float32(full_scale)
        return taken


class ChannelTaker:
    """Takes one channel; where a later part of the recording has fewer (chained ogg), there is silence."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self.n_channels = 0

    def mix(self, values: npt.NDArray[Any]) -> Samples:
        """Raises BadRequest if the recording has one channel, or too many."""
        if not self.n_channels:
            self.n_channels = len(values)
            check_channels(self.n_channels)
        if self._channel >= len(values):
            return np.zeros(values.shape[1], np.float32)
        taken, full_scale = _to_float(values[self._channel : self._channel + 1])
        mono: Samples = taken[0] / np.float32(full_scale)
        return mono


def _to_float(values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], float]:
    """Samples around 0 as float32, and the value of full scale."""
    full_scale = _FULL_SCALE.get(values.dtype)
    if full_scale is None:
        finite: npt.NDArray[np.float32] = np.nan_to_num(values, nan=0, posinf=0, neginf=0)
        return np.clip(finite, -1, 1, out=finite).astype(np.float32, copy=False), 1.0
    channels = values.astype(np.float32)
    if values.dtype == np.uint8:
        channels -= 128
    return channels, full_scale


def resample(blocks: Iterable[Block | Silence], mixer: Mixer | None = None) -> Iterator[Samples]:
    """Pieces of mono sound at 16 kHz, all channels mixed unless a `mixer` is given.

    A new rate in mid-recording (chained ogg) starts a new resampler.
    """
    stream: soxr.ResampleStream | None = None
    mixer = mixer or MonoMixer()
    rate_hz = 0
    for block in blocks:
        if isinstance(block, Silence):
            rest_s = block.duration_s
            while rest_s > 0:
                piece_s = min(rest_s, 1.0)
                rest_s -= piece_s
                silence = np.zeros(round(piece_s * (rate_hz or SAMPLE_RATE_HZ)), np.float32)
                yield _clip(stream.resample_chunk(silence)) if stream else silence
            continue
        if block.rate_hz != rate_hz:
            yield from _last(stream)
            rate_hz = block.rate_hz
            stream = None if rate_hz == SAMPLE_RATE_HZ else soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, "float32")
        mono = mixer.mix(block.values)
        yield _clip(stream.resample_chunk(mono)) if stream else mono
    yield from _last(stream)


def _last(stream: soxr.ResampleStream | None) -> Iterator[Samples]:
    if stream is not None:
        yield _clip(stream.resample_chunk(np.zeros(0, np.float32), last=True))


def _clip(piece: Samples) -> Samples:
    """The filter rings a little over full scale."""
    return np.clip(piece, -1, 1, out=piece)
