"""Run in an image's build stage, with NUMBA_CACHE_DIR set: calls what the server calls of librosa, so that numba compiles it.

What is forgotten here is compiled at run time; nothing fails.
"""

import librosa
import numpy as np

SOUND = np.zeros(16000, dtype=np.float32)

librosa.filters.mel(sr=16000, n_fft=400, n_mels=80, dtype=np.float32)
librosa.stft(SOUND, n_fft=400, hop_length=160, window="hann", pad_mode="reflect")
librosa.feature.rms(y=SOUND, frame_length=400, hop_length=160, center=False)
