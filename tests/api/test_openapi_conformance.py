"""The running server against its own document: schemathesis finds no 5xx and no answer that is not documented."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import httpx

from speech_kit.sentences import spoken
from speech_kit.sounds import wav
from suite_kit.slow import IN_SHORT

HOOKS = Path(__file__).parents[1] / "clients" / "schemathesis"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


METHODS = {"get", "post", "put", "delete", "patch", "head", "options"}


def test_every_answer_is_documented(base_url: str, tmp_path: Path) -> None:
    clip = tmp_path / "clip.wav"
    clip.write_bytes(wav(spoken("en", 0).samples[:8000]))
    ended = subprocess.run(
        [
            str(Path(sysconfig.get_path("scripts")) / "schemathesis"),
            *("run", f"{base_url}/openapi.json"),
            *("--checks", ",".join(CHECKS)),
            *("--phases", "examples,coverage,fuzzing"),
            # By number, not by --max-time: a busy machine would try fewer.
            *("--max-examples", "4" if IN_SHORT else "25", "--workers", "4", "--seed", "1"),
            *("--request-timeout", "120", "--generation-database", "none", "--no-color", "--continue-on-failure"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(HOOKS), "SCHEMATHESIS_HOOKS": "clip_hooks", "CLIP": str(clip)},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=400,
        check=False,
    )
    # The commands that reproduce a failure hold whole recordings.
    shown = "\n".join(line[:500] for line in ended.stdout.splitlines())
    assert ended.returncode == 0, shown[-20_000:] + ended.stderr[-2000:]
    tested = re.search(r"Tested: (\d+)", ended.stdout)
    cases = re.search(r"(\d+) generated, (\d+) passed", ended.stdout)
    assert tested is not None
    assert cases is not None
    assert int(tested[1]) >= len(_operations(base_url)) - 1  # it leaves out the document itself
    assert int(cases[1]) == int(cases[2]) >= (60 if IN_SHORT else 100)


def _operations(base_url: str) -> list[str]:
    document = httpx.get(f"{base_url}/openapi.json").json()
    return [
        f"{method} {path}" for path, methods in document["paths"].items() for method in methods if method in METHODS
    ]
