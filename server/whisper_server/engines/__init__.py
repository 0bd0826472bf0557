"""Engines: what computes the model. `load` and `fetch` are all that the rest of the server needs to know."""

from whisper_server.engines.fetching import fetch
from whisper_server.engines.loading import load

__all__ = ["fetch", "load"]
