"""GPU classes: the nodes that a class stands for.

`products` is a table of what clouds sell, `node_selector_terms` finds the nodes of a class. Nothing here knows an endpoint.
"""

from __future__ import annotations

from whisper_operator.gpus.node_selector_terms import TAINT, needed_capability, node_selector_terms, without_gpu

__all__ = ["TAINT", "needed_capability", "node_selector_terms", "without_gpu"]
