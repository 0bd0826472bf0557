"""openai/whisper's own package on the same weights, as a program for a Python that has torch (the tests' own has none).

`python reference.py CHECKPOINT SOURCES < jobs.json > answers.json`: each job is `{"wav": path, "language": code}` plus
options of `transcribe`; each answer is the result of `transcribe`, and the seconds that it took.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LIMIT_S = 3600.0
_RENAMED = (
    ("encoder.layers.", "encoder.blocks."),
    ("decoder.layers.", "decoder.blocks."),
    (".self_attn_layer_norm.", ".attn_ln."),
    (".encoder_attn_layer_norm.", ".cross_attn_ln."),
    (".final_layer_norm.", ".mlp_ln."),
    (".self_attn.", ".attn."),
    (".encoder_attn.", ".cross_attn."),
    (".q_proj.", ".query."),
    (".k_proj.", ".key."),
    (".v_proj.", ".value."),
    (".out_proj.", ".out."),
    (".fc1.", ".mlp.0."),
    (".fc2.", ".mlp.2."),
    ("encoder.layer_norm.", "encoder.ln_post."),
    ("decoder.layer_norm.", "decoder.ln."),
    ("decoder.embed_tokens.", "decoder.token_embedding."),
    ("encoder.embed_positions.weight", "encoder.positional_embedding"),
    ("decoder.embed_positions.weight", "decoder.positional_embedding"),
)
"""Hugging Face's names of weights → openai/whisper's (the other way round: transformers' conversion script)."""


def find_python() -> Path | None:
    """`TORCH_PYTHON`, or the Python of vLLM's CPU build where `make vllm` has installed one; None: no torch here."""
    given = os.environ.get("TORCH_PYTHON")
    if given:
        return Path(given)
    cache = Path(os.environ.get("WHISPER_VLLM_CACHE") or Path.home() / ".cache" / "whisper-vllm")
    found = sorted(cache.glob("*/lib/python*/site-packages/torch"))
    return found[-1].parents[3] / "bin" / "python" if found else None


def transcribe(
    python: Path, checkpoint: Path, sources: Sequence[Path], jobs: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Results of `jobs`, one after the other, in one process. Raises RuntimeError with what the process says."""
    command = [str(python), __file__, str(checkpoint), os.pathsep.join(str(source) for source in sources)]
    ran = subprocess.run(
        command, input=json.dumps(list(jobs)), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if ran.returncode != 0:
        raise RuntimeError(f"openai/whisper failed: {ran.stderr[-2000:]}")
    answers: list[dict[str, Any]] = json.loads(ran.stdout)
    return answers


def _load(checkpoint: Path) -> Any:
    whisper: Any = importlib.import_module("whisper")
    load_file: Any = importlib.import_module("safetensors.torch").load_file

    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    generation = json.loads((checkpoint / "generation_config.json").read_text(encoding="utf-8"))
    dimensions = whisper.model.ModelDimensions(
        n_mels=config["num_mel_bins"],
        n_audio_ctx=config["max_source_positions"],
        n_audio_state=config["d_model"],
        n_audio_head=config["encoder_attention_heads"],
        n_audio_layer=config["encoder_layers"],
        n_vocab=config["vocab_size"],
        n_text_ctx=config["max_target_positions"],
        n_text_state=config["d_model"],
        n_text_head=config["decoder_attention_heads"],
        n_text_layer=config["decoder_layers"],
    )
    model = whisper.model.Whisper(dimensions)
    weights = {}
    for name, tensor in load_file(str(checkpoint / "model.safetensors")).items():
        renamed = name.removeprefix("model.")
        for theirs, ours in _RENAMED:
            renamed = renamed.replace(theirs, ours)
        weights[renamed] = tensor
    model.load_state_dict(weights)
    heads = model.alignment_heads.to_dense().zero_()
    for layer, head in generation["alignment_heads"]:
        heads[layer, head] = True
    model.register_buffer("alignment_heads", heads.to_sparse(), persistent=False)
    return model


def _read(path: str) -> Any:
    """As the server reads a wav file: resampled by soxr where it is there, by numpy's interpolation never."""
    import soundfile
    import soxr

    sound, rate_hz = soundfile.read(path, dtype="float32")
    return soxr.resample(sound, rate_hz, 16000).astype("float32")


def main() -> None:
    checkpoint, sources = Path(sys.argv[1]), sys.argv[2]
    sys.path[:0] = sources.split(os.pathsep)
    model = _load(checkpoint)
    answers = []
    for job in json.loads(sys.stdin.read()):
        options = dict(job)
        sound = _read(options.pop("wav"))
        begin_s = time.monotonic()
        answer = model.transcribe(sound, fp16=False, verbose=None, **options)
        answers.append({**answer, "took_s": time.monotonic() - begin_s})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
