"""The WhisperEndpoint resource: its spec as dataclasses, and what is made from them (CRD, parser, documentation).

Pure: nothing here knows the API server.
"""
