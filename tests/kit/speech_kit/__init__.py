"""Speech and other sounds with known content, for the API suite and the benchmarks.

Generated from a seed (espeak-ng, numpy), never recorded. This package does not depend on the server.
"""
