"""A voice detector for many live sessions: `python -P -m whisper_server.speech.voice_worker SOCKET`.

The detector takes 5 to 10 ms of CPU per second of sound, with Python's lock for a part of it: 200 sessions in the server's own
process left its event loop no time. `voice_streams` has the server's end. It reads numbers only, so it needs no sandbox.
"""

from __future__ import annotations

import socket
import struct
import sys

import numpy as np

from whisper_server.speech.live_vad import VoiceStream
from whisper_server.speech.vad import VoiceDetector
from whisper_server.whisper.transcript import Samples

HEADER = struct.Struct("<QI")
"""Number of the stream; how many float32 follow: samples to the worker, probabilities back. A stream without samples is over."""
READ_BYTES = 64 * 1024
"""Some five pieces, of 0.2 s each: they are heard in 7 ms."""


def serve(connection: socket.socket) -> None:
    """Answer in the order that pieces come in, those that came together in one message, until the server is gone."""
    voice = VoiceDetector()
    streams: dict[int, VoiceStream] = {}
    received = bytearray()
    while data := connection.recv(READ_BYTES):
        received += data
        answers: list[bytes] = []
        for number, samples in whole_pieces(received):
            if not len(samples):
                streams.pop(number, None)
                continue
            if number not in streams:
                streams[number] = VoiceStream(voice)
            probabilities = streams[number].add(samples)
            answers += (HEADER.pack(number, len(probabilities)), probabilities.tobytes())
        connection.sendall(b"".join(answers))


def whole_pieces(received: bytearray) -> list[tuple[int, Samples]]:
    """Numbers and floats; they are taken out of `received`."""
    pieces: list[tuple[int, Samples]] = []
    at = 0
    while len(received) - at >= HEADER.size:
        number, n_samples = HEADER.unpack_from(received, at)
        end = at + HEADER.size + 4 * n_samples
        if len(received) < end:
            break
        pieces.append((number, np.frombuffer(bytes(received[at + HEADER.size : end]), np.float32)))
        at = end
    del received[:at]
    return pieces


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as server:
        try:
            serve(server)
        except (BrokenPipeError, ConnectionResetError):
            sys.exit(0)
