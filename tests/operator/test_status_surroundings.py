"""Missing Secrets and refused objects: the message and its condition."""

from __future__ import annotations

import pytest

from operator_kit import live_objects as live
from operator_kit import live_pods
from operator_kit.judgements import judged, message, short, snapshot_of
from operator_kit.situation import KEYS, MISSING, one_pod, refused, serving
from whisper_operator.snapshot import Presence, SecretLookup


@pytest.mark.parametrize(
    ("lookup", "told"),
    [
        (
            SecretLookup(presence=Presence.PRESENT, keys=frozenset({"a", "b"})),
            "Secret hub has no key token, only a, b (model.tokenSecretRef). Add it: `kubectl edit secret hub -n team-a`.",
        ),
        (
            SecretLookup(presence=Presence.PRESENT, keys=frozenset({"token"}), empty=frozenset({"token"})),
            "Key token of Secret hub has no value (model.tokenSecretRef). Add it: `kubectl edit secret hub -n team-a`.",
        ),
        (
            SecretLookup(presence=Presence.PRESENT),
            "Secret hub has no key token (model.tokenSecretRef). Add it: `kubectl edit secret hub -n team-a`.",
        ),
    ],
)
def test_secret_without_the_key_is_reported(lookup: SecretLookup, told: str) -> None:
    token = {"model": {"tokenSecretRef": {"name": "hub", "key": "token"}}}
    assert message(judged(token, one_pod(live_pods.loading(), secrets={"hub": lookup}))) == told


def test_api_key_secret_without_keys_is_reported() -> None:
    status = judged(KEYS, serving(secrets={"clients": SecretLookup(presence=Presence.PRESENT)}))
    assert message(status).startswith(
        "Secret clients has no keys, so that no client is let in (access.apiKeysSecretRef)."
    )


def test_api_key_secret_without_values_is_reported() -> None:
    names = frozenset({"a", "b"})
    some = SecretLookup(presence=Presence.PRESENT, keys=names, empty=frozenset({"a"}))
    assert short(judged(KEYS, serving(secrets={"clients": some})))["Ready"] == "True Ready"
    none = SecretLookup(presence=Presence.PRESENT, keys=names, empty=names)
    assert message(judged(KEYS, serving(secrets={"clients": none}))).startswith(
        "Secret clients has no value in any of its keys, so that no client is let in (access.apiKeysSecretRef)."
    )


def test_secret_of_a_variable_may_be_empty() -> None:
    env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "x", "key": "k"}}}]
    empty = SecretLookup(presence=Presence.PRESENT, keys=frozenset({"k"}), empty=frozenset({"k"}))
    assert short(judged({"pod": {"env": env}}, serving(secrets={"x": empty})))["Ready"] == "True Ready"


def test_missing_pull_secret_counts_only_while_a_pod_is_down() -> None:
    spec = {"pod": {"imagePullSecrets": [{"name": "registry"}]}}
    missing = {"secrets": {"registry": MISSING}}
    assert short(judged(spec, serving(**missing)))["Ready"] == "True Ready"
    status = judged(spec, one_pod(live_pods.waiting("ErrImagePull", "401 Unauthorized"), **missing))
    assert message(status).startswith("Secret registry is not there in namespace team-a (pod.imagePullSecrets[0]).")


def test_missing_secret_of_a_variable_is_reported() -> None:
    env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "x", "key": "k"}}}]
    env += [{"name": "Y", "valueFrom": {"secretKeyRef": {"name": "y", "key": "k", "optional": True}}}]
    snapshot = one_pod(live_pods.loading(), secrets={"x": MISSING, "y": MISSING})
    assert message(judged({"pod": {"env": env}}, snapshot)).startswith(
        "Secret x is not there in namespace team-a (pod.env[0])."
    )


def test_refusal_appears_in_the_condition_of_its_kind() -> None:
    quota = 'services "speech" is forbidden: exceeded quota: few, requested: services=1, used: services=1, limited: services=1'
    status = judged({}, serving(refusals=(refused("Service", "speech", 403, "Forbidden", quota),)))
    assert short(status)["Progressing"] == short(status)["Ready"] == "False QuotaExceeded"
    ingress = {"exposure": {"ingress": {"className": "contour"}}}
    denied = refused("Ingress", "speech", 403, "Forbidden", 'ingresses "speech" is forbidden: not in this namespace')
    status = judged(ingress, serving(refusals=(denied,), ingress_class=live.ingress_class("contour")))
    assert short(status)["Exposed"] == "False Forbidden"
    assert short(status)["Progressing"] == "True RolledOut"
    scaled = {"autoscaling": {"maxReplicas": 2, "metric": "cpu", "target": 80}}
    denied = refused("HorizontalPodAutoscaler", "speech", 403, "Forbidden", 'cannot patch resource "hpa"')
    status = judged(scaled, serving(refusals=(denied,)))
    assert short(status)["Autoscaling"] == "False Forbidden"
    assert short(status)["Ready"] == "True Ready"
    assert message(status, "Autoscaling").endswith("The operator lacks this right: see its ClusterRole (or Role).")


@pytest.mark.parametrize(
    "words",
    [
        'Pod "speech-a" is invalid: spec.containers[0].resources.requests: Invalid value: "4Gi": must be less than or equal to memory limit of 1Gi',
        'pods "speech-a" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi',
        "maximum memory usage per Pod is 1Gi, but limit is 2Gi",
    ],
)
def test_limit_range_that_refuses_a_pod_is_named(words: str) -> None:
    status = judged({}, snapshot_of(live.deployment(total=0, failure=words)))
    assert short(status)["Ready"] == "False Forbidden"
    assert "LimitRange" in message(status)
    assert "pod.resources" in message(status)


@pytest.mark.parametrize("words", ['pods "speech-{}" is forbidden: exceeded quota: x', 'Pod "speech-{}" is invalid: x'])
def test_refusal_omits_the_changing_pod_name(words: str) -> None:
    one, other = (
        judged({}, snapshot_of(live.deployment(total=0, failure=words.format(tail)))) for tail in ("aaaaa", "bbbbb")
    )
    assert one == other


def test_long_message_is_truncated() -> None:
    status = judged({}, one_pod(live_pods.waiting("CreateContainerError", "word " * 1000)))
    assert len(message(status)) < 1024
    assert message(status).endswith(f"See `kubectl describe pod -n team-a {'speech-5c9-aaaaa'}`."), "the advice is kept"
