"""The Helm charts, for tests."""
