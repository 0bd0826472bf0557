"""Features and encoder of the GPU engine against librosa's and transformers', on the demo model."""

from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: it comes with whisper-server[vllm]")
transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed: it comes with vLLM")

from model_kit.demo import DEMO  # noqa: E402 - torch decides
from speech_kit.sentences import spoken  # noqa: E402
from whisper_server.engines.gpu.log_mel import BatchLogMel, SharedSamples  # noqa: E402
from whisper_server.engines.gpu.shared_audio import SharedAudioPool  # noqa: E402
from whisper_server.engines.vllm.worker.encoder import encode, layer_weights  # noqa: E402
from whisper_server.whisper.mel import LogMel  # noqa: E402


class Fused(torch.nn.Module):  # type: ignore[misc]
    """Query, key and value in one layer, as in vLLM; keys have no bias."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        parts = [attention.q_proj, attention.k_proj, attention.v_proj]
        none = torch.zeros_like(attention.q_proj.bias)
        self.weight = torch.cat([part.weight for part in parts])
        self.bias = torch.cat([none if part.bias is None else part.bias for part in parts])


def with_vllm_layout(encoder: Any) -> Any:
    for layer in encoder.layers:
        layer.self_attn.qkv_proj = Fused(layer.self_attn)
        layer.mlp = layer
    return encoder


@pytest.fixture(scope="module")
def features() -> Any:
    shared, cpu = SharedAudioPool.create(3), torch.device("cpu")
    slots = [shared.write(slot, spoken("en", slot).samples) for slot in range(3)]
    windows = SharedSamples(shared, cpu).load([slot.index for slot in slots], [slot.scale for slot in slots])
    return BatchLogMel(80, cpu)(*windows)


def test_features_equal_those_of_the_cpu_engine(features: Any) -> None:
    plain = LogMel(80)
    expected = np.stack([plain(spoken("en", index).samples) for index in range(3)])
    # Samples have 16 bits: anything 80 dB below the loudest may differ.
    assert np.abs(features.numpy() - expected).max() < 0.02
    assert np.abs(features.numpy() - expected).mean() < 1e-3


@pytest.mark.parametrize("n_windows", [1, 3])
def test_encoder_equals_that_of_transformers(features: Any, n_windows: int) -> None:
    model = transformers.WhisperForConditionalGeneration.from_pretrained(DEMO, dtype=torch.float32)
    encoder = model.model.encoder.eval()
    with torch.inference_mode():
        expected = encoder(features[:n_windows]).last_hidden_state
        theirs = with_vllm_layout(encoder)
        ours = encode(features[:n_windows], theirs, [layer_weights(layer) for layer in theirs.layers], 4)
    assert ours.shape == expected.shape
    assert torch.allclose(ours, expected, atol=2e-4)
