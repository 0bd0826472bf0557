"""Settings that change what an answer is: forced language, timestamps, windows, keys, prefix, names."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from server_kit.api import Api
from server_kit.process import ServerProcess, StartServer, free_port
from speech_kit.recordings import join
from speech_kit.scores import word_errors
from speech_kit.sentences import spoken
from speech_kit.sounds import wav

KEY = "a key that is hard to guess"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "team-a").write_text(KEY + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def special(start_server: StartServer, keys: Path, metrics_port: int) -> Iterator[ServerProcess]:
    settings = {
        "LANGUAGE_FORCE": "de",
        "TIMESTAMPS": "segments",
        "WHISPER_SEGMENT_DURATION_SEC": "10",
        "API_KEYS_DIR": str(keys),
        "ROOT_PATH": "/speech",
        "SERVED_MODEL_NAMES": "our-whisper,team/whisper",
        "METRICS_PORT": str(metrics_port),
    }
    with start_server(settings) as process:
        yield process


@pytest.fixture(scope="module")
def special_api(special: ServerProcess) -> Iterator[Api]:
    api = Api(special.url, key=KEY)
    yield api
    api.close()


def test_a_forced_language_is_used_and_reported_whatever_is_asked_for(special_api: Api) -> None:
    utterance = spoken("de", 2)
    asked: list[dict[str, Any]] = [{}, {"language": "en"}, {"languages": ["ru", "en"]}]
    for fields in asked:
        answer = special_api.verbose(wav(utterance.samples), model="our-whisper", **fields)
        assert answer["language"] == "german"
        assert word_errors([utterance.text], [answer["text"]]).rate <= 0.25
    assert special_api.verbose(wav(spoken("en", 2).samples), model="our-whisper")["language"] == "german"


def test_a_shorter_window_is_the_longest(special_api: Api) -> None:
    recording = join([spoken("de", index) for index in range(8)], seed=9)
    answer = special_api.verbose(wav(recording.samples), model="our-whisper")
    starts_s = sorted({segment["seek"] / 100 for segment in answer["segments"]})
    assert len(starts_s) >= recording.duration_s / 10
    assert all(after_s - before_s <= 10.0 for before_s, after_s in pairwise(starts_s))
    assert word_errors([recording.text], [answer["text"]]).rate <= 0.10


def test_no_key_and_a_wrong_key_are_refused(special: ServerProcess, clip: bytes) -> None:
    for key in (None, "wrong", KEY + "x", "."):
        stranger = Api(special.url, key=key)
        answer = stranger.post(clip, model="our-whisper")
        stranger.close()
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_new_key_is_accepted_without_a_restart(special: ServerProcess, keys: Path) -> None:
    newcomer = Api(special.url, key="second key")
    assert newcomer.http.get("/v1/models").status_code == 401
    (keys / "team-b").write_text("second key", encoding="utf-8")
    try:
        statuses = [newcomer.http.get("/v1/models").status_code for _ in _for_seconds(8)]
        assert statuses[-1] == 200
    finally:
        (keys / "team-b").unlink()
        newcomer.close()


def _for_seconds(limit_s: float) -> Iterator[None]:
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        yield
        time.sleep(0.5)


def test_only_the_names_set_are_served(special_api: Api, clip: bytes) -> None:
    names = [model["id"] for model in special_api.http.get("/v1/models").json()["data"]]
    assert names[:2] == ["our-whisper", "team/whisper"]
    assert special_api.http.get("/v1/models/team/whisper").json()["id"] == "team/whisper"
    assert special_api.post(clip, model="whisper-1").status_code == 404
    assert special_api.post(clip, model="team/whisper").status_code == 200


def test_everything_is_served_below_the_prefix(special: ServerProcess, metrics_port: int) -> None:
    origin = special.url.removesuffix("/speech")
    assert httpx.get(f"{special.url}/docs", follow_redirects=True).status_code == 200
    assert httpx.get(f"{special.url}/openapi.json").status_code == 200
    assert httpx.get(f"{origin}/v1/models").status_code == 404
    assert httpx.get(f"{origin}/health").status_code == 200
    assert httpx.get(f"{special.url}/ready").status_code == 200
    assert httpx.get(f"{special.url}/metrics").status_code == 404
    assert "whisper_requests_total" in httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").text


def test_keys_are_not_in_the_log(special: ServerProcess, special_api: Api) -> None:
    assert special_api.http.get("/v1/models").status_code == 200
    log = special.log()
    assert "/speech" in log or "listening" in log.lower()
    assert KEY not in log
    assert "second key" not in log
