"""How the operator does with many endpoints: time until all are served, then CPU, memory and latency of a change.

    PYTHONPATH=operator:tests/kit:tests/cluster python bench/operator_scale.py --endpoints 1000 --namespaces 50

Starts a test cluster of its own and the operator as a process. The pods are simulated. With --check it fails where a
figure is worse than what issue and README promise of a thousand endpoints.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from cluster_kit import lifecycle, processes
from cluster_kit.cluster import Cluster
from cluster_kit.nodes import Nodes
from operator_kit.end_state import SELECTOR
from operator_kit.endpoints import make_endpoint
from operator_kit.operator_process import OperatorProcess
from whisper_operator.cluster.api import KubernetesCluster
from whisper_operator.cluster.connection import Connection
from whisper_operator.metrics import Metrics
from whisper_operator.resource.crd import make_crd

AT_ONCE = 16
LIMIT_S = 600.0
APPLIED_S, IDLE_SHARE, RSS_MIB, CHANGE_P95_S = 180.0, 0.02, 250.0, 2.0
"""What --check allows."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=1000)
    parser.add_argument("--namespaces", type=int, default=50)
    parser.add_argument("--idle-seconds", type=float, default=120)
    parser.add_argument("--changes", type=int, default=50)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="operator-scale-") as folder:
        layout = lifecycle.up(Path(folder) / "cluster", owner=processes.this_process())
        try:
            cluster = Cluster(layout.kubeconfig, layout.server, layout.folder, layout)
            Nodes(cluster).restore()
            cluster.apply(make_crd())
            cluster.wait(
                lambda: cluster.kubectl("get", "wep", "--all-namespaces") or "none", LIMIT_S, "the CRD is served"
            )
            settings = {"DRIFT_SECONDS": "60", "LEASE_SECONDS": "15", "LOG_LEVEL": "info"}
            operator = OperatorProcess(layout.kubeconfig, Path(folder) / "operator", settings)
            with operator.running():
                measure(cluster, operator, arguments)
        finally:
            lifecycle.down(Path(folder) / "cluster")


def measure(cluster: Cluster, operator: OperatorProcess, arguments: argparse.Namespace) -> None:
    names = [f"load-{number}" for number in range(arguments.namespaces)]
    cluster.apply(*({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names))
    endpoints = [
        make_endpoint({"gpu": {"class": "none"}}, name=f"wep-{number}", namespace=names[number % len(names)])
        for number in range(arguments.endpoints)
    ]
    started_s, cpu_s = time.monotonic(), cpu(operator)
    asyncio.run(create(cluster, endpoints))
    say(f"{len(endpoints)} endpoints made in {time.monotonic() - started_s:.1f} s")
    wait_until_current(cluster, operator, len(endpoints), started_s)
    applied_s = time.monotonic() - started_s
    say(f"all children applied, status current: {applied_s:.1f} s; CPU {cpu(operator) - cpu_s:.1f} s")
    wait_until_idle(operator)
    say(
        f"RSS then: {rss_mib(operator):.0f} MiB; quiet after {time.monotonic() - started_s:.1f} s; CPU {cpu(operator) - cpu_s:.1f} s"
    )
    started_s, cpu_s, before = time.monotonic(), cpu(operator), operator.metrics()
    time.sleep(arguments.idle_seconds)
    share = (cpu(operator) - cpu_s) / (time.monotonic() - started_s)
    idle_rss_mib = rss_mib(operator)
    say(f"idle: {share:.2%} of a core, RSS {idle_rss_mib:.0f} MiB")
    after = operator.metrics()
    moved = {
        name: after[name] - before.get(name, 0)
        for name in after
        if name[0].endswith("_total") and after[name] != before.get(name, 0)
    }
    say(f"  meanwhile: {moved}")
    delays = sorted(change(cluster, endpoints[number]) for number in range(min(arguments.changes, len(endpoints))))
    p95_s = delays[int(0.95 * (len(delays) - 1))]
    say(f"a change is applied in {statistics.median(delays):.2f} s (median), {p95_s:.2f} s (p95)")
    operator.kill()
    operator.start()
    started_s = time.monotonic()
    operator.wait_until_leading(LIMIT_S)
    wait_until_idle(operator)
    say(f"after a restart: all looked at in {time.monotonic() - started_s:.1f} s; RSS {rss_mib(operator):.0f} MiB")
    say(
        json.dumps(
            {f"{name}{labels}": n for (name, labels), n in operator.metrics().items() if "applies_total" in name}
        )
    )
    figures = (applied_s, share, idle_rss_mib, p95_s)
    if arguments.check and any(
        figure > limit for figure, limit in zip(figures, (APPLIED_S, IDLE_SHARE, RSS_MIB, CHANGE_P95_S), strict=True)
    ):
        raise SystemExit("worse than promised")


def wait_until_current(cluster: Cluster, operator: OperatorProcess, n_endpoints: int, started_s: float) -> None:
    """The operator's own count first, which costs no request; then the API server's word."""
    while time.monotonic() - started_s < LIMIT_S:
        time.sleep(0.5)
        counted = operator.metrics().items()
        told = sum(n for (name, labels), n in counted if name == "endpoints" and 'reason=""' not in labels)
        if told < n_endpoints:
            continue
        listed = cluster.find("wep")
        current = [one for one in listed if (one.get("status") or {}).get("observedGeneration") == 1]
        children = [len(cluster.find(kind, selector=SELECTOR)) for kind in ("deployments.apps", "poddisruptionbudgets")]
        if len(current) == n_endpoints and min(children) == n_endpoints:
            return
    raise SystemExit(f"after {LIMIT_S:.0f} s not all of {n_endpoints} endpoints are current")


def wait_until_idle(operator: OperatorProcess) -> None:
    """Until nothing was written for five seconds."""
    before, quiet_since = -1.0, time.monotonic()
    while time.monotonic() - quiet_since < 5:
        now = sum(n for (name, _), n in operator.metrics().items() if name == "applies_total")
        if now != before:
            before, quiet_since = now, time.monotonic()
        time.sleep(0.5)


def change(cluster: Cluster, endpoint: dict[str, Any]) -> float:
    """Seconds from the changed spec to the changed Deployment."""
    metadata = endpoint["metadata"]
    patch = json.dumps({"spec": {"replicas": 2}})
    watch = subprocess.Popen(
        [*watch_command(cluster), "deployment", metadata["name"], f"--namespace={metadata['namespace']}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watch.stdout is not None
    watch.stdout.readline()
    started_s = time.monotonic()
    cluster.kubectl(
        "patch", "wep", metadata["name"], f"--namespace={metadata['namespace']}", "--type=merge", f"-p={patch}"
    )
    for line in watch.stdout:
        if line.strip() == "2":
            break
    took_s = time.monotonic() - started_s
    watch.kill()
    watch.wait()
    watch.stdout.close()
    return took_s


def watch_command(cluster: Cluster) -> list[str]:
    from cluster_kit import tools

    return [
        str(tools.path("kubectl")),
        f"--kubeconfig={cluster.kubeconfig}",
        "get",
        "-w",
        "-ojsonpath={.spec.replicas}{'\\n'}",
    ]


async def create(cluster: Cluster, endpoints: list[dict[str, Any]]) -> None:
    """Faster than kubectl, which would take longer than the operator."""
    connection = Connection(str(cluster.kubeconfig), "", AT_ONCE)
    await connection.load()
    api = KubernetesCluster(connection, Metrics(), "bench")
    waiting = iter(endpoints)

    async def work() -> None:
        for endpoint in waiting:
            await api.create(endpoint)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    await connection.close()


def cpu(operator: OperatorProcess) -> float:
    times = operator.process.cpu_times()
    return float(times.user + times.system)


def rss_mib(operator: OperatorProcess) -> float:
    return float(operator.process.memory_info().rss / 2**20)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
