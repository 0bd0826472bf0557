"""The real cluster, spoken to through the official client's `kubernetes.aio`, with plain dictionaries.

Nothing else imports that client. What others need of a cluster is in `cluster_protocol`.
"""
