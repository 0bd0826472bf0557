"""One endpoint from desired state to status: watches, store, work queue, reconciler, apply, lookups, resync."""
