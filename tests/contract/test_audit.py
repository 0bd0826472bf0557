"""`make audit`: the real pip-audit against an OSV server of the test's own, and without any."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
HASH = f"--hash=sha256:{'0' * 64}"


@contextmanager
def osv(answers: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Vulnerabilities by package, as OSV's `/v1/query` answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            body = json.dumps({"vulns": answers.get(asked["package"]["name"], [])}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def vulnerability(name: str) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}]
    affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": ranges, "versions": ["1.0"]}]
    return {"id": "GHSA-0000", "aliases": ["CVE-2026-0000"], "summary": "bad", "affected": affected}


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "some.lock"
    path.write_text("".join(f"{name}==1.0 \\\n    {HASH}\n" for name in ("good-package", "bad-package")))
    return path


def audit(lock: Path, osv_url: str) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / "scripts/audit.py"), f"--osv-url={osv_url}", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_vulnerability_fails_the_audit_by_name(lock: Path) -> None:
    with osv({"bad-package": [vulnerability("bad-package")]}) as url:
        code, said = audit(lock, url)
    assert code == 1
    assert f"{lock}: 2 packages, 1 vulnerabilities" in said
    assert "bad-package 1.0: CVE-2026-0000 GHSA-0000, fixed in 2.0" in said


def test_audit_without_a_service_says_that_it_is_skipped(lock: Path) -> None:
    with osv({}) as url:
        pass
    assert audit(lock, url) == (
        0,
        "audit: skipped: no service can be asked about vulnerabilities (osv: ConnectionError)\n",
    )
