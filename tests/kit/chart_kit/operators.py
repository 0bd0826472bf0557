"""The operator as a release has it, run as a process: under the release's account, with the release's settings.

Pods of the test cluster are played, so the Deployment's pod does nothing; this process does its work with no more
rights than the pod would have.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from chart_kit.charts import environment
from chart_kit.releases import Release
from operator_kit.operator_process import QUICK, OperatorProcess

NOT_THE_PODS = {"INTERFACE", "PORT", "OPERATOR_NAMESPACE", "IDENTITY", "DEFAULTS_FILE"}


def operator_of(release: Release, folder: Path, settings: Mapping[str, str] | None = None) -> OperatorProcess:
    """As the Deployment is now. Periods are shortened; `settings` win over all."""
    cluster = release.cluster
    deployment = cluster.get("deployment", release.fullname, release.namespace)
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    folder.mkdir(parents=True, exist_ok=True)
    defaults = folder / "defaults.json"
    defaults.write_text(
        cluster.get("configmap", f"{release.fullname}-defaults", release.namespace)["data"]["defaults.json"]
    )
    chosen = {
        name: value for name, value in environment([deployment]).items() if name not in NOT_THE_PODS and value != ""
    }
    own = {"OPERATOR_NAMESPACE": release.namespace, "DEFAULTS_FILE": str(defaults)}
    kubeconfig = cluster.user_kubeconfig(account, release.namespace)
    return OperatorProcess(kubeconfig, folder, {**chosen, **QUICK, **own, **(settings or {})})
