"""One process of clients for `gpu_load`: threads that send the same bytes, or one that polls /health.

Uses only the standard library, so that it starts at once and costs little CPU. Prints JSON.

    gpu_clients.py URL BEGIN END send N_CLIENTS BODY_FILE BOUNDARY
    gpu_clients.py URL BEGIN END watch
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HEALTH_PERIOD_S = 0.02
FAILURE_PAUSE_S = 0.5
TIMEOUT_S = 300.0


def send(url: str, begin_s: float, end_s: float, *, n_clients: int, body: bytes, boundary: str) -> dict[str, Any]:
    """`n_clients` clients send one request after the other until `end_s`, and wait for those in flight."""
    spans_s: list[tuple[float, float]] = []
    reasons: list[str] = []
    lengths = [0]
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    host = urlsplit(url).netloc

    def client() -> None:
        connection = http.client.HTTPConnection(host, timeout=TIMEOUT_S)
        while (now_s := time.time()) < end_s:
            try:
                connection.request("POST", "/v1/audio/transcriptions", body, headers)
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                status, text = 0, repr(error).encode()
            else:
                status = answer.status
            if status == http.HTTPStatus.OK:
                spans_s.append((now_s, time.time()))
                lengths[0] = max(lengths[0], len(text))
            else:
                reasons.append(f"{status} {text[:300].decode(errors='replace')}")
                time.sleep(FAILURE_PAUSE_S)

    threads = [threading.Thread(target=client) for _ in range(n_clients)]
    time.sleep(max(0.0, begin_s - time.time()))
    cpu_s = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu_s = time.process_time() - cpu_s
    return {
        "spans_s": spans_s,
        "n_failed": len(reasons),
        "reasons": sorted(set(reasons))[:3],
        "n_characters": lengths[0],
        "cpu_s": cpu_s,
    }


def watch(url: str, begin_s: float, end_s: float) -> list[tuple[float, float]]:
    """(time of a request to /health, seconds until its response)."""
    taken = []
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)
    time.sleep(max(0.0, begin_s - time.time()))
    while (now_s := time.time()) < end_s:
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            connection.close()
            time.sleep(FAILURE_PAUSE_S)  # it took at least so long
        taken.append((now_s, time.time() - now_s))
        time.sleep(HEALTH_PERIOD_S)
    return taken


def main() -> None:
    url, begin_s, end_s, what, *more = sys.argv[1:]
    if what == "watch":
        print(json.dumps(watch(url, float(begin_s), float(end_s))))
        return
    n_clients, path, boundary = more
    body = Path(path).read_bytes()
    sent = send(url, float(begin_s), float(end_s), n_clients=int(n_clients), body=body, boundary=boundary)
    print(json.dumps(sent))


if __name__ == "__main__":
    main()
