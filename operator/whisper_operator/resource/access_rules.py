"""CEL rules about clients, network and routes; see `rules`. Data only."""

from __future__ import annotations

from whisper_operator.resource.rule import Rule

_NO_DOTS = "!self.matches('/[.][.]?(/|$)')"
_SEGMENTS = "write a path without the segments . and .., such as /speech"

_LETS_SOMETHING_OUT = (
    "self.access.networkPolicy.egress != 'none'"
    " || (has(self.access.networkPolicy.to) && self.access.networkPolicy.to.size() > 0)"
)

ACCESS_RULES: tuple[Rule, ...] = (
    Rule(
        at="spec.exposure",
        rule="has(self.ingress) != has(self.gateway)",
        message="write exactly one of ingress and gateway",
    ),
    *(
        Rule(
            at="spec.service",
            field=field,
            rule=f"!has(self.{field}) || self.type == 'LoadBalancer'",
            message="it is for load balancers: write type LoadBalancer, or leave it out",
        )
        for field in ("loadBalancerClass", "loadBalancerSourceRanges")
    ),
    Rule(
        at="spec.service",
        field="loadBalancerClass",
        rule=(
            "self.type != 'LoadBalancer' || oldSelf.type != 'LoadBalancer' || (has(self.loadBalancerClass) =="
            " has(oldSelf.loadBalancerClass) && (!has(self.loadBalancerClass) || self.loadBalancerClass =="
            " oldSelf.loadBalancerClass))"
        ),
        message="it cannot be changed: write type ClusterIP first (the load balancer is deleted), then LoadBalancer with the other class",
    ),
    Rule(
        at="spec.exposure.ingress",
        field="host",
        rule="!has(self.tls) || has(self.host)",
        message="a certificate is for a host: write the host that tls.secretName is for, or leave tls out",
    ),
    Rule(
        at="spec.exposure.ingress.host",
        rule="!self.matches('^[0-9.]+$')",
        message="write a host name such as speech.example.com, not an address; left out, any host is served",
    ),
    *(Rule(at=f"spec.exposure.{way}.path", rule=_NO_DOTS, message=_SEGMENTS) for way in ("ingress", "gateway")),
    Rule(
        at="spec.exposure.gateway.parentRefs",
        rule="self.all(one, self.exists_one(other, other == one))",
        message="write each parent once: two of the same Gateway differ in sectionName or port",
    ),
    Rule(
        at="spec.exposure.gateway.hostnames[]",
        rule="!self.matches('^[0-9.]+$')",
        message="write a host name such as speech.example.com, not an address",
    ),
    Rule(
        at="spec.access",
        field="quotas.maxBytes",
        rule="!has(self.quotas) || !has(self.quotas.maxBytes) || self.quotas.maxBytes >= (has(self.maxUploadBytes) ? self.maxUploadBytes : 26214400)",
        message="it must hold one upload: write maxUploadBytes (26214400 if it is absent) or more",
    ),
    Rule(
        at="spec.access.networkPolicy",
        field="from",
        rule="self.enabled || ((!has(self.from) || self.from.size() == 0) && (!has(self.egress) || self.egress == 'any'))",
        message="without a NetworkPolicy nothing is narrowed: write enabled true, or leave from and egress out",
    ),
    Rule(
        at="spec.access.networkPolicy",
        field="to",
        rule="!has(self.to) || self.to.size() == 0 || (self.enabled && self.egress != 'any')",
        message="egress any lets everything through: write egress hub or none (and enabled true), or leave to out",
    ),
    Rule(
        at="spec",
        field="access.networkPolicy.egress",
        rule=f"!has(self.cache) || !self.cache.preload || {_LETS_SOMETHING_OUT}",
        message="cache.preload downloads the model, and none lets nothing through: write hub, or write in to where the model is, or leave preload out",
    ),
    Rule(
        at="spec",
        field="access.networkPolicy.egress",
        rule=(
            f"{_LETS_SOMETHING_OUT}"
            " || self.model.id == 'demo' || self.model.id.startsWith('/') || has(self.pod.initContainers) || has(self.pod.sidecars)"
            " || (has(self.cache) && (has(self.cache.persistentVolumeClaim) || has(self.cache.existingClaim)))"
        ),
        message="each pod downloads the model, and none lets nothing through: write hub, or write in to where the model is, or keep it in cache.existingClaim or cache.image",
    ),
    *(
        Rule(
            at=f"spec.access.networkPolicy.{peers}[]",
            rule="has(self.ipBlock) ? !(has(self.podSelector) || has(self.namespaceSelector)) : (has(self.podSelector) || has(self.namespaceSelector))",
            message="write either ipBlock, or podSelector, namespaceSelector or both",
        )
        for peers in ("from", "to")
    ),
)
