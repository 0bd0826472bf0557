"""Death of vLLM's processes and cancellation of their requests.

The API tests' server serves here too, because a start of vLLM takes a minute of a processor; the last test kills it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest

from server_kit.api import Api, form
from server_kit.heard import TIMED
from server_kit.process import ServerProcess, name_of
from speech_kit.recordings import join
from speech_kit.scores import word_errors
from speech_kit.sentences import spoken
from speech_kit.sounds import wav
from suite_kit.slow import IN_SHORT, SLOW

AT_ONCE_S = 5.0 * SLOW
N_REQUESTS = 4


@pytest.fixture(scope="module")
def long() -> bytes:
    """Five minutes, before a release a quarter of an hour: vLLM's CPU build takes longer than any wait in these tests."""
    return wav(np.tile(join([spoken("en", index) for index in range(20)], seed=3).samples, 3 if IN_SHORT else 10))


def _vllm_processes(server: ServerProcess) -> list[psutil.Process]:
    return [process for process in server.family() if name_of(process).startswith("VLLM::")]


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(float(sum(process.cpu_times()[:2])) for process in processes)


def _wait_for(condition: Callable[[], bool], limit_s: float) -> float:
    """Seconds until the condition is true."""
    begin_s = time.monotonic()
    while not condition():
        assert time.monotonic() - begin_s < limit_s * SLOW, f"the condition is not true after {limit_s} s"
        time.sleep(0.02)
    return time.monotonic() - begin_s


def _is_idle(processes: list[psutil.Process]) -> bool:
    before_s = _cpu_s(processes)
    time.sleep(1)
    return _cpu_s(processes) - before_s < 0.05


def test_disconnected_client_removes_its_request_from_vllm(
    server: ServerProcess, long: bytes, figure: Callable[[str], None]
) -> None:
    processes = _vllm_processes(server)
    _wait_for(lambda: _is_idle(processes), 30)
    idle_s = _cpu_s(processes)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/audio/transcriptions", files={"file": ("long.wav", long)}, data=form(), timeout=4)
    took_s = _wait_for(lambda: _is_idle(processes), 20)
    figure(
        f"vLLM is idle {took_s:.1f} s after a client disconnects, and has computed for {_cpu_s(processes) - idle_s:.1f} s"
    )
    assert _cpu_s(processes) > idle_s + 0.5
    api = Api(server.url)
    assert word_errors([spoken("en", 0).text], [api.text(wav(spoken("en", 0).samples))]).n_edits <= 1
    api.close()


def test_dead_engine_gives_503_at_once_and_the_server_stops(
    server: ServerProcess, long: bytes, figure: Callable[[str], None]
) -> None:
    api = Api(server.url)
    processes = _vllm_processes(server)
    (core,) = [process for process in processes if name_of(process) == "VLLM::EngineCore"]
    busy_s = _cpu_s(processes) + 1.0

    def post(index: int) -> tuple[httpx.Response, float]:
        answer = api.post(long, **({}, TIMED, {"response_format": "srt"}, {"response_format": "text"})[index])
        return answer, time.monotonic()

    with ThreadPoolExecutor(N_REQUESTS) as pool:
        pending = [pool.submit(post, index) for index in range(N_REQUESTS)]
        _wait_for(lambda: api.metric("whisper_requests_running") == N_REQUESTS and _cpu_s(processes) > busy_s, 60)
        os.kill(core.pid, signal.SIGKILL)
        killed_s = time.monotonic()
        health_s = _wait_for(lambda: api.http.get("/health").status_code == 503, AT_ONCE_S)
        assert api.http.get("/ready").status_code == 503
        answers = [each.result() for each in pending]
    delays_s = [answered_s - killed_s for _, answered_s in answers]
    figure(f"vLLM killed: /health is 503 after {health_s:.2f} s, requests after {max(delays_s):.2f} s")
    assert max(delays_s) < AT_ONCE_S
    for answer, _ in answers:
        _check_refusal(answer)

    begin_s = time.monotonic()
    _check_refusal(api.post(wav(spoken("en", 0).samples)))
    _check_refusal(api.post(wav(spoken("en", 0).samples), stream="true"))
    assert time.monotonic() - begin_s < AT_ONCE_S
    assert api.metric("whisper_requests_running") == 0
    assert psutil.wait_procs(processes, 15)[1] == []
    api.close()

    server.terminate()
    begin_s = time.monotonic()
    assert server.popen.wait(30) == 0
    figure(f"a server with a dead engine ends {time.monotonic() - begin_s:.1f} s after SIGTERM")


def _check_refusal(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("server_error", "engine_dead", None)
    assert "dead" in error["message"]
