"""Real Whisper weights and human speech, from packages that are pinned by version and hash.

They are for tests and benchmarks; the product depends on none of them.
"""
