"""The components of a real node, as command lines and the files that these name.

Pure but for `write_files`. In which order they start, and how the node is found ready, is `bring_up`'s business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from cluster_kit import certificates, dns, tools
from cluster_kit.ingress import components as ingress
from cluster_kit.layout import Layout
from cluster_kit.real_node import cgroups, packages, pause_image
from cluster_kit.real_node.sandbox import POD_RANGE

NAME = "whisper-node"
DNS_ADDRESS = "10.96.0.10"
DOMAIN = "cluster.local"
SOCKET = "unix:///run/containerd/containerd.sock"
KUBELET_CLIENT = "kubelet-client"
SUBJECTS: Mapping[str, str] = {
    "kubelet": f"/O=system:nodes/CN=system:node:{NAME}",
    "kube-proxy": "/CN=system:kube-proxy",
    KUBELET_CLIENT: "/O=system:masters/CN=kube-apiserver-kubelet-client",
    **dns.SUBJECTS,
    **ingress.SUBJECTS,
}
"""Who the node's components are to the apiserver, and the apiserver to the kubelet."""


def containerd(layout: Layout) -> list[str]:
    return ["containerd", f"--config={layout.node / 'containerd.toml'}"]


def kubelet(layout: Layout) -> list[str]:
    return [
        str(tools.path("kubelet")),
        f"--config={layout.node / 'kubelet.json'}",
        f"--kubeconfig={layout.kubeconfig_of('kubelet')}",
        f"--hostname-override={NAME}",
        f"--node-ip={layout.node_address}",
    ]


def kube_proxy(layout: Layout) -> list[str]:
    return [
        str(tools.path("kube-proxy")),
        f"--kubeconfig={layout.kubeconfig_of('kube-proxy')}",
        f"--hostname-override={NAME}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={POD_RANGE}",
        # These would be written for the whole machine.
        "--conntrack-max-per-core=0",
        "--conntrack-min=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
        "--oom-score-adj=0",
    ]


COMPONENTS: Mapping[str, Callable[[Layout], list[str]]] = {
    "containerd": containerd,
    "kubelet": kubelet,
    "kube-proxy": kube_proxy,
    **dns.COMPONENTS,
    **ingress.COMPONENTS,
}
"""In the order in which they start; all live in the sandbox."""

CONTAINERD = """version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true # without CAP_SYS_RESOURCE, runc could not lower it
enable_unprivileged_ports = true # as Docker does it: port 80 for whoever wants it
enable_unprivileged_icmp = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{network}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
"""
NETWORK: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {
            "type": "ptp",  # every packet passes the node's rules, which between two ports of a bridge is a matter of luck
            "ipam": {"type": "host-local", "subnet": POD_RANGE, "routes": [{"dst": "0.0.0.0/0"}]},
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


def kubelet_configuration(layout: Layout) -> dict[str, Any]:
    keys = layout.certificates
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(keys / "kubelet-serving.crt"),
        "tlsPrivateKeyFile": str(keys / "kubelet-serving.key"),
        "containerRuntimeEndpoint": SOCKET,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroups.root(layout),
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": DOMAIN,
        "resolvConf": "",
        # The disk is this machine's, however full: only what pods may use is held against them.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "volumeStatsAggPeriod": "10s",  # how soon a full emptyDir is noticed; a minute otherwise
    }


def write_files(layout: Layout) -> None:
    """Certificates, kubeconfigs and configurations."""
    for name, subject in SUBJECTS.items():
        certificates.make_certificate(layout, name, subject)
        certificates.write_kubeconfig(
            layout.kubeconfig_of(name),
            server=layout.server,
            authority=certificates.packed_authority(layout),
            user=certificates.with_certificate(layout, name),
        )
    addresses = f"IP:{layout.node_address},DNS:{NAME}"
    certificates.make_certificate(layout, "kubelet-serving", f"/CN={NAME}", addresses=addresses)
    network = layout.node / "network"
    network.mkdir()
    (network / "pods.conflist").write_text(json.dumps(NETWORK))
    (layout.node / "containerd.toml").write_text(
        CONTAINERD.format(pause=pause_image.NAME, plugins=packages.CNI_PLUGINS, network=network)
    )
    (layout.node / "kubelet.json").write_text(json.dumps(kubelet_configuration(layout)))
    pause_image.write(layout.node / "pause.tar", tools.path("pause"))
    dns.write_files(layout, DOMAIN)
    ingress.write_files(layout)


def dns_service(layout: Layout) -> list[dict[str, Any]]:
    """The address that pods ask for names. Who answers is on the node, at port 53."""
    metadata = {"name": "kube-dns", "namespace": "kube-system"}
    ports = [{"name": f"dns-{kind.lower()}", "port": 53, "protocol": kind} for kind in ("UDP", "TCP")]
    service = {"clusterIP": DNS_ADDRESS, "ports": ports}
    slice_metadata = {**metadata, "labels": {"kubernetes.io/service-name": metadata["name"]}}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": slice_metadata,
            "addressType": "IPv4",
            "endpoints": [{"addresses": [layout.node_address]}],
            "ports": ports,
        },
    ]
