"""Word times, the engine's part: decodes a known text once more, to read where its tokens attend.

Follows `find_alignment` of openai/whisper's `timing.py` on vLLM's own weights; no second copy of the model is loaded.
`dtw` finds the path through the attention in the server's process, so that vLLM's process goes on decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from whisper_server.engines.gpu.attention import sharpen, text_probabilities
from whisper_server.engines.vllm.wire import AlignResult, AlignTask

if TYPE_CHECKING:
    from whisper_server.engines.vllm.worker.model import ServedWhisper


@torch.inference_mode()
def align(model: ServedWhisper, tasks: Sequence[AlignTask]) -> list[AlignResult]:
    """One result per task."""
    device = next(model.parameters()).device
    states = torch.stack(model.encode([task.slot for task in tasks], [task.scale for task in tasks]))
    rows = [list(task.tokens) for task in tasks]
    n_max_tokens = max(map(len, rows))
    padded = torch.tensor([row + row[-1:] * (n_max_tokens - len(row)) for row in rows], device=device)
    hidden, scores = _decode(model.model.decoder, padded, states, tasks[0].heads)
    n_positions = [task.n_positions for task in tasks]
    n_tokens, n_heard = torch.tensor([list(map(len, rows)), n_positions], device=device)
    attention = sharpen(scores[..., : max(n_positions)], n_tokens, n_heard).cpu()
    results = []
    for index, task in enumerate(tasks):
        n_start, n_text = len(task.sot_sequence), len(task.text_tokens)
        logits = model.compute_logits(hidden[index, n_start : n_start + n_text])
        text = torch.tensor(task.text_tokens, device=device)
        probabilities = tuple(text_probabilities(logits, text, task.endoftext).tolist())
        of_text = attention[index, n_start : n_start + n_text + 1, : task.n_positions]
        results.append(AlignResult(of_text.numpy(), probabilities))
    return results


def _decode(
    decoder: torch.nn.Module, tokens: torch.Tensor, states: torch.Tensor, heads: Sequence[tuple[int, int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (window, token, width), and scores of the alignment heads (window, head, token, position)."""
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    hidden = decoder.embed_tokens(tokens) + decoder.embed_positions(positions)
    scores = []
    for layer_index, layer in enumerate(decoder.layers):
        own = layer.self_attn
        fused = _linear(own.qkv_proj, layer.self_attn_layer_norm(hidden))
        query, key, value = (_split_heads(part, own.num_heads) for part in fused.chunk(3, dim=-1))
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + _linear(own.out_proj, _join_heads(attended))
        cross = layer.encoder_attn
        query = _split_heads(_linear(cross.q_proj, layer.encoder_attn_layer_norm(hidden)), cross.num_heads)
        key, value = (_split_heads(part, cross.num_heads) for part in _linear(cross.kv_proj, states).chunk(2, dim=-1))
        layer_heads = [head for layer_of_head, head in heads if layer_of_head == layer_index]
        if layer_heads:
            scores.append(query[:, layer_heads] @ key[:, layer_heads].transpose(-1, -2) * cross.scaling)
        attended = F.scaled_dot_product_attention(query, key, value)
        hidden = hidden + _linear(cross.out_proj, _join_heads(attended))
        hidden = hidden + layer.mlp(layer.final_layer_norm(hidden))
    return decoder.layer_norm(hidden), torch.cat(scores, dim=1)


def _linear(layer: torch.nn.Module, values: torch.Tensor) -> torch.Tensor:
    """Apply one of vLLM's layers, which take rows and return a tuple: the result, and a bias that they did not add."""
    result: torch.Tensor = layer(values.reshape(-1, values.shape[-1]))[0]
    return result.view(*values.shape[:-1], -1)


def _split_heads(values: torch.Tensor, n_heads: int) -> torch.Tensor:
    return values.view(*values.shape[:2], n_heads, -1).transpose(1, 2)


def _join_heads(values: torch.Tensor) -> torch.Tensor:
    return values.transpose(1, 2).flatten(2)
