"""Turns by owner, then by request, at everything that requests share: the same order for each, and what it means for a wait.

An owner is who sent the request: an API key, or else an address. Knows no windows, files, engines or HTTP.
"""
