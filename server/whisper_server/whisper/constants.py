"""Numbers that every published Whisper model has in common, as in `whisper/audio.py` of openai/whisper."""

from __future__ import annotations

SAMPLE_RATE_HZ = 16_000

WINDOW_S = 30
"""Input length of the encoder; shorter windows are padded with silence."""

N_WINDOW_SAMPLES = WINDOW_S * SAMPLE_RATE_HZ

N_FFT = 400

MEL_HOP_SAMPLES = 160
"""Samples per mel frame. `seek` in a segment counts these frames (100 per second)."""

N_MEL_FRAMES = N_WINDOW_SAMPLES // MEL_HOP_SAMPLES
"""3000 in a window."""

FRAMES_PER_POSITION = 2
"""Mel frames per encoder position: the second convolution has a stride of 2."""

N_AUDIO_POSITIONS = N_MEL_FRAMES // FRAMES_PER_POSITION
"""1500 encoder positions in a window (`n_audio_ctx`)."""

AUDIO_POSITIONS_PER_S = N_AUDIO_POSITIONS // WINDOW_S
"""50; OpenAI's usage counts one audio token per position."""

POSITION_S = 1 / AUDIO_POSITIONS_PER_S
"""0.02 s: one encoder position, and one step of the timestamp tokens (`time_precision`)."""

MAX_INITIAL_TIMESTAMP_INDEX = 50
"""A window's first timestamp is at most 1 s (`max_initial_timestamp` in `decoding.py`)."""

MEDIAN_FILTER_WIDTH = 7
"""Over the attention weights before the alignment (`medfilt_width` in `timing.py`)."""
