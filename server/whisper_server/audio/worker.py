"""A decode worker: `python -P -m whisper_server.audio.worker SOCKET PARENT_PID LIMITS`.

One job at a time, from a descriptor into a descriptor; needs no file, no network, no environment.
Imports only what decoding needs (numpy, PyAV, soxr): it has to start fast and stay small.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import traceback
from io import BytesIO

from whisper_server.audio import messages
from whisper_server.audio.confinement import (
    CpuAllowance,
    MemoryMeter,
    follow_parent,
    limit_resources,
    yield_to_server,
)
from whisper_server.audio.decode import decode
from whisper_server.audio.limits import DecodeLimits
from whisper_server.audio.memory_file import MemoryFile, seal
from whisper_server.audio.messages import Crashed, Done, Grant, Grow, Job, Message, Ready, Refused
from whisper_server.audio.sample_sink import BudgetRefused, SampleSink
from whisper_server.audio.upload_reader import UploadReader
from whisper_server.errors import ApiError
from whisper_server.whisper.constants import SAMPLE_RATE_HZ

_SOCKET_FD = 3
_N_DESCRIPTORS = 7
"""stdin, stdout, stderr, the socket, /proc/self/statm, upload, samples. Nothing else can be opened."""


class ServerGone(Exception):
    """The server closed its end."""


class Worker:
    """The worker's end of the conversation."""

    def __init__(self, connection: socket.socket, memory: MemoryMeter, limits: DecodeLimits) -> None:
        self._connection = connection
        self._memory = memory
        self._limits = limits

    def serve(self) -> None:
        """Jobs, one after the other, until the server is gone."""
        self._send(Ready(self._memory.rss_bytes()))
        while True:
            datagram, descriptors, _, _ = socket.recv_fds(self._connection, messages.MAX_MESSAGE_BYTES, 2)
            if not datagram:
                raise ServerGone
            if not isinstance(messages.decode(datagram), Job) or len(descriptors) != 2:
                raise messages.BadMessage(f"{datagram!r:.100} with {len(descriptors)} descriptors")
            try:
                answer = self._answer(*descriptors)
            finally:
                for fd in descriptors:
                    os.close(fd)
            self._send(answer)

    def _answer(self, upload_fd: int, samples_fd: int) -> Message:
        try:
            n_samples = self._decode(upload_fd, samples_fd)
        except ServerGone:
            raise
        except BudgetRefused:
            return Refused("overloaded", "", self._memory.rss_bytes())
        except ApiError as error:
            return Refused(error.code or "", error.message, self._memory.rss_bytes())
        except MemoryError:
            limit_mib = self._limits.memory_bytes // 2**20
            message = f"The file cannot be decoded: it asks for more than {limit_mib} MiB of memory."
            return Refused("invalid_audio", message, self._memory.rss_bytes())
        except Exception:  # noqa: BLE001 - the server logs it, and the worker goes on
            return Crashed(traceback.format_exc())
        return Done(n_samples, self._memory.rss_bytes())

    def _decode(self, upload_fd: int, samples_fd: int) -> int:
        cpu = CpuAllowance(self._limits)
        sink = SampleSink(samples_fd, self._grow)
        for piece in decode(UploadReader(upload_fd), self._limits):
            sink.write(piece)
            cpu.extend(sink.n_samples / SAMPLE_RATE_HZ)
        seal(samples_fd)
        return sink.n_samples

    def _grow(self, n_bytes: int) -> bool:
        self._send(Grow(n_bytes))
        datagram = self._connection.recv(messages.MAX_MESSAGE_BYTES)
        if not datagram:
            raise ServerGone
        answer = messages.decode(datagram)
        return isinstance(answer, Grant) and answer.granted

    def _send(self, message: Message) -> None:
        try:
            self._connection.send(messages.encode(message))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ServerGone from error


def warm_up() -> None:
    """Decode a little once: numpy and PyAV load parts of themselves late, and soon nothing can be opened."""
    n_frames = 8_000
    header = BytesIO()
    for part in (b"RIFF", 36 + 4 * n_frames, b"WAVEfmt ", 16, 0x0002_0001, 8_000, 32_000, 0x0010_0004, b"data"):
        header.write(part if isinstance(part, bytes) else part.to_bytes(4, "little"))
    header.write((4 * n_frames).to_bytes(4, "little"))
    with MemoryFile.create("warm-up") as upload, MemoryFile.create("warm-up") as samples:
        upload.write(header.getvalue() + bytes(4 * n_frames))
        sink = SampleSink(samples.fileno(), lambda _n_bytes: True)
        for piece in decode(UploadReader(upload.fileno()), DecodeLimits()):
            sink.write(piece)


def main(socket_fd: int, parent_pid: int, limits: DecodeLimits) -> None:
    follow_parent(parent_pid)
    yield_to_server(limits.niceness)
    # A low number, because RLIMIT_NOFILE bounds numbers.
    if socket_fd != _SOCKET_FD:
        os.dup2(socket_fd, _SOCKET_FD, inheritable=False)
        os.close(socket_fd)
    memory = MemoryMeter()
    warm_up()
    limit_resources(memory, limits, n_descriptors=_N_DESCRIPTORS)
    with socket.socket(fileno=_SOCKET_FD) as connection, contextlib.suppress(ServerGone):
        Worker(connection, memory, limits).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), DecodeLimits.from_json(sys.argv[3]))
