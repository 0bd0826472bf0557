"""Where a machine has a proxy, what a cluster has is reached without it."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator

import httpx
import pytest

from cluster_kit import proxies

HOST = "127.0.0.2"
NOBODY = "http://127.0.0.1:1"
"""A proxy that refuses everybody."""


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer((HOST, 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*proxies.PROXIES, *proxies.EXCEPTIONS):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("http_proxy", NOBODY)
    monkeypatch.setenv("no_proxy", "example.com")


def test_clients_reach_a_host_directly_while_no_proxy_names_it(proxied: None, url: str) -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    with proxies.direct("10.99.0.2", HOST):
        assert httpx.get(url).status_code == httpx.codes.NOT_IMPLEMENTED  # by the server: no proxy is there
        if shutil.which("curl"):
            said = subprocess.run(["curl", "-s", url], capture_output=True, text=True, check=True)
            assert "Unsupported method" in said.stdout
        assert os.environ["no_proxy"] == "example.com,10.99.0.2,127.0.0.2"
    assert os.environ["no_proxy"] == "example.com"
    assert "NO_PROXY" not in os.environ


def test_without_a_proxy_there_is_nothing_to_except() -> None:
    assert proxies.exceptions({"NO_PROXY": "example.com"}, (HOST,)) == {}
