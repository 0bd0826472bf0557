"""A long session as users have it: by the cluster's Ingress, spoken in real time into the example that connects again.

Run it on the machine of the pods, whose memory it reads. With TLS, SSL_CERT_FILE names the authority's certificate.
PYTHONPATH=server:runtime:demo:tests/kit python bench/live_by_ingress.py https://HOST/demo/v1 [--minutes 60]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import psutil
from figures import machine

from e2e_kit.speakers import Speaker, programs

REPORT_S = 300.0


def servers_mib() -> list[int]:
    """Of each server on this machine with its processes: what only they hold."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [])[-2:] == ["-m", "whisper_server"]:
            family = [process, *process.children(recursive=True)]
            found.append(round(sum(one.memory_full_info().uss for one in family) / 2**20))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--minutes", type=float, default=60.0)
    args = parser.parse_args()
    print(machine(), flush=True)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        speaker = Speaker(programs(args.url)[0], 0, Path(scratch))
        try:
            speaker.start()
            while (left_s := 60 * args.minutes - (time.monotonic() - began_s)) > 0:
                time.sleep(min(REPORT_S, left_s))
                minutes = (time.monotonic() - began_s) / 60
                said = f"{len(speaker.said)} sentences said, {speaker.n_reconnects} times connected again"
                print(f"{minutes:.0f} min: {said}, servers hold {servers_mib()} MiB", flush=True)
            speaker.finish_sentence()
            speaker.end()
            words = speaker.words()
            n_words = len(words.matched) + len(words.lost)
            lost = f"{len(words.lost)} of {n_words} words lost, {words.n_lost_in_threes} of them in rows of three"
            print(f"{lost}, {len(words.added)} added; connected again {speaker.n_reconnects} times")
        finally:
            speaker.kill()


if __name__ == "__main__":
    main()
