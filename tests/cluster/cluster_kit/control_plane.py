"""The components of a control plane, as command lines: kine, apiserver, controller-manager, scheduler and kwok.

Pure: what is started, in which order and how it is found ready is `lifecycle`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cluster_kit.layout import Layout

SERVICE_RANGE = "10.96.0.0/16"
POD_RANGE = "10.200.0.0/16"
"""Addresses of simulated pods, which nobody answers."""
SIMULATED = {"kwok.x-k8s.io/node": "fake"}
"""The annotation of nodes that kwok plays; all others are left alone."""
RATE = ("--kube-api-qps=300", "--kube-api-burst=600")
"""With the defaults, a thousand pods come at five a second."""

SUBJECTS: Mapping[str, str] = {
    "admin": "/O=system:masters/CN=admin",
    "kube-controller-manager": "/CN=system:kube-controller-manager",
    "kube-scheduler": "/CN=system:kube-scheduler",
    "kwok": "/O=system:masters/CN=kwok",
}
"""Who the clients of the apiserver are; each has a certificate and a kubeconfig."""
APISERVER_NAMES = ("localhost", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
APISERVER_SERVICE = "10.96.0.1"


def apiserver_names(layout: Layout) -> str:
    """What its certificate is good for."""
    addresses = ("127.0.0.1", layout.address, APISERVER_SERVICE)
    return ",".join([*(f"DNS:{name}" for name in APISERVER_NAMES), *(f"IP:{address}" for address in addresses)])


def kine(layout: Layout) -> list[str]:
    # Nothing is ever read again after a crash of the machine, so nothing waits for the disk.
    options = "_journal=WAL&cache=shared&_busy_timeout=30000&_pragma=synchronous(OFF)"
    return [
        f"--endpoint=sqlite://{layout.folder / 'state.db'}?{options}",
        f"--listen-address=tcp://127.0.0.1:{layout.datastore_port}",
        "--metrics-bind-address=0",
    ]


def kube_apiserver(layout: Layout) -> list[str]:
    certificates = layout.certificates
    return [
        f"--etcd-servers=http://127.0.0.1:{layout.datastore_port}",
        f"--bind-address={layout.address}",
        f"--secure-port={layout.apiserver_port}",
        f"--advertise-address={layout.advertised}",
        f"--endpoint-reconciler-type={'lease' if layout.is_real else 'none'}",
        f"--tls-cert-file={certificates / 'apiserver.crt'}",
        f"--tls-private-key-file={certificates / 'apiserver.key'}",
        f"--client-ca-file={layout.authority}",
        f"--service-account-key-file={certificates / 'service-accounts.key'}",
        f"--service-account-signing-key-file={certificates / 'service-accounts.key'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--audit-policy-file={layout.audit_policy}",
        f"--audit-log-path={layout.audit_log}",
        "--shutdown-watch-termination-grace-period=1s",  # else whoever watches holds up its end for a minute
        "--profiling=false",
        *(_kubelet_flags(layout) if layout.is_real else ()),
    ]


def _kubelet_flags(layout: Layout) -> list[str]:
    """For logs, exec and port-forward. Its name is in no DNS that the apiserver could ask."""
    return [
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-certificate-authority={layout.authority}",
        f"--kubelet-client-certificate={layout.certificates / 'kubelet-client.crt'}",
        f"--kubelet-client-key={layout.certificates / 'kubelet-client.key'}",
    ]


def kube_controller_manager(layout: Layout) -> list[str]:
    certificates = layout.certificates
    return [
        f"--kubeconfig={layout.kubeconfig_of('kube-controller-manager')}",
        f"--service-account-private-key-file={certificates / 'service-accounts.key'}",
        f"--root-ca-file={layout.authority}",
        f"--cluster-signing-cert-file={layout.authority}",
        f"--cluster-signing-key-file={certificates / 'ca.key'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--secure-port=0",
        "--horizontal-pod-autoscaler-sync-period=3s",
        # By default 50 s: longer without an apiserver, and it may declare the node lost, and its pods not ready, before
        # the kubelet had a chance to say that it lives.
        "--node-monitor-grace-period=150s",
        "--profiling=false",
        *RATE,
    ]


def kube_scheduler(layout: Layout) -> list[str]:
    kubeconfig = layout.kubeconfig_of("kube-scheduler")
    return [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0", "--profiling=false", *RATE]


def kwok(layout: Layout) -> list[str]:
    ((key, value),) = SIMULATED.items()
    return [
        f"--kubeconfig={layout.kubeconfig_of('kwok')}",
        f"--config={layout.stages}",
        f"--manage-nodes-with-annotation-selector={key}={value}",
        "--node-lease-duration-seconds=40",
        f"--cidr={POD_RANGE}",
    ]


COMPONENTS: Mapping[str, Callable[[Layout], list[str]]] = {
    "kine": kine,
    "kube-apiserver": kube_apiserver,
    "kube-controller-manager": kube_controller_manager,
    "kube-scheduler": kube_scheduler,
    "kwok": kwok,
}
"""In the order in which they start."""


def components(layout: Layout) -> Mapping[str, Callable[[Layout], list[str]]]:
    """Those of this cluster: beside a real node, nobody plays nodes."""
    return {name: argv for name, argv in COMPONENTS.items() if name != "kwok" or not layout.is_real}
