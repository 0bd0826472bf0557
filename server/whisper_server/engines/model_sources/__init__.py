"""Where models come from: the Hugging Face hub, an OCI registry, S3-compatible storage, an address on the web."""

from whisper_server.engines.model_sources.fetch_error import FetchError
from whisper_server.engines.model_sources.fetching import fetch_model, is_address

__all__ = ["FetchError", "fetch_model", "is_address"]
