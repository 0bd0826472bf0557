"""Frames of decoded audio → blocks of about a second. Runs in a worker only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import cast

import av
import av.filter
import numpy as np
from av.audio.frame import AudioFrame

from whisper_server.audio.resample import Block
from whisper_server.errors import InvalidAudio

MAX_BLOCK_VALUES = 1 << 20
MAX_PLANES = 7
"""One fewer than FFmpeg's AV_NUM_DATA_POINTERS: up to here a null pointer follows the last plane."""


def block_frames(frame: AudioFrame) -> int:
    """Frames of one channel per block: a second, or what a million values make of many channels."""
    return min(frame.sample_rate, MAX_BLOCK_VALUES // frame.layout.nb_channels)


def kind_of(frame: AudioFrame) -> tuple[str, int, int]:
    """What all frames of a block have in common: format, channels, rate."""
    return frame.format.name, frame.layout.nb_channels, frame.sample_rate


def join(frames: list[AudioFrame]) -> Block:
    """Frames of one kind as one block. Raises InvalidAudio for a kind that numpy cannot hold."""
    first = frames[0]
    is_planar = first.format.is_planar
    try:
        if is_planar and first.layout.nb_channels > MAX_PLANES:
            frames = _interleaved(frames)
            is_planar = False
        values = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    except (av.ArgumentError, ValueError) as error:
        raise InvalidAudio(
            f"The file's audio ({first.layout.nb_channels} channels of {first.format.name}) is of a kind that this "
            "server cannot read."
        ) from error
    return Block(values if is_planar else values.reshape(-1, first.layout.nb_channels).T, first.sample_rate)


def _interleaved(frames: list[AudioFrame]) -> list[AudioFrame]:
    """One plane instead of many: PyAV looks for the end of the list of planes beyond it, and crashes.

    Not PyAV's AudioResampler: its graph starts a thread per core, which the sandbox answers with SIGSYS, so that every
    aac and opus file with 7.1 channels was refused.
    """
    first = frames[0]
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add_abuffer(
        sample_rate=first.sample_rate,
        format=first.format,
        layout=first.layout,
        time_base=Fraction(1, first.sample_rate),
    )
    packer = graph.add("aformat", sample_fmts=first.format.packed.name, channel_layouts=first.layout.name)
    graph.link_nodes(source, packer, graph.add("abuffersink")).configure()
    packed: list[AudioFrame] = []
    for frame in [*frames, None]:
        graph.push(frame)
        packed += _ready(graph)
    return packed


def _ready(graph: av.filter.Graph) -> Iterator[AudioFrame]:
    """What has come out of the graph so far."""
    with suppress(BlockingIOError, EOFError):
        while True:
            yield cast("AudioFrame", graph.pull())
