"""The GPUs that the operator knows: which nodes a class means, and what the server on them is told.

Tables and pure functions over them: `products` is what clouds sell, `classes` what a class is, `terms` how its nodes
are found. Nothing here knows an endpoint.
"""

from __future__ import annotations

from whisper_operator.gpus.classes import CLASS_ENVIRONMENT
from whisper_operator.gpus.node_selector_terms import TAINT, node_selector_terms

__all__ = ["CLASS_ENVIRONMENT", "TAINT", "node_selector_terms"]
