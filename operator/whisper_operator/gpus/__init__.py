"""GPU classes: the nodes that a class stands for.

`product_table` has what clouds sell, `node_selector_terms` finds the nodes of a class, `node_labels` what
labels leave open. Nothing here knows an endpoint.
"""

from __future__ import annotations

from whisper_operator.gpus.device_selectors import device_selectors
from whisper_operator.gpus.expressions import MAJOR, holds
from whisper_operator.gpus.node_labels import (
    has_unknown_name,
    is_left_open,
    label_command,
    lacking_labels,
    terms_by_capability,
)
from whisper_operator.gpus.node_selector_terms import (
    TAINT,
    needed_capability,
    node_selector_terms,
    platform_of_image,
    without_gpu,
)

__all__ = [
    "MAJOR",
    "TAINT",
    "device_selectors",
    "has_unknown_name",
    "holds",
    "is_left_open",
    "label_command",
    "lacking_labels",
    "needed_capability",
    "node_selector_terms",
    "platform_of_image",
    "terms_by_capability",
    "without_gpu",
]
