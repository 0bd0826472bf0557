"""espeak-ng through its C library: samples at 16 kHz, and the start of each word.

The library reports the start of each word (word events), which is the ground truth for word times.
Loudness, trimming and resampling are those of `models/whisper-demo/recipe/gen.py`, and so is the library:
espeak-ng 1.52 from the package espeakng-loader. Debian's 1.51 pronounces Russian differently (WER 9 % instead of 6 %).
The same words in the same voice always give the same samples, so that failures are reproducible.
"""

from __future__ import annotations

import ctypes
import re
import threading
from _ctypes import dlclose
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from math import gcd

import espeakng_loader
import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

SAMPLE_RATE_HZ = 16_000
Samples = npt.NDArray[np.float32]

_OUTPUT_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_EVENT_LIST_TERMINATED = 0
_EVENT_WORD = 1
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4
_SEED = 3
"""A seed without errors of the demo model: with some others it repeats a syllable three times in one of the windows of
ten minutes, in int8 and alone as well as in a recording, so neither cutting nor batching is the cause (bench/RESULTS.md)."""
_AUDIBLE = 0.003
_PEAK = 0.9


class EspeakError(Exception):
    """espeak-ng cannot synthesise the text."""


@dataclass(frozen=True)
class Voice:
    """Voice and parameters of espeak-ng, in its own units."""

    name: str
    words_per_minute: int = 160
    pitch: int = 50
    pitch_range: int = 50


@dataclass(frozen=True)
class SpokenWord:
    """A word as written in the text, with its punctuation."""

    text: str
    start_s: float | None
    """None if espeak-ng speaks the word together with the previous one."""


@dataclass(frozen=True)
class Utterance:
    """One spoken text, trimmed: it starts and ends with sound."""

    text: str
    samples: Samples
    words: tuple[SpokenWord, ...]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Library:
    """The C library. It has one voice and one callback per process, so only one thread may speak at a time."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        data_path = espeakng_loader.get_data_path().encode()
        self.rate_hz: int = self._lib.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, data_path, 0)
        if self.rate_hz <= 0:
            raise EspeakError(f"espeak-ng cannot read its data in {data_path.decode()}")
        self._chunks: list[npt.NDArray[np.int16]] = []
        self._events: list[tuple[int, float]] = []
        self._callback = _Callback(self._receive)
        self._lib.espeak_SetSynthCallback(self._callback)

    def close(self) -> None:
        """Unload the library with all of its state."""
        self._lib.espeak_Terminate()
        dlclose(self._lib._handle)

    def _receive(self, wave: ctypes.Array[ctypes.c_short], n_samples: int, events: ctypes.Array[_Event]) -> int:
        if n_samples > 0:
            self._chunks.append(np.ctypeslib.as_array(wave, (n_samples,)).copy())
        index = 0
        while events[index].type != _EVENT_LIST_TERMINATED:
            event = events[index]
            if event.type == _EVENT_WORD:
                self._events.append((event.text_position - 1, event.audio_position_ms / 1000))
            index += 1
        return 0

    def synthesise(self, text: str, voice: Voice) -> tuple[npt.NDArray[np.int16], list[tuple[int, float]]]:
        """Samples at `rate_hz`, and per word (index of its first character, start in seconds)."""
        if self._lib.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise EspeakError(f"espeak-ng has no voice {voice.name}")
        self._lib.espeak_SetParameter(_PARAMETER_RATE, voice.words_per_minute, 0)
        self._lib.espeak_SetParameter(_PARAMETER_PITCH, voice.pitch, 0)
        self._lib.espeak_SetParameter(_PARAMETER_RANGE, voice.pitch_range, 0)
        self._lib.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
        self._chunks, self._events = [], []
        encoded = text.encode()
        self._lib.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded) + 1), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
        )
        return np.concatenate(self._chunks), self._events


_speaking = threading.Lock()


@contextmanager
def _loaded() -> Iterator[_Library]:
    """A freshly loaded library. The breath noise of some voices is random: its seed is the clock, and its state depends on all
    previous utterances, so without a reload the same words would differ from run to run.
    """
    with _speaking, closing(_Library()) as library:
        yield library


def speak(text: str, voice: Voice) -> Utterance:
    """Say `text`: mono, 16 kHz, peak at 0.9, silence around it trimmed, word times shifted with it."""
    with _loaded() as library:
        raw, events = library.synthesise(text, voice)
        rate_hz = library.rate_hz
    divisor = gcd(SAMPLE_RATE_HZ, rate_hz)
    samples = resample_poly(raw.astype(np.float32) / 32768, SAMPLE_RATE_HZ // divisor, rate_hz // divisor)
    audible = np.flatnonzero(np.abs(samples) > _AUDIBLE)
    first = int(audible[0])
    trimmed = samples[first : int(audible[-1]) + 1]
    scaled = (trimmed * _PEAK / np.abs(trimmed).max()).astype(np.float32)
    return Utterance(text, scaled, _words(text, events, first / SAMPLE_RATE_HZ))


def _words(text: str, events: list[tuple[int, float]], trimmed_s: float) -> tuple[SpokenWord, ...]:
    words = []
    reach = 0  # a dash between two words has no sound: its event belongs to the next word
    for match in re.finditer(r"\S*\w\S*", text):
        starts = [at_s for position, at_s in events if reach <= position < match.end()]
        start_s = max(0.0, min(starts) - trimmed_s) if starts else None
        words.append(SpokenWord(match.group(), start_s))
        reach = match.end()
    return tuple(words)
