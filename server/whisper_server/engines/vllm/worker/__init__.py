"""What runs in vLLM's process: model, encoder, sampler, scheduler. vLLM imports these modules by their dotted names.

torch and vllm may be imported here at the top; nothing in this package runs in the server's process.
"""
