"""The WhisperEndpoint resource: its spec as dataclasses, from which CRD, parser and documentation are derived.

Pure: nothing here calls the API server.
"""
