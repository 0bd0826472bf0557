"""A decoder that was taken over gets nowhere in the image either, and in a pod as PodSecurity `restricted` lets it in."""

from __future__ import annotations

from audio_kit.escapes import ESCAPED, ESCAPES
from cluster_kit.cluster import Document
from e2e_kit import escapes
from e2e_kit.containers import Image, running
from e2e_kit.ground import Ground

KILLED = dict.fromkeys(ESCAPES, "SIGSYS")
POSSIBLE_WITHOUT = ("read_passwd", "write_file", "exec", "fork", "kill_parent")
"""In a container; so that no attempt is stopped because it is badly made."""
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


def in_sandbox(found: dict[str, list[str]]) -> dict[str, str]:
    return {name: inside for name, (inside, _) in found.items()}


def test_escapes_from_a_decoder_are_killed_in_the_image(server: Image) -> None:
    with running(server, {}, command=escapes.command(server.volumes[0]), network="own") as container:
        printed, _ = container.popen.communicate(timeout=120)
    found = escapes.outcomes(printed)
    assert in_sandbox(found) == KILLED
    assert {name: found[name][1] for name in POSSIBLE_WITHOUT} == dict.fromkeys(POSSIBLE_WITHOUT, ESCAPED)


def test_escapes_from_a_decoder_are_killed_in_a_restricted_pod(operator: Ground, namespace: str, server: Image) -> None:
    """`restricted` asks for the container runtime's own seccomp profile, which the decoder's comes on top of."""
    cluster = operator.cluster
    cluster.apply(_pod(server.name, namespace))

    def phase() -> str | None:
        status = cluster.get("pod", "escapes", namespace).get("status", {})
        return status["phase"] if status.get("phase") in {"Succeeded", "Failed"} else None

    ended = cluster.wait(phase, 180, "the attempts in the pod have ended")
    printed = cluster.kubectl("logs", "escapes", f"--namespace={namespace}")
    assert ended == "Succeeded", printed
    found = escapes.outcomes(printed)
    assert in_sandbox(found) == KILLED
    possible = (*POSSIBLE_WITHOUT, "read_service_account_token")
    assert {name: found[name][1] for name in possible} == dict.fromkeys(possible, ESCAPED)


def _pod(image: str, namespace: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "escapes", "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 12345,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "server",
                    "image": image,
                    "imagePullPolicy": "Never",
                    "command": escapes.command("/scratch", read_service_account_token=TOKEN),
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                }
            ],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    }
