"""The engine in plain torch: one process per GPU, static caches, CUDA graphs, no compiler at run time.

`engine` and `window` run in the server's process and never import torch; `wire` is what crosses to the engine's
process, where `worker` runs `scheduling`, `decoding`, `network` and `weights`.
"""
