"""A TCP proxy between the operator and the API server that can cut connections, or drop all bytes silently as load balancers do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit


class Wire:
    """Forwards bytes to an address. All methods may be called from any thread."""

    def __init__(self, server: str) -> None:
        address = urlsplit(server)
        self._target = (address.hostname, address.port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open: set[asyncio.StreamWriter] = set()
        self._dead: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def n_open(self) -> int:
        """Ends of connections, two of each."""
        return len(self._open)

    def cut(self) -> int:
        """Closes every connection and accepts new ones. Returns how many there were."""
        writers = list(self._open)
        for writer in writers:
            self._loop.call_soon_threadsafe(writer.close)
        return len(writers)

    def go_dead(self) -> int:
        """Existing connections pass nothing and stay open; new ones work."""
        found = set(self._open)
        self._dead |= found
        return len(found)

    @contextmanager
    def laid(self) -> Iterator[Wire]:
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._end(server), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def kubeconfig(self, original: Path, folder: Path) -> Path:
        """The same, through this wire."""
        document = json.loads(original.read_text())
        for cluster in document["clusters"]:
            cluster["cluster"]["server"] = f"https://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "kubeconfig"
        path.write_text(json.dumps(document))
        return path

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        self._open |= {writer, there_writer}
        ways = [self._forward(reader, there_writer), self._forward(there_reader, writer)]
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, there_writer):
            self._open.discard(end)
            self._dead.discard(end)
            end.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while content := await reader.read(65536):
                if writer not in self._dead:
                    writer.write(content)
                    await writer.drain()
        writer.close()

    async def _end(self, server: asyncio.Server) -> None:
        server.close()
        for writer in list(self._open):
            writer.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
