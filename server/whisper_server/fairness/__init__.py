"""Turns by owner, then by request, at everything that requests share: the same order for each, and what it means for a wait.

An owner is the API key of a request, or else its address. Knows no windows, files, engines or HTTP.
"""
