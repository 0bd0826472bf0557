"""What one client with dear requests costs ten others with clips: p95 of the clips beside it and alone, in one run.

Starts a server of its own on the demo model, with a key per client. Alone and beside take turns. Run as
PYTHONPATH=tests/kit python bench/fairness.py
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import av
import numpy as np
from figures import machine, quantile

from audio_kit.files import hours_of_silence
from server_kit.process import running
from speech_kit.sentences import spoken
from speech_kit.sounds import wav

N_CLIENTS = 10
DEAR_RATE_HZ = 655_350
SETTLE_S = 5.0
"""After the dear client has begun: its files arrive, and the first of them are decoded."""


@dataclass
class Clips:
    """What ten clients saw."""

    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def p95_s(self) -> float:
        return quantile(self.latencies_s, 0.95)


def dear_flac(duration_s: int) -> bytes:
    """Silence at 655 kHz with 8 channels, about 700 bytes a second."""
    out = io.BytesIO()
    with av.open(out, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=DEAR_RATE_HZ, layout="7.1")
        stream.format = av.AudioFormat("s16")
        second = av.AudioFrame.from_ndarray(np.zeros((1, 8 * DEAR_RATE_HZ), np.int16), "s16", "7.1")
        second.sample_rate = DEAR_RATE_HZ
        for number in range(duration_s):
            second.pts = number * DEAR_RATE_HZ
            container.mux(stream.encode(second))
        container.mux(stream.encode(None))
    return out.getvalue()


async def post(session: aiohttp.ClientSession, url: str, key: str, audio: bytes) -> tuple[int, str]:
    """Status and body."""
    form = aiohttp.FormData({"model": "whisper-1", "language": "en"})
    form.add_field("file", audio, filename="recording")
    headers = {"Authorization": f"Bearer {key}"}
    async with session.post(f"{url}/v1/audio/transcriptions", data=form, headers=headers) as answer:
        return answer.status, await answer.text()


async def send_clips(session: aiohttp.ClientSession, url: str, clip: bytes, n_each: int) -> Clips:
    """Each client sends one clip after the other."""
    seen = Clips()

    async def client(number: int) -> None:
        for _ in range(n_each):
            begin_s = time.monotonic()
            status, body = await post(session, url, key_of(f"clips{number}"), clip)
            seen.latencies_s.append(time.monotonic() - begin_s)
            seen.statuses[status] += 1
            if status != 200:
                print(status, body[:200])

    await asyncio.gather(*(client(number) for number in range(N_CLIENTS)))
    return seen


@contextlib.asynccontextmanager
async def dear_client(session: aiohttp.ClientSession, url: str, files: Sequence[bytes]) -> AsyncIterator[Counter[str]]:
    """One client that sends all of these at once, and leaves at the end."""
    outcomes: Counter[str] = Counter()

    async def send(audio: bytes) -> None:
        status, body = await post(session, url, key_of("dear"), audio)
        message = body.partition('"message": "')[2][:60] if status != 200 else ""
        outcomes[f"{status} {message}".strip()] += 1

    tasks = [asyncio.create_task(send(audio)) for audio in files]
    await asyncio.sleep(SETTLE_S)
    yield outcomes
    outcomes["still waiting or running"] = sum(not task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def key_of(client: str) -> str:
    return f"key-of-{client}-0123456789"


async def measure(url: str, n_each: int, rows: Sequence[int]) -> None:
    clip = wav(spoken("en", 3).samples)
    silence, dear = hours_of_silence(4), dear_flac(120)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        await send_clips(session, url, clip, 1)
        print("| beside the clips | alone, p95 | beside, p95 | ratio | clips' statuses | the other client |")
        print("|---|---|---|---|---|---|")
        all_rows = (
            ("50 files of four hours", [silence] * 50),
            ("50 files of twelve minutes", [hours_of_silence(0.2)] * 50),
            ("2 FLACs of 655 kHz × 8 channels", [dear] * 2),
            ("20 of them", [dear] * 20),
        )
        for name, files in (all_rows[row] for row in rows):
            alone = await send_clips(session, url, clip, n_each)
            async with dear_client(session, url, files) as outcomes:
                beside = await send_clips(session, url, clip, n_each)
                lines = (await (await session.get(f"{url}/metrics")).text()).splitlines()
            await asyncio.sleep(SETTLE_S)
            after = await send_clips(session, url, clip, n_each)
            alone.latencies_s += after.latencies_s
            ratio = beside.p95_s / alone.p95_s
            print(
                f"| {name} | {alone.p95_s:.2f} s | {beside.p95_s:.2f} s | {ratio:.2f} | {dict(beside.statuses)} | {dict(outcomes)} |"
            )
            print([line for line in lines if line.startswith(("whisper_decode", "whisper_queue"))], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=6, help="clips of each client in each phase")
    parser.add_argument("--rows", type=int, nargs="+", default=[0, 1, 2, 3], help="rows of the table")
    arguments = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        keys.mkdir()
        for client in ("dear", *(f"clips{number}" for number in range(N_CLIENTS))):
            (keys / client).write_text(key_of(client))
        with running({"API_KEYS_DIR": str(keys)}, Path(folder)) as server:
            asyncio.run(measure(server.url, arguments.clips, arguments.rows))


if __name__ == "__main__":
    main()
