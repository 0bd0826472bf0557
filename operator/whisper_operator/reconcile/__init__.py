"""The way of a change: from a watch event through store and work queue to applied children and a written status.

In order: `watcher` (kopf) → `store` → `work_queue` → `reconciler` (`cached_reader`, `apply`, `snapshot_builder`).
`resync` compares the store with the cluster, `route_conflicts` finds the owner of a route, `controller` runs all of it.
"""
