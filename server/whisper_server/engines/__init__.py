"""Engines: what computes the model. `load` is all that the rest of the server needs to know."""

from whisper_server.engines.loading import load

__all__ = ["load"]
