"""Word times, the engine's part: the text is decoded once more, knowing it, to see where its tokens listen.

Follows `find_alignment` of openai/whisper's `timing.py` on vLLM's own weights; no second copy of the model. The
path through the attention is found by `dtw`, outside the engine's process, which must go on decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it

from whisper_server.whisper.constants import MEDIAN_FILTER_WIDTH


@torch.inference_mode()
def attend(model: Any, requests: Sequence[Any]) -> list[list[Any]]:
    """[n_rows, n_columns, matrix as bytes of float32, token probabilities] for every window.

    A request is [slot, scale, n_positions, alignment heads, start sequence, notimestamps, text tokens, endoftext].
    """
    device = next(model.parameters()).device
    states = torch.stack(model.encode([request[0] for request in requests], [request[1] for request in requests]))
    tokens = [[*request[4], request[5], *request[6], request[7]] for request in requests]
    longest = max(map(len, tokens))
    padded = torch.tensor([row + row[-1:] * (longest - len(row)) for row in tokens], device=device)
    hidden, attention = _decode(model.model.decoder, padded, states, requests[0][3])
    answers = []
    for index, request in enumerate(requests):
        n_start, n_text, n_tokens = len(request[4]), len(request[6]), len(tokens[index])
        weights = attention[index, :, :n_tokens, : request[2]]
        matrix = _sharpened(weights)[n_start:-1].float().cpu().numpy()
        logits = model.compute_logits(hidden[index, n_start : n_start + n_text]).float()
        text = torch.tensor(request[6], device=device).unsqueeze(1)
        probabilities = logits[:, : request[7]].softmax(-1).gather(1, text).squeeze(1)
        answers.append([*matrix.shape, np.ascontiguousarray(matrix).tobytes(), probabilities.cpu().tolist()])
    return answers


def _decode(
    decoder: Any, tokens: torch.Tensor, states: torch.Tensor, heads: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (window, token, width), and scores of the alignment heads (window, head, token, position)."""
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    hidden = decoder.embed_tokens(tokens) + decoder.embed_positions(positions)
    scores = []
    for number, layer in enumerate(decoder.layers):
        own = layer.self_attn
        fused = _linear(own.qkv_proj, layer.self_attn_layer_norm(hidden))
        query, key, value = (_split(part, own.num_heads) for part in fused.chunk(3, dim=-1))
        heard = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + _linear(own.out_proj, _joined(heard))
        cross = layer.encoder_attn
        query = _split(_linear(cross.q_proj, layer.encoder_attn_layer_norm(hidden)), cross.num_heads)
        key, value = (_split(part, cross.num_heads) for part in _linear(cross.kv_proj, states).chunk(2, dim=-1))
        wanted = [head for at, head in heads if at == number]
        if wanted:
            scores.append(query[:, wanted] @ key[:, wanted].transpose(-1, -2) * cross.scaling)
        heard = F.scaled_dot_product_attention(query, key, value)
        hidden = hidden + _linear(cross.out_proj, _joined(heard))
        hidden = hidden + layer.mlp(layer.final_layer_norm(hidden))
    return decoder.layer_norm(hidden), torch.cat(scores, dim=1)


def _sharpened(scores: torch.Tensor) -> torch.Tensor:
    """Attention (token, position) of all heads together, from their scores (head, token, position)."""
    weights = scores.float().softmax(-1)
    deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    weights = (weights - mean) / deviation
    half = MEDIAN_FILTER_WIDTH // 2
    if weights.shape[-1] > half:
        weights = F.pad(weights, (half, half), mode="reflect")
        weights = weights.unfold(-1, MEDIAN_FILTER_WIDTH, 1).sort(dim=-1)[0][..., half]
    return weights.mean(dim=0)


def _linear(layer: Any, values: torch.Tensor) -> torch.Tensor:
    """VLLM's layers take rows, and give their bias beside the result where they leave it out."""
    result: torch.Tensor = layer(values.reshape(-1, values.shape[-1]))[0]
    return result.view(*values.shape[:-1], -1)


def _split(values: torch.Tensor, n_heads: int) -> torch.Tensor:
    return values.view(*values.shape[:2], n_heads, -1).transpose(1, 2)


def _joined(values: torch.Tensor) -> torch.Tensor:
    return values.transpose(1, 2).flatten(2)
