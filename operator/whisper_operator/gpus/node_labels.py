"""What a node's labels leave open about its GPU, and the command that says it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from whisper_operator.gpus.expressions import GKE_SHARING, GKE_SLICE, MAJOR, MINOR, PRODUCT, Expression, absent, holds
from whisper_operator.gpus.node_selector_terms import memory_key, needed_capability, node_selector_terms
from whisper_operator.gpus.product_labels import NAMING_KEYS, SHARED_SUFFIX, is_mig, is_wanted, named
from whisper_operator.gpus.products import LOWEST, least_reported_mib
from whisper_operator.resource.spec import Engine, Gpu

_NEED_A_LABEL = frozenset({"In", "Exists", "Gt"})
"""Operators that a node without the label never fulfils."""


def terms_by_capability(gpu: Gpu, engine: Engine) -> list[list[Expression]]:
    """The terms that a label command can make a node fit. Raises SpecError if no GPU can match."""
    terms = [term["matchExpressions"] for term in node_selector_terms(gpu, engine)]
    return [term for term in terms if absent(MAJOR) not in term]


def is_left_open(labels: Mapping[str, str], terms: Iterable[list[Expression]], gpu: Gpu, engine: Engine) -> bool:
    """Whether a node that fits no term may be meant by one of `terms_by_capability`: it only lacks labels.

    A label decides if the table has its name, for one GPU or for several of which none is wanted. `nvidia-tesla-a100` does not
    say which memory, and no name says that of a slice.
    """
    if MAJOR not in labels:
        if not gpu.shared and _shows_a_part(labels):
            return False
        asked = dataclasses.replace(gpu, min_memory_gib=None) if is_mig(gpu) else gpu
        names = named(labels)
        if names and not any(is_wanted(product, asked, needed_capability(engine)) for product in names):
            return False
    return any(_could_hold(term, labels) for term in terms)


def has_unknown_name(labels: Mapping[str, str]) -> bool:
    """Whether a label names a GPU that is not in the table."""
    return any(key in labels for key in NAMING_KEYS) and not named(labels)


def lacking_labels(labels: Mapping[str, str], gpu: Gpu, engine: Engine) -> dict[str, int]:
    """Labels that make the node match, with the least that the terms ask for."""
    major, minor = max(needed_capability(engine).lowest, LOWEST.get(gpu.class_, (0, 0)))
    asked = {MAJOR: major}
    if labels.get(MAJOR, str(major)) == str(major):
        asked[MINOR] = minor
    if gpu.min_memory_gib:
        asked[memory_key(gpu)] = least_reported_mib(gpu.min_memory_gib)
    return {key: value for key, value in asked.items() if key not in labels}


def label_command(node: str, labels: Mapping[str, str], gpu: Gpu, engine: Engine) -> str:
    """The command that labels a node so that the terms match it."""
    added = (f"{key}={value}" for key, value in lacking_labels(labels, gpu, engine).items())
    return " ".join(["kubectl label node", node, *added])


def _could_hold(term: list[Expression], labels: Mapping[str, str]) -> bool:
    there = (each for each in term if each["key"] in labels or each["operator"] not in _NEED_A_LABEL)
    return all(holds(each, labels) for each in there)


def _shows_a_part(labels: Mapping[str, str]) -> bool:
    product = labels.get(PRODUCT, "")
    return product.endswith(SHARED_SUFFIX) or "-MIG-" in product or GKE_SHARING in labels or GKE_SLICE in labels
