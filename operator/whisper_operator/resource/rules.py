"""CEL rules between fields: the API server refuses a spec that breaks one, and its message says what to write instead.

A rule is on the deepest object that holds all its fields. So an old endpoint that breaks a new rule can still be changed in
other places (ratcheting). Data only; rules about the pod are in `pod_rules`, those about clients and routes in `access_rules`.
"""

from __future__ import annotations

from whisper_operator.resource.access_rules import ACCESS_RULES
from whisper_operator.resource.container_rules import CONTAINER_RULES
from whisper_operator.resource.model_rules import MODEL_RULES
from whisper_operator.resource.pod_rules import POD_RULES
from whisper_operator.resource.rule import Rule
from whisper_operator.resource.volume_rules import VOLUME_RULES

_CLAIM = "has(self.cache) && has(self.cache.persistentVolumeClaim)"
_ONE_POD = f"{_CLAIM} && 'ReadWriteOncePod' in self.cache.persistentVolumeClaim.accessModes"
_ZERO = "matches('^0+%?$')"

_NAME = (
    Rule(
        at="",
        field="metadata.name",
        rule="self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        message="it is the name of a Service, too: write at most 40 lower-case letters, digits and dashes, a letter first, such as whisper-t4",
    ),
)

_GPU = (
    Rule(
        at="spec",
        field="engine.type",
        rule="!(self.engine.type in ['vllm', 'torch']) || self.gpu.class != 'none'",
        message="vllm needs a GPU, and so does torch: write gpu.class auto, t4, ampere, ada, hopper or blackwell, or engine.type ctranslate2",
    ),
    Rule(
        at="spec",
        field="engine.type",
        rule="self.engine.type != 'ctranslate2' || self.gpu.class == 'none'",
        message="ctranslate2 runs on CPUs here: write gpu.class none, or engine.type vllm or torch",
    ),
    Rule(
        at="spec",
        field="gpu",
        rule="self.gpu.class != 'none' || !(has(self.gpu.minMemoryGiB) || has(self.gpu.deviceClassName) || self.gpu.shared || self.gpu.resourceName != 'nvidia.com/gpu')",
        message="class none takes no GPU: leave out minMemoryGiB, shared, resourceName and deviceClassName, or write another class",
    ),
    Rule(
        at="spec.gpu",
        field="deviceClassName",
        rule="!has(self.deviceClassName) || (self.resourceName == 'nvidia.com/gpu' && !self.shared)",
        message="a pod claims a device either by its class or by a resource: leave resourceName and shared out (a DeviceClass decides what is shared), or deviceClassName",
    ),
    Rule(
        at="spec",
        field="engine",
        rule="self.gpu.class != 'none' || !(has(self.engine.kvCacheDtype) || has(self.engine.attentionBackend) || has(self.engine.maxBatchedTokens) || has(self.engine.gpuMemoryUtilization))",
        message="gpu.class none takes no GPU: leave out kvCacheDtype, attentionBackend, maxBatchedTokens and gpuMemoryUtilization, or write another class",
    ),
    Rule(
        at="spec",
        field="engine.gpuMemoryUtilization",
        rule="!self.gpu.shared || has(self.engine.gpuMemoryUtilization)",
        message="a shared GPU is not all this endpoint's: write the share of its memory that the engine may take, such as 0.4",
    ),
    Rule(
        at="spec",
        field="gpu.minMemoryGiB",
        rule="self.gpu.class != 't4' || !has(self.gpu.minMemoryGiB) || self.gpu.minMemoryGiB <= 16",
        message="a t4 is sold with 16 GiB: write at most 16, or another class",
    ),
    Rule(
        at="spec",
        field="gpu.resourceName",
        rule="!(self.gpu.class in ['t4', 'ada']) || !self.gpu.resourceName.contains('/mig-')",
        message="t4 and ada GPUs cannot be sliced: write nvidia.com/gpu, or class ampere, hopper, blackwell or auto",
    ),
)

_NUMBERS = (
    Rule(
        at="spec",
        field="engine.dtype",
        rule="self.gpu.class != 't4' || self.engine.dtype != 'bfloat16'",
        message="a t4 has no bfloat16: write half, or leave dtype out",
    ),
    Rule(
        at="spec",
        field="engine.dtype",
        rule="self.gpu.class == 'none' || self.engine.dtype != 'int8'",
        message="int8 is for CPUs: write half or bfloat16, leave dtype out, or write gpu.class none",
    ),
    Rule(
        at="spec",
        field="engine.dtype",
        rule="self.gpu.class != 'none' || self.engine.dtype in ['auto', 'int8', 'float32']",
        message="CPUs compute in int8 or float32: write one of these, or leave dtype out",
    ),
    Rule(
        at="spec",
        field="engine.kvCacheDtype",
        rule="!(self.gpu.class in ['t4', 'ampere']) || !has(self.engine.kvCacheDtype) || self.engine.kvCacheDtype != 'fp8'",
        message="fp8 needs compute capability 8.9: write fp16, or gpu.class ada, hopper or blackwell",
    ),
    Rule(
        at="spec",
        field="engine.kvCacheDtype",
        rule="!has(self.engine.kvCacheDtype) || self.engine.kvCacheDtype != 'fp32' || self.engine.dtype == 'float32'",
        message="fp32 goes with dtype float32 only: write both, or fp16",
    ),
    Rule(
        at="spec",
        field="engine.attentionBackend",
        rule="self.gpu.class != 't4' || !has(self.engine.attentionBackend) || self.engine.attentionBackend != 'FLASH_ATTN'",
        message="FLASH_ATTN needs compute capability 8.0: write TRITON_ATTN, or leave attentionBackend out",
    ),
)

_REPLICAS = (
    Rule(
        at="spec.autoscaling",
        field="minReplicas",
        rule="self.minReplicas <= self.maxReplicas",
        message="write no more than maxReplicas",
    ),
    Rule(
        at="spec.autoscaling",
        field="target",
        rule="self.metric != 'cpu' || self.target <= 1000",
        message="for metric cpu write percent of the CPU that a pod requests, such as 80, at most 1000",
    ),
    Rule(
        at="spec",
        field="pod.resources",
        rule="!has(self.autoscaling) || self.autoscaling.metric != 'cpu' || !has(self.pod.resources) || (has(self.pod.resources.requests) && 'cpu' in self.pod.resources.requests) || (has(self.pod.resources.limits) && 'cpu' in self.pod.resources.limits)",
        message="autoscaling.metric cpu is measured against the CPU that a pod requests: write requests.cpu",
    ),
    Rule(
        at="spec",
        field="replicas",
        rule=f"!({_ONE_POD}) || (self.replicas <= 1 && (!has(self.autoscaling) || self.autoscaling.maxReplicas <= 1))",
        message="a ReadWriteOncePod volume is for one pod: write replicas 1 and no autoscaling, or accessModes [ReadWriteMany]",
    ),
    Rule(
        at="spec",
        field="rollout",
        rule=(
            f"!({_ONE_POD}) || ((!has(self.rollout.maxSurge) || string(self.rollout.maxSurge).{_ZERO})"
            f" && (!has(self.rollout.maxUnavailable) || !string(self.rollout.maxUnavailable).{_ZERO}))"
        ),
        message="a ReadWriteOncePod volume is for one pod, the next would wait for it forever: write maxSurge 0 and maxUnavailable 1, or leave both out",
    ),
    Rule(
        at="spec.rollout",
        rule=(
            f"!has(self.maxSurge) || !has(self.maxUnavailable)"
            f" || !string(self.maxSurge).{_ZERO} || !string(self.maxUnavailable).{_ZERO}"
        ),
        message="no pod could ever be replaced: write maxSurge or maxUnavailable of 1 or more, or leave one of them out",
    ),
)

_ELSEWHERE = (
    "to move, write cache {emptyDir: {}} first (the volume is deleted) and the new persistentVolumeClaim afterwards"
)

_CACHE = (
    Rule(
        at="spec.cache",
        rule="[has(self.emptyDir), has(self.persistentVolumeClaim), has(self.existingClaim), has(self.image)].filter(one, one).size() == 1",
        message="write exactly one of emptyDir, persistentVolumeClaim, existingClaim and image",
    ),
    Rule(
        at="spec.cache.persistentVolumeClaim",
        field="storageClassName",
        rule="has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
        message=f"it cannot be changed: {_ELSEWHERE}",
    ),
    Rule(
        at="spec.cache.persistentVolumeClaim",
        field="accessModes",
        rule="self.accessModes == oldSelf.accessModes",
        message=f"they cannot be changed: {_ELSEWHERE}",
    ),
    Rule(
        at="spec.cache.persistentVolumeClaim",
        field="size",
        rule="quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",
        message=f"a volume can only grow: write the old size or more; {_ELSEWHERE}",
    ),
    Rule(
        at="spec.cache.persistentVolumeClaim",
        field="size",
        rule="quantity(string(self.size)).compareTo(quantity('1Mi')) >= 0",
        message="write 1Mi or more, such as 20Gi: a number alone is bytes",
    ),
    Rule(
        at="spec.cache.emptyDir",
        field="sizeLimit",
        rule="!has(self.sizeLimit) || quantity(string(self.sizeLimit)).compareTo(quantity('1Mi')) >= 0",
        message="write 1Mi or more, such as 20Gi: a number alone is bytes",
    ),
    Rule(
        at="spec.cache.persistentVolumeClaim",
        field="accessModes",
        rule="!('ReadWriteOncePod' in self.accessModes) || self.accessModes.size() == 1",
        message="ReadWriteOncePod goes with no other mode: write it alone, or leave it out",
    ),
    Rule(
        at="spec.cache",
        field="preload",
        rule="!self.preload || has(self.persistentVolumeClaim) || has(self.existingClaim)",
        message="there is no volume to fill before the pods are there: write persistentVolumeClaim or existingClaim, or leave preload out",
    ),
    Rule(
        at="spec.cache",
        field="preload",
        rule="!self.preload || !has(self.persistentVolumeClaim) || !('ReadWriteOncePod' in self.persistentVolumeClaim.accessModes)",
        message="a ReadWriteOncePod volume is for one pod, and a changed model is preloaded while the old pods run: write accessModes [ReadWriteOnce] or [ReadWriteMany], or leave preload out",
    ),
    Rule(
        at="spec",
        field="cache.preload",
        rule="!has(self.cache) || !self.cache.preload || (self.model.id != 'demo' && !self.model.id.startsWith('/'))",
        message="demo and folders are not downloaded: write a model that is, or leave preload out",
    ),
    Rule(
        at="spec",
        field="model.id",
        rule="!has(self.cache) || !has(self.cache.image) || self.model.id.startsWith('/models/')",
        message="with cache.image the model is a folder of that image, mounted at /models: write its path, such as /models/whisper-large-v3",
    ),
)

RULES: tuple[Rule, ...] = (
    *_NAME,
    *_GPU,
    *_NUMBERS,
    *_REPLICAS,
    *_CACHE,
    *MODEL_RULES,
    *ACCESS_RULES,
    *POD_RULES,
    *VOLUME_RULES,
    *CONTAINER_RULES,
)
