"""Writes a Whisper checkpoint of a real shape with known output, to measure speed without real weights.

Encoder and layers are random and of full size. The embedding of each position leads to one word, whatever the audio: so
the output is confident, does not repeat itself and is as long as the token limit allows, and everything around the model
does the same work as with real speech. The tokenizer is the demo model's. Shapes with `-demo` hear: theirs is the demo model's
text (demo_in_shape.py), which follows the sound as word times and live sessions need it. Needs torch.

    python bench/gpu_checkpoint.py turbo OUT_FOLDER
    python bench/gpu_checkpoint.py turbo-demo OUT_FOLDER
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from demo_in_shape import copied_heads, put_demo_into
from gpu_servers import HEARS
from safetensors.torch import save_file

N_AUDIO_POSITIONS = 1500
DEMO = Path(__file__).parents[1] / "models" / "whisper-demo"
DECODER_LAYERS = {"turbo": 4, "large-v3": 32}
SHAPES = (*DECODER_LAYERS, *(shape + HEARS for shape in DECODER_LAYERS))
SIZES = {
    "d_model": 1280,
    "encoder_layers": 32,
    "encoder_attention_heads": 20,
    "decoder_attention_heads": 20,
    "encoder_ffn_dim": 5120,
    "decoder_ffn_dim": 5120,
    "num_mel_bins": 128,
    "vocab_size": 51866,
    "dtype": "bfloat16",
}
QUIET = 1e-3
"""Standard deviation of weights that add to the decoder's residual stream: small, so that the position dominates it."""
LOUD = 10.0
"""Standard deviation of the encoder's positions, which its 32 layers of noise leave visible to the alignment heads."""
N_ALIGNMENT_HEADS, HEAD_WIDTH = 6, 64
N_BEFORE_TEXT, POSITIONS_PER_TOKEN = 3, 14.8
"""100 tokens after the prompt fill a window of 1,500 positions."""
SHARPNESS = 4.0


def write(shape: str, folder: Path) -> None:
    """The whole checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    hears = shape.endswith(HEARS)
    sizes: dict[str, Any] = SIZES | {"decoder_layers": DECODER_LAYERS[shape.removesuffix(HEARS)]}
    if hears:
        sizes["num_mel_bins"] = 80
    for path in DEMO.glob("*.json"):
        shutil.copy(path, folder / path.name)
    _change(folder / "config.json", sizes)
    _change(folder / "preprocessor_config.json", {"feature_size": sizes["num_mel_bins"]})
    _change(folder / "processor_config.json", {"feature_extractor": {"feature_size": sizes["num_mel_bins"]}})
    heads = [[sizes["decoder_layers"] - 1, head] for head in range(N_ALIGNMENT_HEADS)]
    tensors = _tensors(sizes)
    if hears:
        put_demo_into(tensors, DEMO)
        heads = copied_heads(DEMO)
    _change(folder / "generation_config.json", {"alignment_heads": heads})
    part = folder / "model.safetensors.part"  # renamed when it is complete
    save_file(tensors, part, metadata={"format": "pt"})
    part.rename(folder / "model.safetensors")


def _change(path: Path, values: dict[str, Any]) -> None:
    if not path.exists():
        return
    document = json.loads(path.read_text(encoding="utf-8"))
    for name, value in values.items():
        if isinstance(value, dict) and isinstance(document.get(name), dict):
            document[name] |= value
        elif not isinstance(value, dict):
            document[name] = value
    path.write_text(json.dumps(document), encoding="utf-8")


def _tensors(sizes: dict[str, Any]) -> dict[str, torch.Tensor]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    width, tensors = sizes["d_model"], {}

    def put(name: str, *shape: int, std: float = 0.02) -> None:
        values = torch.randn(*shape, device=device) * std
        tensors[name] = values.to(torch.bfloat16).cpu()

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = torch.ones(width, dtype=torch.bfloat16)
        tensors[f"{name}.bias"] = torch.zeros(width, dtype=torch.bfloat16)

    def layer(prefix: str, attentions: tuple[str, ...], n_inner: int, std: float) -> None:
        for attention in attentions:
            for part in ("q", "k", "v", "out"):
                put(f"{prefix}.{attention}.{part}_proj.weight", width, width, std=std if part == "out" else 0.02)
                if part != "k":
                    put(f"{prefix}.{attention}.{part}_proj.bias", width, std=std)
            norm(f"{prefix}.{attention}_layer_norm")
        put(f"{prefix}.fc1.weight", n_inner, width)
        put(f"{prefix}.fc1.bias", n_inner)
        put(f"{prefix}.fc2.weight", width, n_inner, std=std)
        put(f"{prefix}.fc2.bias", width, std=std)
        norm(f"{prefix}.final_layer_norm")

    put("model.encoder.conv1.weight", width, sizes["num_mel_bins"], 3)
    put("model.encoder.conv1.bias", width)
    put("model.encoder.conv2.weight", width, width, 3)
    put("model.encoder.conv2.bias", width)
    for number in range(sizes["encoder_layers"]):
        layer(f"model.encoder.layers.{number}", ("self_attn",), sizes["encoder_ffn_dim"], 0.02)
    norm("model.encoder.layer_norm")
    for number in range(sizes["decoder_layers"]):
        layer(f"model.decoder.layers.{number}", ("self_attn", "encoder_attn"), sizes["decoder_ffn_dim"], QUIET)
    norm("model.decoder.layer_norm")
    put("model.decoder.embed_tokens.weight", sizes["vocab_size"], width, std=0.05)
    words = torch.randperm(4000)[:448] + 500  # text tokens of the demo's tokenizer
    tensors["model.decoder.embed_positions.weight"] = (4 * tensors["model.decoder.embed_tokens.weight"][words]).clone()
    _align(tensors, words, f"model.decoder.layers.{sizes['decoder_layers'] - 1}.encoder_attn")
    return tensors


def _align(tensors: dict[str, torch.Tensor], words: torch.Tensor, attention: str) -> None:
    """Let the first heads of this attention find the time of each position of the text."""
    embedding = tensors["model.decoder.embed_tokens.weight"].float()
    text = embedding[words] * 4 + embedding[words.roll(1)]  # position and token before it, as the decoder adds them
    text = (text - text.mean(1, keepdim=True)) / text.std(1, keepdim=True)
    at = ((torch.arange(len(words)) - N_BEFORE_TEXT) * POSITIONS_PER_TOKEN).clamp(0, N_AUDIO_POSITIONS - 1)
    basis, _ = torch.linalg.qr(torch.randn(text.shape[1], HEAD_WIDTH))
    audio = _code(torch.arange(N_AUDIO_POSITIONS)) @ basis.t() * LOUD * text.shape[1] ** 0.5
    tensors["model.encoder.embed_positions.weight"] = audio.to(torch.bfloat16)
    query = (torch.linalg.pinv(text) @ _code(at) * SHARPNESS).t()
    n_rows = N_ALIGNMENT_HEADS * HEAD_WIDTH
    for name, weight in (
        ("q_proj.weight", query),
        ("k_proj.weight", basis.t()),
        ("q_proj.bias", torch.zeros(HEAD_WIDTH)),
    ):
        tensors[f"{attention}.{name}"][:n_rows] = torch.cat([weight] * N_ALIGNMENT_HEADS).to(torch.bfloat16)


def _code(positions: torch.Tensor) -> torch.Tensor:
    """Positions as sines and cosines: unit vectors (position, HEAD_WIDTH), more alike the nearer they are."""
    angles = positions[:, None] / torch.logspace(0.5, 3, HEAD_WIDTH // 2)
    return torch.cat([angles.sin(), angles.cos()], 1) * (HEAD_WIDTH // 2) ** -0.5


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    write(args.shape, args.folder)
