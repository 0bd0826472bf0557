"""Runs the tiers of the test suite in two lanes, and reports on them together."""
