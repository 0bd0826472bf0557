"""Decides whether a decoded window is accepted, is silence, or is decoded again at a higher temperature.

Thresholds and order are those of openai/whisper's `transcribe.py` (`decode_with_fallback`). Pure functions:
this module does not decode.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from whisper_server.whisper.engine_protocol import Decoded
from whisper_server.whisper.transcript import VoiceActivity

MAX_COMPRESSION_RATIO = 2.4
MIN_AVG_LOGPROB = -1.0
MIN_SAID_AGAIN_AVG_LOGPROB = -0.5
"""Of a text above MAX_COMPRESSION_RATIO that the speaker may have said. Prompts in the order of a telephone's menus (five languages, Whisper base in
int8): 8 of 315 windows are above, all 8 right at temperature 0, with -0.03 to -0.30; higher temperatures get the same, or nonsense that passes."""
FIRST_NOT_LATIN, FIRST_LATIN_AGAIN = "\u0370", "\u1e00"
"""Unicode's blocks between these two are those of the other alphabets. Behind them are Vietnamese letters, punctuation and symbols: ten
"♪ " in a row are a loop in UTF-8, in one byte each only fifteen."""
MAX_NO_SPEECH_PROB = 0.6
"""Real prompts have 0.43 at most (160 of Whisper base), music and noise 0.08 to 0.99."""
DOUBTFUL_AVG_LOGPROB = -0.3
"""A text below it counts as speech only if the voice detector finds speech too. What Whisper base invents in 82 pieces of
real music and 24 sounds stays below it (-0.33 at most), unless it repeats itself. Of 100 real prompts 26 are above with
timestamps, 76 without, so the detector is often asked; it denies none of the 100."""
MAX_SHORT_S = 1.5
"""Recordings of one or two words: 0.4 to 1.2 s."""
MAX_SHORT_NO_SPEECH_PROB = 0.5
"""Words alone: 0.03 to 0.41 (36 prompts in English and Spanish that the voice detector denies). Beeps, silence, noise and
music of the same length: 0.76 to 0.95 (30 recordings). Both by Whisper base."""
SHORT_SPEECH_THRESHOLD = 0.3
"""Threshold of the voice detector for them: 0.3 asks for a mean of 0.51 over 128 ms. Of 36 words that the default denies,
18 reach it; beeps, tones, noise and music of the same length reach 0.20 at most."""
MAX_QUICK_S = 3.0
SURE_NO_SPEECH_PROB = 0.05
"""Below it, in a recording of at most 3 s, the model is sure of speech, and the detector needs no more evidence than for a single word.
One of 500 prompts (five languages, with times) came back empty: 1.8 s of French at 0.005, which the detector finds at 0.4 but not at
0.5. Music of 1.5 to 3 s has 0.57 at least (75 windows); windows of 30 s reach 0.046."""
CLEAR_SPEECH_THRESHOLD = 0.6
"""Threshold of the voice detector where the model reports no speech, and after all temperatures failed; it asks for a mean
of 0.72 over 128 ms. Real prompts reach 0.78 at least; real music 0.67 at most, at the quiet end of a piece, where the model
hears "you"; drums and arpeggios that pass 0.5 stay below, too."""
MAX_TEMPERATURE_WITH_PROMPT = 0.5
"""Above this temperature the prompt is left out (openai/whisper: `condition_on_previous_text`)."""
MAX_REPEATED_TOKENS = 32
"""Maximum length of a phrase that is recognised as a repetition."""


@dataclass(frozen=True)
class Attempt:
    """One decoding of a window, with the figures that decide whether it is accepted."""

    decoded: Decoded
    text: str
    temperature: float
    avg_logprob: float
    compression_ratio: float

    @property
    def reports_silence(self) -> bool:
        """The model reports no speech, whatever it wrote."""
        return self.decoded.no_speech_prob > MAX_NO_SPEECH_PROB

    @property
    def is_silence(self) -> bool:
        """The model reports no speech, and the words are unlikely too (openai/whisper: `should_skip`)."""
        return self.reports_silence and self.avg_logprob < MIN_AVG_LOGPROB

    @property
    def is_wordless(self) -> bool:
        """Silence, or an empty text."""
        return self.is_silence or not self.text.strip()

    @property
    def needs_fallback(self) -> bool:
        """The text repeats itself or is too unlikely, and the window is not silence."""
        too_repetitive = self.compression_ratio > MAX_COMPRESSION_RATIO
        return (too_repetitive or self.avg_logprob < MIN_AVG_LOGPROB) and not self.is_silence

    @property
    def is_doubtful(self) -> bool:
        """The text failed, is so unlikely that the model may have invented it, or the model itself reports no speech."""
        return self.needs_fallback or self.reports_silence or self.avg_logprob < DOUBTFUL_AVG_LOGPROB


def speech_threshold(attempt: Attempt, duration_s: float, default: float = VoiceActivity.threshold) -> float:
    """Threshold of the voice detector that a doubtful text must pass, in a window of `duration_s` seconds.

    The detector misses single words. Where the model itself reports speech, less evidence from the detector is enough;
    where it reports none, more is necessary.
    """
    no_speech_prob = attempt.decoded.no_speech_prob
    is_sure = no_speech_prob <= SURE_NO_SPEECH_PROB and not attempt.needs_fallback
    is_one_word = duration_s <= MAX_SHORT_S and no_speech_prob <= MAX_SHORT_NO_SPEECH_PROB
    if is_one_word or (is_sure and duration_s <= MAX_QUICK_S):
        return SHORT_SPEECH_THRESHOLD
    return max(default, CLEAR_SPEECH_THRESHOLD) if attempt.reports_silence else default


def make_attempt(decoded: Decoded, text: str, temperature: float) -> Attempt:
    """Compute the figures of one decoding."""
    return Attempt(
        decoded=decoded,
        text=text,
        temperature=temperature,
        avg_logprob=decoded.sum_logprob / (len(decoded.tokens) + 1),
        compression_ratio=compression_ratio(text),
    )


def compression_ratio(text: str) -> float:
    """Length of the text per length after zlib; a text above 2.4 repeats itself. 0 for an empty text.

    As openai/whisper's, but letters that UTF-8 writes in two bytes and more (Cyrillic, Greek, Arabic, Devanagari) count as one, like
    Latin ones: in bytes of UTF-8 correct Russian menus reach 2.71 (178 windows of Whisper base), so that 18 of them were sampled
    at higher temperatures until a text had enough wrong letters to pass. In letters they reach 2.08, Spanish 1.92.
    """
    data = _one_byte_per_letter(text.strip())
    return len(data) / len(zlib.compress(data)) if data else 0.0


def _one_byte_per_letter(text: str) -> bytes:
    """Latin letters, symbols, ideographs and kana stay as UTF-8 has them; a byte stands for two letters where there are more than 128."""
    others = [character for character in dict.fromkeys(text) if FIRST_NOT_LATIN <= character < FIRST_LATIN_AGAIN]
    if not others:
        return text.encode()
    letters = {character: bytes([0x80 + number % 0x80]) for number, character in enumerate(others)}
    return b"".join(letters.get(character) or character.encode() for character in text)


def temperatures(requested: float | None, fallback: Sequence[float]) -> tuple[float, ...]:
    """The temperatures to try in order: `fallback`, unless the request names one above 0."""
    return (requested,) if requested else tuple(fallback)


def best(attempts: Sequence[Attempt], ends_in_loop: Callable[[Attempt], bool]) -> Attempt:
    """The attempt to keep when all failed: the likeliest of those that do not repeat themselves, if there are any.

    If all of those are too unlikely, one that repeats itself but is likely and does not end in a loop comes first: the speaker
    repeats. The only other attempt may be that at temperature 1: "needle,click 3 est. 1", with an avg_logprob of -5.4 for -0.14
    (Whisper base, a menu of 40 s).
    """
    likely = [attempt for attempt in attempts if attempt.avg_logprob >= MIN_AVG_LOGPROB]
    not_repetitive = [attempt for attempt in attempts if attempt.compression_ratio <= MAX_COMPRESSION_RATIO]
    likely_and_not_repetitive = [attempt for attempt in likely if attempt in not_repetitive]
    said_twice = [attempt for attempt in likely if not ends_in_loop(attempt)]
    for group in (likely_and_not_repetitive, said_twice, not_repetitive):
        if group:
            return max(group, key=lambda attempt: attempt.avg_logprob)
    return min(attempts, key=lambda attempt: attempt.compression_ratio)


def repetition_end(tokens: Sequence[int]) -> int:
    """The number of tokens to keep so that a phrase repeated at the end of the text remains once.

    A repetition is a phrase of 1–32 tokens that ends the text at least three times in a row; a last copy that
    is cut off belongs to it. If several phrases qualify ("no no no, no no no, …"), the one that leaves the
    fewest tokens is used.
    """
    ends = [len(tokens)]
    for length in range(1, MAX_REPEATED_TOKENS + 1):
        run = length
        while run < len(tokens) and tokens[-run - 1] == tokens[-run - 1 + length]:
            run += 1
        if run >= 3 * length:
            ends.append(len(tokens) - run + length)
    return min(ends)
