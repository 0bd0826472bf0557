"""Human voices by name, and conversations composed of them by a seed, with the truth about who speaks when.

Two sets of other people: TUNING sets thresholds, TESTING tests them. A voice is what one package has by one speaker (looked
at with voiceprints: one voice each; asterisk's `silence/` holds noise and is left out). Sound is mono float32 at 16 kHz.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from pinned_packages import unpacked
from real_kit.packages import ARMELLE, ES_CO, FILLETS, MENARDI, SOUNDS, STAMPS, TEXTS
from real_kit.speech import prompts

RATE_HZ = 16_000
TUNING = ("es-co", "armelle", "cs-m", "cs-v", "nl-m", "nl-v", "stamps-bg", "stamps-ro", "stamps-ca", "stamps-el")
TESTING = ("en", "fr", "it", "ru", "menardi", "stamps-be", "stamps-ru", "stamps-es", "stamps-fr")
MAX_PAUSE_S = 0.5
"""Shorter pauses belong to a turn."""
_N_CLIPS = 120
N_KEPT = 20
"""Clips of each voice that are in no conversation: references are made of them."""
_RMS = 0.05

Sound = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Said:
    """From when to when a voice speaks."""

    start_s: float
    end_s: float
    voice: str


@dataclass(frozen=True)
class Line:
    """What a voice says, as far as its package has the words."""

    voice: str
    text: str


@dataclass(frozen=True)
class Conversation:
    """A recording and its truth."""

    name: str
    sound: Sound
    said: tuple[Said, ...]
    lines: tuple[Line, ...] = ()
    """By start."""

    @property
    def n_voices(self) -> int:
        return len({one.voice for one in self.said})


@dataclass(frozen=True)
class _Clip:
    sound: Sound
    spans: tuple[tuple[float, float], ...]
    text: str


def conversation(
    voices: Sequence[str],
    duration_s: float,
    seed: int,
    *,
    overlap: float = 0.3,
    phone: bool = False,
    has_words: bool = False,
) -> Conversation:
    """Turns of 1 to 10 s with pauses of 0.1 to 1.2 s, a share of `overlap` with 0.2 to 1.5 s at a time instead.

    `has_words`: of clips whose words are known. Raises PackageUnavailable.
    """
    choice, noise = random.Random(seed), np.random.default_rng(seed)
    clips = {voice: choice.sample(kept, len(kept)) for voice in voices if (kept := _composed_of(voice, has_words))}
    gains = {voice: 10 ** (choice.uniform(-4, 4) / 20) for voice in voices}
    used = dict.fromkeys(voices, 0)
    sound = np.zeros(round((duration_s + 30) * RATE_HZ), np.float32)
    said: list[Said] = []
    lines: list[tuple[float, Line]] = []
    first_ones = choice.sample(voices, len(voices))
    at_s, last, last_s = choice.uniform(0.2, 1.0), "", 0.0
    while at_s < duration_s:
        voice = first_ones.pop(0) if first_ones else choice.choice([one for one in voices if one != last] or voices)
        start_s = at_s + choice.uniform(0.1, 1.2) if last else at_s
        if last and voice != last and choice.random() < overlap:
            start_s = max(0.1, at_s - min(choice.uniform(0.2, 1.5), last_s / 2))
        until_s = start_s + choice.uniform(1.2, 9)
        begin_s, now_s = start_s, start_s
        while now_s < until_s and now_s < duration_s + 15:
            clip = clips[voice][used[voice] % len(clips[voice])]
            used[voice] += 1
            first = round(now_s * RATE_HZ)
            room = sound[first : first + len(clip.sound)]
            room += clip.sound[: len(room)] * gains[voice]
            lines.append((now_s, Line(voice, clip.text)))
            said += [Said(now_s + one, now_s + other, voice) for one, other in clip.spans]
            now_s += len(clip.sound) / RATE_HZ + choice.uniform(0.1, 0.5)
        at_s, last, last_s = max(at_s, said[-1].end_s), voice, said[-1].end_s - begin_s
    sound = sound[: round((at_s + 0.5) * RATE_HZ)]
    if phone:
        sound = soxr.resample(soxr.resample(sound, RATE_HZ, 8000), 8000, RATE_HZ)
    sound = np.clip(sound + noise.standard_normal(len(sound)).astype(np.float32) * 0.0006, -1, 1)
    in_order = tuple(line for _, line in sorted(lines, key=lambda one: one[0]))
    return Conversation(f"{len(voices)} × {duration_s:g} s", sound.astype(np.float32), _bridged(said), in_order)


def reference(voice: str, seed: int) -> Sound:
    """4 to 10 s of a voice alone, of clips that are in no conversation."""
    choice = random.Random(seed)
    kept = clips_of(voice)[-N_KEPT:]
    sound = np.zeros(0, np.float32)
    for clip in choice.sample(kept, len(kept)):
        if len(sound) < 4 * RATE_HZ and len(sound) + len(clip.sound) < 10 * RATE_HZ:
            sound = np.concatenate([sound, clip.sound, np.zeros(4000, np.float32)])
    return sound


def _composed_of(voice: str, has_words: bool) -> list[_Clip]:
    return [clip for clip in clips_of(voice)[:-N_KEPT] if clip.text or not has_words]


@cache
def clips_of(voice: str) -> list[_Clip]:
    """Up to 120 clips of 1.2 to 12 s, without silence around them, all equally loud. Raises PackageUnavailable."""
    files = _files(voice)
    random.Random(1).shuffle(files)
    clips: list[_Clip] = []
    texts = {clip.path: clip.text for clip in prompts(voice)} if voice in TEXTS else {}
    for file in files:
        sound = _read(file)
        if not (spans := _speech(sound)):
            continue
        start_s, end_s = spans[0][0], spans[-1][1]
        if 1.2 <= end_s - start_s <= 12:
            cut = sound[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)]
            moved = tuple((one - start_s, other - start_s) for one, other in spans)
            clips.append(
                _Clip(
                    (cut / np.sqrt((cut**2).mean()) * _RMS).astype(np.float32),
                    moved,
                    texts.get(file) or _stamp_text(file),
                )
            )
        if len(clips) == _N_CLIPS:
            break
    return clips


def _stamp_text(file: Path) -> str:
    """What a stamp's description says; empty for other files."""
    stamp, _, language = file.stem.rpartition("_desc_")
    listing = file.with_name(f"{stamp}.txt")
    if not stamp or not listing.exists():
        return ""
    found = re.search(rf"^{re.escape(language)}\.utf8=(.*)$", listing.read_text("utf-8", "replace"), re.MULTILINE)
    return found[1].strip() if found else ""


def _files(voice: str) -> list[Path]:
    if voice in SOUNDS:
        return sorted(one for one in unpacked(SOUNDS[voice]).rglob("*.wav") if one.parent.name != "silence")
    kind, _, part = voice.partition("-")
    if kind in FILLETS:
        return sorted(unpacked(FILLETS[kind]).rglob(f"{kind}/*-{part}-*.ogg"))
    if kind == "stamps":
        return sorted(unpacked(STAMPS).rglob(f"*_desc_{part}.ogg"))
    package, suffix = {"es-co": (ES_CO, "gsm"), "armelle": (ARMELLE, "gsm"), "menardi": (MENARDI, "wav")}[voice]
    return sorted(unpacked(package).rglob(f"*.{suffix}"))


def _read(file: Path) -> Sound:
    raw = {"samplerate": 8000, "channels": 1, "format": "RAW", "subtype": "GSM610"} if file.suffix == ".gsm" else {}
    sound, rate_hz = soundfile.read(file, dtype="float32", always_2d=True, **raw)
    mono: Sound = soxr.resample(sound.mean(axis=1), rate_hz, RATE_HZ)
    return mono


def _speech(sound: Sound) -> list[tuple[float, float]]:
    """Where it is louder than 5 % of its loud parts (−26 dB), with pauses up to MAX_PAUSE_S."""
    n_frames = len(sound) // 160
    if n_frames < 20:
        return []
    loudness = np.sqrt((sound[: n_frames * 160].reshape(n_frames, 160) ** 2).mean(axis=1) + 1e-12)
    loudness = np.convolve(loudness, np.ones(3) / 3, "same")
    loud = np.flatnonzero(loudness > 0.05 * np.percentile(loudness, 95)).tolist()
    spans: list[tuple[float, float]] = []
    for frame in loud:
        if spans and frame / 100 - spans[-1][1] <= MAX_PAUSE_S:
            spans[-1] = (spans[-1][0], (frame + 1) / 100)
        else:
            spans.append((frame / 100, (frame + 1) / 100))
    return [(start_s, end_s) for start_s, end_s in spans if end_s - start_s > 0.1]


def _bridged(said: Iterable[Said]) -> tuple[Said, ...]:
    """Turns of one voice that are MAX_PAUSE_S apart or less are one."""
    joined: list[Said] = []
    for one in sorted(said, key=lambda one: (one.voice, one.start_s)):
        if joined and joined[-1].voice == one.voice and one.start_s - joined[-1].end_s <= MAX_PAUSE_S:
            joined[-1] = Said(joined[-1].start_s, max(joined[-1].end_s, one.end_s), one.voice)
        else:
            joined.append(one)
    return tuple(sorted(joined, key=lambda one: one.start_s))
