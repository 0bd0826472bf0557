"""Input and output of the pipeline: the options of a request, and the transcript.

Frozen data only. `http.forms` parses the options, `api.formats` writes the transcript.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MAX_CUE_S = 7.0
MAX_CUE_CHARACTERS = 84
"""Two lines of 42 characters for 7 s, the usual limits of subtitles (BBC, Netflix). Of 226 segments of real speech, 5 % are
longer than 7 s and 10 % than 90 characters."""
MAX_CHANNELS = 8
"""As many as 7.1 has; each is decoded and transcribed like a recording of its own."""

Samples = npt.NDArray[np.float32]
"""Mono audio at 16 kHz, −1 … 1, shape (n_samples,)."""


class Task(StrEnum):
    """The decoder's task; the value is the name of its token."""

    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


@dataclass(frozen=True)
class VoiceActivity:
    """OpenAI's `chunking_strategy` of type `server_vad`."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 200


def is_long_cue(duration_s: float, n_characters: int) -> bool:
    """Whether a subtitle should be shown in parts."""
    return duration_s > MAX_CUE_S or n_characters > MAX_CUE_CHARACTERS


@dataclass(frozen=True)
class Options:
    """The options of one request."""

    task: Task = Task.TRANSCRIBE
    language: str | None = None
    """A language code; None: detect it."""
    languages: tuple[str, ...] = ()
    """Codes that detection may choose; empty: all languages of the model."""
    prompt: str = ""
    keywords: tuple[str, ...] = ()
    temperature: float | None = None
    """None or 0: temperature fallback; any other value: only that temperature."""
    timestamps: bool = False
    """Segments from timestamp tokens; False: a segment spans its window."""
    words: bool = False
    cues: bool = False
    """Words of windows with a segment that is too long for a cue."""
    logprobs: bool = False
    condition_on_previous_text: bool | None = None
    """True: each window gets the text before it as a prompt, so windows are transcribed one after the other. None: those that
    the model is unsure of, for a second decoding."""
    voice_activity: VoiceActivity | None = None
    multichannel: bool = False
    """Each channel is transcribed by itself, and is a speaker."""
    speaker_names: tuple[str, ...] = ()
    """Of the first channels."""


class TokenLogprob(NamedTuple):  # a frozen dataclass takes twice as long to make, and each live pass has some thirty
    """One text token and the log-probability that it was decoded with."""

    token: str
    bytes: tuple[int, ...]
    logprob: float


@dataclass(frozen=True)
class Word:
    """A word with its punctuation; times in seconds from the start of the recording."""

    word: str
    start_s: float
    end_s: float
    probability: float
    speaker: str | None = None
    """None: speakers are not told apart."""
    least_probability: float = 1.0
    """Of its least likely token; `probability` is the mean."""


@dataclass(frozen=True)
class Segment:
    """A segment; times in seconds from the start of the recording."""

    id: int
    seek: int
    """Start of the segment's window, in mel frames of 10 ms."""
    start_s: float
    end_s: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: tuple[Word, ...] = ()
    speaker: str | None = None
    """None: speakers are not told apart."""


@dataclass(frozen=True)
class WindowTranscript:
    """One accepted window. The `text` of all of them, joined, is the transcript's text."""

    text: str
    segments: tuple[Segment, ...]
    logprobs: tuple[TokenLogprob, ...] = ()
    n_output_tokens: int = 0
    language: str = ""
    """Code of the language that the window was decoded in."""
    speaker: str | None = None

    @property
    def words(self) -> tuple[Word, ...]:
        """Those of all segments; empty where none were asked for."""
        return tuple(word for segment in self.segments for word in segment.words)


@dataclass(frozen=True)
class Transcript:
    """The transcript of a whole recording."""

    task: Task
    languages: tuple[str, ...]
    """Codes of the languages that were detected or given: first the recording's, then those of windows in another one."""
    duration_s: float
    text: str
    segments: tuple[Segment, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    n_prompt_tokens: int = 0
    """Number of text tokens of prompt and keywords."""
    n_audio_tokens: int = 0
    """Encoder positions of the recording's length: 50 per second."""
    n_output_tokens: int = 0
    n_channels: int = 0
    """Channels that were transcribed each by itself; 0: all of them were mixed."""

    @property
    def language(self) -> str:
        """Code of the recording's language."""
        return self.languages[0]

    @property
    def words(self) -> tuple[Word, ...]:
        """All words in order."""
        return tuple(word for segment in self.segments for word in segment.words)


@dataclass(frozen=True)
class ServedModel:
    """A model name that requests may use."""

    id: str
    created: int
    """Unix time."""
    owned_by: str = "whisper-server"


@dataclass(frozen=True)
class PlacedWord:
    """A word and where its text ends in the segment's."""

    word: Word
    end: int


def placed_words(segment: Segment) -> tuple[PlacedWord, ...]:
    """The words in the order of the text; none if one of them is not in it."""
    placed: list[PlacedWord] = []
    end = 0
    for word in segment.words:
        start = segment.text.find(word.word, end)
        if start < 0 or not word.word:
            return ()
        end = start + len(word.word)
        placed.append(PlacedWord(word, end))
    return tuple(placed)
