"""Bodies of answers that are written in pieces, so that a client that does not read holds little memory.

aiohttp gives the whole body to the transport at once, which copies what the socket does not take: 3,000 connections
that asked for Swagger UI's bundle of 1.4 MB and read nothing took 3.2 GB.
"""

from __future__ import annotations

import weakref

from aiohttp import payload
from aiohttp.abc import AbstractStreamWriter

from whisper_server.memory.budget import Reservation

PIECE_BYTES = 16_384
WRITE_BUFFER_BYTES = 16_384
"""Of a connection: the transport holds at most this and one piece."""
READ_BYTES = 65_536
"""At a time from a socket."""
BODY_READ_BYTES = 131_072
"""The same of a body whose length is known: it costs a copy, however it is made."""
SEND_BUFFER_BYTES = 65_536
"""Of a connection, in the kernel, which takes twice as much."""


class PiecewiseBody(payload.Payload):
    """Bytes that are written piece by piece, each once the client has taken the one before."""

    def __init__(self, content: bytes, content_type: str, reservation: Reservation | None = None) -> None:
        """The reservation counts the bytes until they are written, even if the budget has no room for them; a body that
        is never written releases it when it is freed.
        """
        super().__init__(content, headers={"Content-Type": content_type})
        self._content = content
        self._size = len(content)
        self._release: weakref.finalize[..., PiecewiseBody] | None = None
        if reservation is not None:
            reservation.grow(len(content))
            self._release = weakref.finalize(self, reservation.release)
            self._release.atexit = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The content as text."""
        return self._content.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write everything."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the first `content_length` bytes; None: all."""
        content = memoryview(self._content)[:content_length]
        try:
            for start in range(0, len(content), PIECE_BYTES):
                await writer.write(bytes(content[start : start + PIECE_BYTES]))
                await writer.drain()
        finally:
            # Not when the body is freed: request and response refer to each other, so the collector frees it, much later.
            if self._release is not None:
                self._content = b""
                self._release()
