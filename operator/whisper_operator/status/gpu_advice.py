"""What to do about a pod that gets no GPU, from the scheduler's words and from what the nodes offer (`gpu_nodes`). Pure.

Without the right to read nodes (`rbac.readNodes`) nothing is said about why.
"""

from __future__ import annotations

from whisper_operator.status.asked_node import AskedNode
from whisper_operator.status.endpoint_view import EndpointView
from whisper_operator.status.gpu_holder import is_full
from whisper_operator.status.gpu_nodes import ADD_ONE, LEAVE_OUT, Said, seen
from whisper_operator.status.issue import command, joined
from whisper_operator.status.lacking import ways_out


def device_advice(asked: AskedNode, words: str) -> str:
    """The way out for a pod whose claim of a device cannot be allocated; empty: it claims none, or something else is wrong."""
    name = asked.spec.gpu.device_class_name
    if not name:
        return ""
    if f"device class {name} does not exist" in words:
        return f"There is no DeviceClass {name} (gpu.deviceClassName): {command('kubectl get deviceclasses')} lists those that there are."
    if not is_full(asked, words):
        return ""
    see = command("kubectl get resourceslices -o yaml")
    return (
        f"No node has a free device of DeviceClass {name} that {asked.gpu} allows: free one, {ADD_ONE},"
        f" or change gpu.class. {see} lists the devices."
    )


def gpu_advice(view: EndpointView, asked: AskedNode, said: Said) -> str:
    """The way out for a pod that the scheduler gave no node."""
    return seen(view.snapshot.nodes, asked, said) or joined(_unseen(asked, said), said.taints)


def _unseen(asked: AskedNode, said: Said) -> str:
    """The advice that holds with any nodes."""
    resource, allow = asked.resource, asked.allow
    if said.is_cordoned and not said.is_insufficient:
        return (
            f"No node that takes pods has a GPU that {allow}, and some are cordoned (`kubectl get nodes`):"
            f" `kubectl uncordon NODE` for one with such a GPU, or {ADD_ONE}."
        )
    if not said.is_insufficient:
        return f"No node shows a GPU that {allow}: {ADD_ONE}, or change gpu.class."
    free = f"{asked.n_gpus} free" if asked.n_gpus > 1 else "a free"
    if said.else_lacking:
        also = " and ".join(said.else_lacking)
        return joined(
            f"No node has {free} {resource} that {allow} and all else that the pod needs ({also}).",
            ways_out(said.else_lacking) or "Free it on one node, or add a node.",
            f"Or {LEAVE_OUT}." if asked.n_gpus > 1 else "",
        )
    leave_out = f"{LEAVE_OUT}, " if asked.n_gpus > 1 else ""
    or_uncordon = "uncordon a node (`kubectl uncordon NODE`), " if said.is_cordoned else ""
    return (
        f"No node has {free} {resource} that {allow}: {or_uncordon}{leave_out}free one if there are some, or {ADD_ONE}."
    )
