"""Engines: what computes the model. `load` and `fetch` are all that the rest of the server needs to know."""

from whisper_server.engines.loading import fetch, load

__all__ = ["fetch", "load"]
