"""The operator: creates and maintains the Kubernetes objects that run each WhisperEndpoint."""

__version__ = "0.1.0"
