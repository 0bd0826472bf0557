"""A voice detector for many live sessions: `python -P -m whisper_server.speech.voice_worker SOCKET`.

The detector takes 5 to 10 ms of CPU per second of sound, with Python's lock for a part of it: 200 sessions in the server's own
process left its event loop no time. `voice_streams` has the server's end. It reads numbers only, so it needs no sandbox.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import BinaryIO

import numpy as np

from whisper_server.speech.live_vad import VoiceStream
from whisper_server.speech.vad import VoiceDetector

HEADER = struct.Struct("<QI")
"""Number of the stream; how many float32 follow: samples to the worker, probabilities back. A stream without samples is over."""


def serve(connection: socket.socket) -> None:
    """Answer piece by piece, in the order that they come in, until the server is gone."""
    voice = VoiceDetector()
    streams: dict[int, VoiceStream] = {}
    with connection.makefile("rb") as reader:
        while (piece := _next_piece(reader)) is not None:
            number, samples = piece
            if not len(samples):
                streams.pop(number, None)
                continue
            if number not in streams:
                streams[number] = VoiceStream(voice)
            probabilities = streams[number].add(samples)
            connection.sendall(HEADER.pack(number, len(probabilities)) + probabilities.tobytes())


def _next_piece(reader: BinaryIO) -> tuple[int, np.ndarray[tuple[int], np.dtype[np.float32]]] | None:
    """None: the server is gone."""
    header = reader.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    number, n_samples = HEADER.unpack(header)
    data = reader.read(4 * n_samples)
    return None if len(data) < 4 * n_samples else (number, np.frombuffer(data, np.float32))


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as server:
        try:
            serve(server)
        except (BrokenPipeError, ConnectionResetError):
            sys.exit(0)
