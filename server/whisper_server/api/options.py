"""The options of a request as plain values, whether they come from a form or from the command line.

`OptionsSpec` holds what the request asks for; with the server's `Policy` it becomes the pipeline's `Options`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from whisper_runtime.choices import Subtitles, Timestamps
from whisper_runtime.languages import NAME_OF_CODE
from whisper_server.api.speakers import SpeakersSpec
from whisper_server.api.subtitles.limits import CueShape
from whisper_server.whisper.languages import parse_language
from whisper_server.whisper.transcript import Options, Task, VoiceActivity


class ResponseFormat(StrEnum):
    """How the transcript is written."""

    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VERBOSE_JSON = "verbose_json"
    VTT = "vtt"
    DIARIZED_JSON = "diarized_json"
    RTTM = "rttm"


class Granularity(StrEnum):
    """The units for which verbose_json has times."""

    WORD = "word"
    SEGMENT = "segment"


class Include(StrEnum):
    """Additions to the text in json."""

    LOGPROBS = "logprobs"


MAX_SPEAKER_NAME = 64
SUBTITLE_FORMATS = frozenset({ResponseFormat.SRT, ResponseFormat.VTT})
SPEAKER_FORMATS = frozenset({ResponseFormat.DIARIZED_JSON, ResponseFormat.RTTM})
"""Those that are nothing without speakers."""
TIMED_FORMATS = frozenset({*SUBTITLE_FORMATS, ResponseFormat.VERBOSE_JSON, *SPEAKER_FORMATS})
"""Those with times, and so with a place for speakers."""
STREAMED_FORMATS = frozenset({ResponseFormat.JSON, ResponseFormat.TEXT, ResponseFormat.DIARIZED_JSON})


@dataclass(frozen=True)
class Policy:
    """The administrator's decisions for every request."""

    language_force: str = ""
    """A Whisper code; empty: the request decides."""
    timestamps: Timestamps = Timestamps.AUTO
    subtitles: Subtitles = Subtitles.SEGMENTS


@dataclass(frozen=True, kw_only=True)
class OptionsSpec:
    """The options that a request asks for, checked one by one."""

    task: Task
    response_format: ResponseFormat = ResponseFormat.JSON
    language: str | None = None
    """A Whisper code; None: detect."""
    languages: tuple[str, ...] = ()
    """Codes that detection chooses from; empty: all."""
    prompt: str = ""
    keywords: tuple[str, ...] = ()
    temperature: float | None = None
    granularities: tuple[Granularity, ...] = ()
    include: tuple[Include, ...] = ()
    voice_activity: VoiceActivity | None = None
    cue_shape: CueShape = field(default_factory=CueShape)
    multichannel: bool = False
    condition_on_previous_text: bool | None = None
    """None: where the model is unsure."""
    speaker_names: tuple[str, ...] = ()
    speakers: SpeakersSpec | None = None
    """None: speakers do not matter."""

    def options(self, policy: Policy) -> Options:
        """The pipeline's options.

        With TIMESTAMPS=none, words still have times (they come from alignment, not from timestamp tokens),
        and a segment spans its window.
        """
        forced = policy.language_force
        return Options(
            task=self.task,
            language=forced or self.language,
            languages=() if forced else tuple(dict.fromkeys(self.languages)),
            prompt=self.prompt,
            keywords=self.keywords,
            temperature=self.temperature,
            timestamps=self._has_timestamps(policy.timestamps),
            # Segments are cut at the words where the speaker changes.
            words=Granularity.WORD in self.granularities or self.speakers is not None or self.shape(policy) is not None,
            cues=self.response_format in SUBTITLE_FORMATS,
            logprobs=Include.LOGPROBS in self.include,
            # Of a conversation, each channel is silent for about half of the time.
            voice_activity=self.voice_activity or (VoiceActivity() if self.multichannel else None),
            multichannel=self.multichannel,
            condition_on_previous_text=self.condition_on_previous_text,
            speaker_names=self.speaker_names,
        )

    def shape(self, policy: Policy) -> CueShape | None:
        """How subtitles are cut; None: a cue is a segment."""
        if self.response_format not in SUBTITLE_FORMATS:
            return None
        is_asked = not self.cue_shape.asks_for_nothing or policy.subtitles is Subtitles.READABLE
        return self.cue_shape if is_asked else None

    def times_of(self) -> tuple[Granularity, ...]:
        """The units for which verbose_json has times: segments unless the request names others."""
        return tuple(dict.fromkeys(self.granularities)) or (Granularity.SEGMENT,)

    def _has_timestamps(self, mode: Timestamps) -> bool:
        if mode is Timestamps.AUTO:
            return self.response_format in TIMED_FORMATS or self.multichannel  # turns are sorted by time
        return mode is Timestamps.SEGMENTS


def spoken_language(text: str) -> str | None:
    """A Whisper code; None: detect. "auto" is what whisper.cpp and its clients send for that. Raises ValueError."""
    if text.lower() == "auto":
        return None
    code = parse_language(text)
    if code is None:
        raise ValueError(
            "unknown language; use an ISO-639-1 code, a name or a tag (de, German, de-AT), "
            f"one of {', '.join(NAME_OF_CODE)}"
        )
    return code


def speaker_name(text: str) -> str:
    """The name itself. Raises ValueError for one that a line of a subtitle has no room for, or that could forge its marks."""
    if any(character in text for character in "<>\r\n") or len(text) > MAX_SPEAKER_NAME:
        raise ValueError(f"a speaker's name is one line of at most {MAX_SPEAKER_NAME} characters, without < and >")
    return text


def keyword(text: str) -> str:
    """The keyword itself. Raises ValueError for characters that could forge special tokens or lines."""
    if any(character in text for character in "<>\r\n"):
        raise ValueError("a keyword is one line without < and >")
    return text
