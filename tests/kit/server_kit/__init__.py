"""The server as its users have it: a process on a socket, and clients to talk to it.

Used by the API suite and the benchmarks. Nothing here imports the server's code.
"""
