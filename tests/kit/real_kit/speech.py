"""Human speech with its words: single prompts, long recordings of them by a seed, and what makes them harder.

Sound is mono float32 at `RATE_HZ`, as telephones have it; servers and peers are handed the same wav file.
"""

from __future__ import annotations

import gzip
import io
import random
import re
import wave
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from pinned_packages import unpacked
from real_kit.packages import LIBRIVOX, MUSIC, SOUNDS, TEXTS

RATE_HZ = 8000
LANGUAGES = ("en", "es", "fr", "it", "ru")
VOICES = {
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}
QUIET_GAIN = 0.01
"""−40 dB."""
SPEED_UP = 1.8
SPEECH_OVER_MUSIC_DB = 10.0
MAX_CLIP_S = 30.0

Sound = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """One prompt in a file of its own."""

    name: str
    path: Path
    text: str
    duration_s: float

    def sound(self) -> Sound:
        return read(self.path)


@dataclass(frozen=True)
class Sentence:
    """What is said between two times of a long recording."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Recording:
    """Sound and the sentences in it."""

    name: str
    language: str
    sound: Sound
    sentences: tuple[Sentence, ...]

    @property
    def text(self) -> str:
        return " ".join(sentence.text for sentence in self.sentences)

    @property
    def duration_s(self) -> float:
        return len(self.sound) / RATE_HZ


def prompt_path(language: str, name: str) -> Path:
    """The wav file of one prompt."""
    return unpacked(SOUNDS[language]) / "usr/share/asterisk/sounds" / VOICES[language] / f"{name}.wav"


@cache
def prompts(language: str, min_words: int = 4, min_s: float = 1.5) -> tuple[Clip, ...]:
    """Prompts whose words are known, in the order of the package's list."""
    name = f"core-sounds-{language}.txt.gz"
    listing = unpacked(TEXTS[language]) / "usr/share/doc" / f"asterisk-core-sounds-{language}" / name
    found = []
    for line in gzip.decompress(listing.read_bytes()).decode("utf-8", "replace").splitlines():
        if line.startswith((";", "\ufeff")) or ":" not in line:
            continue
        prompt, text = (part.strip() for part in line.split(":", 1))
        path = prompt_path(language, prompt)
        # Brackets and dots stand for sounds, or for words that another file says.
        if not path.exists() or re.search(r"[\[\]<>()…]|\.\.\.", text) or len(text.split()) < min_words:
            continue
        duration_s = float(soundfile.info(str(path)).duration)
        if duration_s >= min_s:
            found.append(Clip(prompt, path, text, duration_s))
    return tuple(found)


def clips(language: str, n: int, seed: int = 7) -> tuple[Recording, ...]:
    """`n` prompts chosen by `seed`, each a recording of its own."""
    chosen = list(prompts(language))
    random.Random(seed).shuffle(chosen)
    return tuple(
        Recording(clip.name, language, clip.sound(), (Sentence(0.0, clip.duration_s, clip.text),))
        for clip in chosen[:n]
    )


def long_recording(language: str, n: int = 40, seed: int = 7) -> Recording:
    """`n` prompts with pauses of 0.2–1.2 s; about four minutes for 40. The same seed gives the same sound."""
    rng = random.Random(seed)
    chosen = [clip for clip in prompts(language) if clip.duration_s < MAX_CLIP_S]
    rng.shuffle(chosen)
    parts: list[Sound] = []
    sentences: list[Sentence] = []
    at_s = 0.0
    for clip in chosen[:n]:
        sound = clip.sound()
        n_pause = int(rng.uniform(0.2, 1.2) * RATE_HZ)
        sentences.append(Sentence(at_s, at_s + len(sound) / RATE_HZ, clip.text))
        parts += [sound, np.zeros(n_pause, np.float32)]
        at_s += (len(sound) + n_pause) / RATE_HZ
    return Recording(f"long-{seed}", language, np.concatenate(parts), tuple(sentences))


def librivox() -> tuple[Recording, ...]:
    """Five clips of 3–7 s, read by a volunteer."""
    folder = unpacked(LIBRIVOX) / "usr/share/pocketsphinx/test/data/librivox"
    found = []
    for line in (folder / "transcription").read_text(encoding="utf-8").splitlines():
        words, _, name = line.rpartition("(")
        path = folder / f"{name.strip().rstrip(')')}.wav"
        if path.exists():
            sound = read(path)
            text = re.sub(r"</?s>", "", words).strip()
            found.append(Recording(path.stem, "en", sound, (Sentence(0.0, len(sound) / RATE_HZ, text),)))
    return tuple(found)


def music() -> tuple[Recording, ...]:
    """Five pieces without a word, of one to five minutes."""
    folder = unpacked(MUSIC) / "usr/share/asterisk/moh"
    return tuple(Recording(path.stem, "en", read(path), ()) for path in sorted(folder.glob("*.wav")))


def over_music(recording: Recording) -> Recording:
    """Music under the speech, `SPEECH_OVER_MUSIC_DB` quieter by root mean square."""
    piece = np.resize(music()[0].sound, len(recording.sound))
    gain = _rms(recording.sound) / _rms(piece) * 10 ** (-SPEECH_OVER_MUSIC_DB / 20)
    return _changed(recording, "over music", recording.sound + piece * np.float32(gain))


def quiet(recording: Recording) -> Recording:
    """At −40 dB."""
    return _changed(recording, "at -40 dB", recording.sound * np.float32(QUIET_GAIN))


def fast(recording: Recording) -> Recording:
    """`SPEED_UP` times as fast, at the same pitch."""
    sentences = tuple(Sentence(s.start_s / SPEED_UP, s.end_s / SPEED_UP, s.text) for s in recording.sentences)
    import librosa  # it compiles at its first use, 29 CPU s

    stretched = librosa.effects.time_stretch(recording.sound, rate=SPEED_UP).astype(np.float32)
    return Recording(f"{recording.name} 1.8 × as fast", recording.language, stretched, sentences)


CHANGES: dict[str, Callable[[Recording], Recording]] = {"music": over_music, "quiet": quiet, "fast": fast}


def joined(*sounds: Sound) -> Sound:
    return np.concatenate(sounds)


def silence(duration_s: float) -> Sound:
    return np.zeros(round(duration_s * RATE_HZ), np.float32)


def wav(sound: Sound, rate_hz: int = RATE_HZ) -> bytes:
    """A wav file of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate_hz)
        writer.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def _changed(recording: Recording, how: str, sound: Sound) -> Recording:
    return Recording(f"{recording.name} {how}", recording.language, sound.astype(np.float32), recording.sentences)


def _rms(sound: Sound) -> float:
    return float(np.sqrt(np.mean(np.square(sound))))


def read(path: Path) -> Sound:
    sound, rate_hz = soundfile.read(str(path), dtype="float32")
    if rate_hz != RATE_HZ:
        sound = soxr.resample(sound, rate_hz, RATE_HZ)
    return np.asarray(sound, np.float32)
