"""Doubles of the Engine Protocol and the voice detector: a test sets what they return, and where they stall or fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from model_kit.demo import demo_tokenizer
from whisper_server.speech.vad import Spans, SpeechSpanSteps, VoiceDetector
from whisper_server.whisper.engine_protocol import Alignment, Decoded, DecodeRequest, LanguageGuess, ModelFacts
from whisper_server.whisper.transcript import Samples, VoiceActivity

Answer = Callable[[Samples, DecodeRequest], Decoded]


def said(
    text: str, *, avg_logprob: float = -0.1, no_speech_prob: float = 0.0, hit_length_limit: bool = False
) -> Decoded:
    """A decoded window with this text, in which `<12.34>` is a timestamp."""
    tokenizer = demo_tokenizer()
    tokens: list[int] = []
    for number, piece in enumerate(text.replace(">", "<").split("<")):
        if number % 2:
            tokens.append(tokenizer.special.timestamp_begin + round(float(piece) * 50))
        else:
            tokens += tokenizer.encode_text(piece)
    return Decoded(
        tokens=tuple(tokens),
        sum_logprob=avg_logprob * (len(tokens) + 1),
        no_speech_prob=no_speech_prob,
        token_logprobs=(avg_logprob,) * len(tokens),
        hit_length_limit=hit_length_limit,
    )


@dataclass
class EngineDouble:
    answer: Answer
    languages: tuple[tuple[str, float], ...] = (("en", 0.75), ("de", 0.25))
    n_slots: int = 4
    max_live_windows: int | None = None
    hold: Callable[[Samples], asyncio.Event | None] = lambda _samples: None
    """If it returns an event for a window, decoding of that window waits for the event."""
    requests: list[DecodeRequest] = field(default_factory=list)
    decoded_windows: list[Samples] = field(default_factory=list)
    unheard_tokens: frozenset[int] = frozenset()
    """To which an alignment gives no probability."""
    last_token_end_s: float | None = None
    """In an alignment; None: 0.1 s after its start."""
    n_detections: int = 0
    n_open: int = 0
    max_open: int = 0

    @property
    def facts(self) -> ModelFacts:
        return ModelFacts(
            model_id="double",
            engine="double",
            dtype="float32",
            device="cpu",
            is_multilingual=True,
            n_text_positions=448,
            n_windows_in_flight=self.n_slots,
            max_live_windows=self.max_live_windows,
        )

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def health(self) -> str | None:
        return None

    def open_window(
        self, samples: Samples, *, owner: str = "", is_live: bool = False, timestamps: bool = True
    ) -> WindowDouble:
        self.n_open += 1
        self.max_open = max(self.max_open, self.n_open)
        return WindowDouble(self, samples)


class WindowDouble:
    def __init__(self, engine: EngineDouble, samples: Samples) -> None:
        self._engine = engine
        self._samples = samples
        self._is_open = True

    async def detect_language(self) -> LanguageGuess:
        assert self._is_open
        self._engine.n_detections += 1
        await asyncio.sleep(0)
        return LanguageGuess(self._engine.languages)

    async def decode(self, request: DecodeRequest) -> Decoded:
        assert self._is_open
        self._engine.requests.append(request)
        if (event := self._engine.hold(self._samples)) is not None:
            await event.wait()
        await asyncio.sleep(0)
        self._engine.decoded_windows.append(self._samples)
        return self._engine.answer(self._samples, request)

    async def align(self, sot_sequence: tuple[int, ...], text_tokens: tuple[int, ...]) -> Alignment:
        """0.1 s per token."""
        assert self._is_open
        n_tokens = len(text_tokens)
        probabilities = tuple(0.0 if token in self._engine.unheard_tokens else 0.5 for token in text_tokens)
        starts_s = [0.1 * n for n in range(n_tokens + 1)]
        if self._engine.last_token_end_s is not None:
            starts_s[-1] = self._engine.last_token_end_s
        return Alignment(tuple(starts_s), probabilities)

    def close(self) -> None:
        self._engine.n_open -= self._is_open
        self._is_open = False


class VoiceDetectorDouble(VoiceDetector):
    """Detects speech where a test sets it."""

    def __init__(
        self,
        is_speech: Callable[[Samples], bool] = lambda _samples: True,
        spans: Spans = (),
    ) -> None:
        self.is_speech = is_speech
        self.spans = spans
        self.requests: list[VoiceActivity] = []

    def has_speech(self, samples: Samples, *, threshold: float = 0.5) -> bool:
        return self.is_speech(samples)

    def first_speech(self, samples: Samples, *, threshold: float = 0.5) -> int | None:
        return 0 if self.is_speech(samples) else None

    def speech_spans(
        self,
        samples: Samples,
        activity: VoiceActivity = VoiceActivity(),  # noqa: B008 - frozen
    ) -> Spans:
        self.requests.append(activity)
        return self.spans

    def speech_span_steps(self, samples: Samples, activity: VoiceActivity) -> SpeechSpanSteps:
        yield
        return self.speech_spans(samples, activity)
