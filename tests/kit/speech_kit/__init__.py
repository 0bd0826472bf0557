"""Speech and other sounds whose content is known: what the API suite and the benchmarks send.

Made on the spot from a seed (espeak-ng, numpy), never recorded. Nothing here knows of the server.
"""
