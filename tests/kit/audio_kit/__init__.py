"""Sound files for tests: a known signal, written in every container that clients send."""
