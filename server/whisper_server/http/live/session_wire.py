"""The way of messages to a process of realtime sessions and back, that of their sockets, and the memory for their sound.

Sound goes through shared memory: the server copies it once, into the engine's. A socket goes with its `Open`, on a way of its own:
asyncio's streams carry no descriptors.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import pickle
import socket
import struct
from collections.abc import Callable

import numpy as np

from whisper_server.errors import InternalError
from whisper_server.http.live.session_messages import FromProcess, Open, ToProcess
from whisper_server.speech.turn_end import MAX_SAMPLES as TURN_END_SAMPLES
from whisper_server.whisper.transcript import Samples

_LENGTH = struct.Struct("<I")
_PAGE_SAMPLES = mmap.PAGESIZE // np.dtype(np.float32).itemsize
_MAX_OPEN_BYTES = 256 * 1024


class Wire(asyncio.Protocol):
    """One end of the way of messages, on a stream socket. All messages of one iteration of the loop take one system call."""

    def __init__(self, on_message: Callable[[object], None], on_end: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._received = bytearray()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, message: ToProcess | FromProcess) -> None:
        """Send it behind those before it; after the end of the way, drop it."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._unsent += (_LENGTH.pack(len(data)), data)

    def _flush(self) -> None:
        parts, self._unsent = self._unsent, []
        if self._transport is not None:
            self._transport.write(b"".join(parts))

    def data_received(self, data: bytes) -> None:
        """Whole messages, in order."""
        self._received += data
        at = 0
        while len(self._received) - at >= _LENGTH.size:
            (n_bytes,) = _LENGTH.unpack_from(self._received, at)
            begin = at + _LENGTH.size
            if len(self._received) < begin + n_bytes:
                break
            at = begin + n_bytes
            self._on_message(pickle.loads(self._received[begin:at]))  # noqa: S301 - from this program
        del self._received[:at]

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._transport = None
        self._on_end()

    def close(self) -> None:
        """End the way at once."""
        if self._transport is not None:
            self._transport.abort()


class Handover:
    """The server's end of the way of sockets, which takes some ninety that the process has not yet received."""

    def __init__(self, ours: socket.socket) -> None:
        ours.setblocking(False)  # noqa: FBT003 - its only argument
        self._socket = ours
        self._turn = asyncio.Lock()  # the loop has one callback for each descriptor
        self._writable = asyncio.Event()

    async def send(self, opened: Open, client: socket.socket) -> None:
        """A session's socket, of which its process has its own descriptor then. Raises OSError, InternalError if the process is gone."""
        data = pickle.dumps(opened, pickle.HIGHEST_PROTOCOL)
        async with self._turn:
            while self._socket.fileno() >= 0:
                try:
                    socket.send_fds(self._socket, [data], [client.fileno()])
                except BlockingIOError:
                    await self._until_writable()
                except (BrokenPipeError, ConnectionResetError):
                    break
                else:
                    return
        raise InternalError("The session's process has ended.")

    async def _until_writable(self) -> None:
        loop = asyncio.get_running_loop()
        self._writable.clear()
        loop.add_writer(self._socket, self._writable.set)
        try:
            await self._writable.wait()
        finally:
            if self._socket.fileno() >= 0:
                loop.remove_writer(self._socket)

    def close(self) -> None:
        """The process is gone. Senders that wait get InternalError."""
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_writer(self._socket)
            self._socket.close()
        self._writable.set()


def receive_socket(handover: socket.socket) -> tuple[Open, socket.socket] | None:
    """The next session; None where there is none at the moment, or the server is gone."""
    try:
        data, descriptors, _, _ = socket.recv_fds(handover, _MAX_OPEN_BYTES, 1)
    except BlockingIOError:
        return None
    if not data:
        return None
    return pickle.loads(data), socket.socket(fileno=descriptors[0])  # noqa: S301 - from this program


class SharedSound:
    """A place for each session of a process: a window, and behind it the end of a turn."""

    def __init__(self, descriptor: int, n_places: int, max_window_samples: int) -> None:
        """Map the memory behind `descriptor`, which stays the caller's."""
        n_samples = _n_place_samples(max_window_samples)
        self._memory = mmap.mmap(descriptor, n_places * n_samples * np.dtype(np.float32).itemsize)
        self._samples = np.frombuffer(self._memory, np.float32).reshape(n_places, n_samples)
        self._max_window_samples = max_window_samples

    @staticmethod
    def create(n_places: int, max_window_samples: int) -> int:
        """The descriptor of new memory. Its pages are taken as sound is written."""
        descriptor = os.memfd_create("whisper-live-sound", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, n_places * _n_place_samples(max_window_samples) * np.dtype(np.float32).itemsize)
        return descriptor

    def window(self, place: int, n_samples: int) -> Samples:
        """The first samples of a place; not a copy."""
        return self._samples[place, :n_samples]

    def turn_end(self, place: int, n_samples: int) -> Samples:
        """Those of the end of a turn; not a copy."""
        return self._samples[place, self._max_window_samples : self._max_window_samples + n_samples]

    def free(self, place: int) -> None:
        """Give the pages of a place back."""
        n_bytes = self._samples[place].nbytes
        self._memory.madvise(mmap.MADV_REMOVE, place * n_bytes, n_bytes)


def _n_place_samples(max_window_samples: int) -> int:
    return -(-(max_window_samples + TURN_END_SAMPLES) // _PAGE_SAMPLES) * _PAGE_SAMPLES
