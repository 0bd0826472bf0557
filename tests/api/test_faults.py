"""Processes that die and servers that are told to end while they work: who is hurt, and who is not."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import httpx
import numpy as np
import psutil
import pytest
import soundfile

from server_kit.api import Api, form
from server_kit.process import (
    ServerProcess,
    StartServer,
    command_of,
    left_behind,
    shared_files,
    start,
    wait_until_ready,
)
from server_kit.raw import Wire, clip_form, head
from speech_kit.scores import word_errors
from speech_kit.sentences import spoken
from speech_kit.sounds import silence, wav
from suite_kit.slow import SLOW

N_CLIPS = 12
Found = TypeVar("Found")


def _workers(server: ServerProcess) -> list[psutil.Process]:
    """The decoding processes."""
    return [child for child in server.process.children() if "audio.worker" in command_of(child)]


@pytest.fixture(scope="module")
def dear_flac(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Four minutes of silence, small to send; by its rate and channels a decoder takes 1.8 CPU s, of which the test waits 0.3."""
    path = tmp_path_factory.mktemp("dear") / "dear.flac"
    minute = np.zeros((60 * 192_000, 8), np.int16)
    with soundfile.SoundFile(path, "w", 192_000, 8) as file:
        for _ in range(4):
            file.write(minute)
    return path.read_bytes()


@pytest.mark.on_ctranslate2(because="files are decoded before an engine hears them")
def test_decoder_killed_in_mid_request_costs_no_request(start_server: StartServer, dear_flac: bytes) -> None:
    with start_server({"DECODE_WORKERS": "2"}) as server, ThreadPoolExecutor(N_CLIPS + 1) as pool:
        api = Api(server.url)
        idle = {worker.pid: _cpu_s(worker) for worker in _workers(server)}
        assert len(idle) == 2
        doomed = pool.submit(api.post, dear_flac)
        clips = [pool.submit(api.post, wav(spoken("en", index).samples)) for index in range(N_CLIPS)]
        busy = _wait_for(lambda: next((w for w in _workers(server) if _cpu_s(w) > idle[w.pid] + 0.3), None))
        os.kill(busy.pid, signal.SIGKILL)
        answer = doomed.result()
        assert answer.status_code == 200, "another decoder did it once more"
        _check_clips(clips)
        _wait_for(lambda: len(_workers(server)) == 2 and busy.pid not in {w.pid for w in _workers(server)})
        assert word_errors([spoken("en", 0).text], [api.text(wav(spoken("en", 0).samples))]).n_edits <= 1
        assert "whisper_decode_worker_deaths_total 1.0" in api.http.get("/metrics").text
        api.close()


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _wait_for(find: Callable[[], Found | None], limit_s: float = 60) -> Found:
    deadline_s = time.monotonic() + limit_s * SLOW
    while time.monotonic() < deadline_s:
        if found := find():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to that")


def _check_clips(clips: list[Future[httpx.Response]]) -> None:
    answers = [clip.result() for clip in clips]
    assert [answer.status_code for answer in answers] == [200] * len(clips)
    texts = [answer.json()["text"] for answer in answers]
    assert word_errors([spoken("en", index).text for index in range(len(clips))], texts).rate <= 0.10


def test_sigterm_under_load_gives_every_accepted_request_its_full_answer(tmp_path: Path) -> None:
    """Eight requests run, one upload is half there, one connection idles; more come while the server drains."""
    before = shared_files()
    server = start({"DRAIN_SECONDS": "10", "MODEL_CACHE_DIR": str(tmp_path / "models")}, tmp_path)
    wait_until_ready(server)
    family = server.family()
    api = Api(server.url)
    body = clip_form(wav(spoken("en", 0).samples))
    with ThreadPoolExecutor(2 * N_CLIPS) as pool, Wire(server.port) as half, Wire(server.port) as idle:
        half.send(head(len(body)) + body[:2000])
        clips = [pool.submit(api.post, wav(spoken("en", index).samples)) for index in range(N_CLIPS)]
        _wait_for(lambda: "whisper_requests_running 13.0" in api.http.get("/metrics").text)
        server.terminate()
        _wait_for(lambda: httpx.get(f"{server.url}/ready").status_code == 503)
        late = api.post(wav(spoken("en", 1).samples))
        assert late.status_code == 200
        assert late.headers["connection"] == "close"
        half.send(body[2000:])
        assert half.answer().status == 200
        _check_clips(clips)
        assert idle.wait_for_close() == b""
    assert server.popen.wait(60) == 0
    api.close()
    gone, alive = psutil.wait_procs(family, timeout=5 * SLOW)
    assert not alive
    assert len(gone) == len(family)
    assert not list(server.temporary.rglob("*"))
    assert not left_behind(before)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/health")


@pytest.mark.on_ctranslate2(because="a drain ends streams and other requests alike")
def test_a_stream_is_sent_to_its_end_after_sigterm(tmp_path: Path) -> None:
    server = start({"MODEL_CACHE_DIR": str(tmp_path / "models")}, tmp_path)
    wait_until_ready(server)
    api = Api(server.url)
    audio = wav(np.concatenate([np.concatenate([spoken("en", i).samples, silence(1)]) for i in range(16)]))
    events = []
    signalled = threading.Event()
    for event in api.events(audio):
        events.append(event)
        if not signalled.is_set():
            server.terminate()
            signalled.set()
    api.close()
    assert server.popen.wait(60) == 0
    assert events[-1].type == "transcript.text.done"
    assert "".join(event.data["delta"] for event in events[:-1]) == events[-1].data["text"]


def test_a_server_killed_with_sigkill_leaves_no_process_and_no_shared_memory(tmp_path: Path) -> None:
    before = shared_files()
    server = start({"MODEL_CACHE_DIR": str(tmp_path / "models")}, tmp_path)
    wait_until_ready(server)
    family = server.family()
    assert len(family) >= 2
    with pytest.raises(httpx.TransportError), ThreadPoolExecutor(1) as pool:
        pending = pool.submit(
            httpx.post,
            f"{server.url}/v1/audio/transcriptions",
            files={"file": ("a.wav", wav(np.tile(spoken("en", 0).samples, 40)))},
            data=form(),
            timeout=60,
        )
        time.sleep(1)
        server.popen.kill()
        pending.result()
    server.popen.wait()
    _, alive = psutil.wait_procs(family, timeout=10 * SLOW)
    assert not alive
    assert not left_behind(before)


def test_sigterm_while_the_model_loads_ends_the_server_with_0(tmp_path: Path) -> None:
    server = start({"MODEL_CACHE_DIR": str(tmp_path / "models")}, tmp_path)
    _wait_for(lambda: "Listening on" in server.log())
    server.terminate()
    assert server.popen.wait(30) == 0
