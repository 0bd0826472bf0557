"""See the plan."""
