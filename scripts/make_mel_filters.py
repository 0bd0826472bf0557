#!/usr/bin/env python
"""Writes the mel filters that the server computes features with, made by librosa: server/whisper_server/whisper/mel_filters.npz.

openai/whisper ships the same matrices in a file of the same name (`whisper/assets`). The server only reads the file, because
importing librosa costs 8 s of CPU time and 175 MB at every start. tests/server/speech/test_as_librosa.py compares file and librosa.
"""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np

TARGET = Path(__file__).resolve().parents[1] / "server" / "whisper_server" / "whisper" / "mel_filters.npz"
N_MELS = (80, 128)
"""All published Whisper models have 80 bands, large-v3 and its turbo have 128."""

if __name__ == "__main__":
    filters = {
        f"mel_{n_mels}": librosa.filters.mel(sr=16_000, n_fft=400, n_mels=n_mels, dtype=np.float32) for n_mels in N_MELS
    }
    np.savez_compressed(TARGET, **filters)
