"""The GPU engine: vLLM behind the Engine protocol. torch and vllm are imported in this package only.

`profile`, `dtw` and `numbers` need neither and are tested on any machine; `engine` is what `loading` asks for.
"""
