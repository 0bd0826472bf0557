"""Where speech begins and ends in sound that arrives: from probabilities per frame to spans, without waiting for the end.

The rules of `speech.vad` for whole recordings, frame by frame: hysteresis, a span counts once a mean over 128 ms is
confident, and it ends after enough silence. Pure: the detector that makes the probabilities is elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from whisper_server.whisper.constants import SAMPLE_RATE_HZ

HYSTERESIS = 0.15
"""Speech ends only when the probability falls this far below the threshold (Silero's own figure)."""
CONFIDENCE_FRAMES = 4
CONFIDENCE_MARGIN = 0.3
"""As in `speech.vad`, which has the figures."""

MIN_FORGOTTEN_MS = 500
"""Of silence, after which what may have been speech was none. After 100 ms, as turns may end, quiet syllables were lost: 13 of some
20,000 frames of people's speech, none after 500."""


@dataclass(frozen=True)
class SpeechStarted:
    """Speech began."""

    sample: int
    """With the padding before it."""


@dataclass(frozen=True)
class SpeechStopped:
    """It has been silent for long enough."""

    sample: int
    """With the silence behind it."""
    speech_end: int
    """Where the silence began."""


class SpeechSpans:
    """Follows one stream of frames; samples count from the start of the stream."""

    def __init__(
        self, *, threshold: float, prefix_padding_ms: int, silence_duration_ms: int, frame_samples: int, start: int = 0
    ) -> None:
        self._threshold = threshold
        self._end_below = max(threshold - HYSTERESIS, 0.01)
        self._confident_from = threshold + CONFIDENCE_MARGIN * (1 - threshold)
        self._prefix = prefix_padding_ms * SAMPLE_RATE_HZ // 1000
        self._silence = silence_duration_ms * SAMPLE_RATE_HZ // 1000
        self._forgotten_after = max(self._silence, MIN_FORGOTTEN_MS * SAMPLE_RATE_HZ // 1000)
        self._frame_samples = frame_samples
        self._start = start
        self._at = start
        self._last: deque[float] = deque(maxlen=CONFIDENCE_FRAMES)
        self._began: int | None = None
        self._is_confident = False
        self._silent_from: int | None = None
        self.heard_until = start
        """The end of the last frame with speech."""
        self.confidence = 0.0
        """The highest mean over 128 ms in the span that has begun."""

    @property
    def is_speaking(self) -> bool:
        """Speech has started and has not stopped."""
        return self._is_confident

    @property
    def may_speak(self) -> bool:
        """Something began that may be speech; it is not certain yet."""
        return self._began is not None and not self._is_confident

    @property
    def at(self) -> int:
        """The end of the last frame."""
        return self._at

    @property
    def keep_from(self) -> int:
        """The first sample that a start of speech may still name."""
        return max(self._start, (self._at if self._began is None else self._began) - self._prefix)

    @property
    def silent_samples(self) -> int:
        """How long it has been silent within the span; 0 while somebody speaks."""
        return 0 if self._silent_from is None else self._at - self._silent_from

    def add(self, probabilities: Iterable[float]) -> Iterator[SpeechStarted | SpeechStopped]:
        """Take more frames."""
        for probability in probabilities:
            yield from self.hear(probability)

    def reset(self, end: int) -> None:
        """The next speech is a new span, and none of it from before `end`: the client has committed or cleared that."""
        self._start = max(end, self._at)
        self._forget_span()

    def _forget_span(self) -> None:
        self._began, self._is_confident, self._silent_from, self.confidence = None, False, None, 0.0

    def hear(self, probability: float) -> tuple[SpeechStarted | SpeechStopped, ...]:
        """Take one more frame. Nothing begins or ends in most: 31 come in a second of each session."""
        begin, self._at = self._at, self._at + self._frame_samples
        self._last.append(probability)
        if probability >= self._threshold:
            self._began = begin if self._began is None else self._began
            self._silent_from = None
            self.heard_until = self._at
        elif self._began is not None and (self._silent_from is not None or probability < self._end_below):
            self._silent_from = begin if self._silent_from is None else self._silent_from
        if self._began is None:
            return ()
        self.confidence = max(self.confidence, sum(self._last) / CONFIDENCE_FRAMES)
        marks: tuple[SpeechStarted | SpeechStopped, ...] = ()
        if not self._is_confident and self.confidence >= self._confident_from:
            self._is_confident = True
            marks = (SpeechStarted(max(self._start, self._began - self._prefix)),)
        enough = self._silence if self._is_confident else self._forgotten_after
        if self._silent_from is not None and self._at - self._silent_from >= enough:
            if self._is_confident:
                marks += (SpeechStopped(self._at, self._silent_from),)
                self._start = self._at
            self._forget_span()
        return marks


def ms_of(sample: int) -> int:
    """As events have it."""
    return sample * 1000 // SAMPLE_RATE_HZ
