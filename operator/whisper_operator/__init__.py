"""The operator: turns WhisperEndpoints into what runs them on Kubernetes."""

__version__ = "0.1.0"
