"""The real cluster, through the official client's `kubernetes.aio`, with plain dictionaries.

Only this package imports that client. Others use the Protocol in `cluster_protocol`.
"""
