"""The GPU engine: vLLM behind the Engine protocol. torch and vllm are imported in this package only.

`worker` holds what runs in vLLM's process, everything else runs in the server's. Only `engine`, `device` and `worker`
need vLLM or torch; the other modules are tested on any machine.
"""
