"""A server on a free port of this machine, in this process, and raw bytes to and from it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from http_kit.doubles import Doubles
from whisper_server.http.app import app_state, build_app, make_runner
from whisper_server.http.connection import ConnectionTimes
from whisper_server.http.keys import KeyRing
from whisper_server.http.listener import Listener
from whisper_server.http.protocol import HttpServer
from whisper_server.http.routes import AppState
from whisper_server.memory.budget import MemoryBudget
from whisper_server.memory.pod import DEFAULT_BUDGET_BYTES
from whisper_server.metrics import Metrics
from whisper_server.service import Service
from whisper_server.settings import Settings

BOUNDARY = "b0undary"
LIMIT_S = 30.0
"""Nothing takes so long, even on a machine that is busy with much else."""
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Running:
    port: int
    doubles: Doubles
    state: AppState
    http: HttpServer
    keys: KeyRing

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def service(self) -> Service:
        return self.state.service


@asynccontextmanager
async def running(
    doubles: Doubles | None = None,
    *,
    loaded: bool = True,
    heartbeat_s: float = 15.0,
    times: ConnectionTimes = ConnectionTimes(),  # noqa: B008 - frozen
    max_connections: int = 16_000,
    max_requests: int = 8_000,
    **variables: str,
) -> AsyncIterator[Running]:
    """Settings by their variables."""
    doubles = doubles or Doubles()
    settings = Settings.from_env({"MODEL_ID": "demo", **variables})
    service, metrics = Service(), Metrics()
    metrics.watch_queue(service.queued_audio_s, service.estimated_wait_s)
    if loaded:
        service.load(doubles.backend())
    state = app_state(
        settings,
        service,
        metrics,
        max_requests=max_requests,
        budget=MemoryBudget(
            settings.memory_budget_bytes or DEFAULT_BUDGET_BYTES, max_owner_bytes=settings.max_bytes_per_client
        ),
        heartbeat_s=heartbeat_s,
    )
    keys = KeyRing(settings.api_keys_dir)
    runner = make_runner(build_app(settings, state, keys), settings, times=times, max_connections=max_connections)
    await runner.setup()
    site = Listener(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Running(site.port, doubles, state, runner.http_server, keys)
    finally:
        await runner.cleanup()


def form_body(fields: dict[str, str] | None = None, audio: bytes = b"RIFF....sound") -> bytes:
    """A multipart body with these fields and a file."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in ({"model": "whisper-1"} | (fields or {})).items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'.encode()
    return b"".join(parts) + head + audio + f"\r\n--{BOUNDARY}--\r\n".encode()


def post_head(path: str = "/v1/audio/transcriptions", **headers: object) -> bytes:
    """The head of a POST; underscores in header names become hyphens."""
    lines = [f"POST {path} HTTP/1.1", "Host: here", f"Content-Type: {headers.pop('Content_Type', FORM_TYPE)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


async def until(condition: Callable[[], object], timeout_s: float = LIMIT_S) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


async def talk(port: int, *pieces: bytes, pause_s: float = 0, timeout_s: float = LIMIT_S) -> bytes:
    """Send these bytes, with a pause after each piece, and read until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for data in pieces:
            writer.write(data)
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(timeout_s):
            return await reader.read()
    finally:
        writer.close()


async def read_answer(reader: asyncio.StreamReader, timeout_s: float = LIMIT_S) -> tuple[int, dict[str, str], bytes]:
    """One answer with a Content-Length (or none): status, headers in lower case, body."""
    async with asyncio.timeout(timeout_s):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = int(re.match(r"HTTP/1\.[01] (\d+)", head)[1])  # type: ignore[index]
        pairs = (line.split(":", 1) for line in head.split("\r\n")[1:] if ":" in line)
        headers = {name.lower(): value.strip() for name, value in pairs}
        return status, headers, await reader.readexactly(int(headers.get("content-length", 0)))
