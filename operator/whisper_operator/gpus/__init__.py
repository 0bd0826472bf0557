"""GPU classes: the nodes that a class stands for.

`product_table` has what clouds sell, `node_selector_terms` finds the nodes of a class. Nothing here knows an endpoint.
"""

from __future__ import annotations

from whisper_operator.gpus.device_selectors import device_selectors
from whisper_operator.gpus.node_selector_terms import (
    TAINT,
    label_command,
    needed_capability,
    node_selector_terms,
    platform_of_image,
    shows_its_gpu,
    without_gpu,
)

__all__ = [
    "TAINT",
    "device_selectors",
    "label_command",
    "needed_capability",
    "node_selector_terms",
    "platform_of_image",
    "shows_its_gpu",
    "without_gpu",
]
