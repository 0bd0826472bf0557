"""A double of the Engine protocol that answers what a test tells it, stalls or fails. It never ships."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from model_kit.demo import demo_tokenizer
from whisper_server.speech.vad import Listening, Spans, VoiceDetector
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
    hold: Callable[[Samples], asyncio.Event | None] = lambda _samples: None
    """Where it gives an event for a window, that window is decoded only once it is set."""
    requests: list[DecodeRequest] = field(default_factory=list)
    decoded_windows: list[Samples] = field(default_factory=list)
    n_detections: int = 0
    n_open: int = 0
    most_open: int = 0

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
        )

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def health(self) -> str | None:
        return None

    def open_window(self, samples: Samples) -> WindowDouble:
        self.n_open += 1
        self.most_open = max(self.most_open, self.n_open)
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
        """A tenth of a second a token."""
        assert self._is_open
        n_tokens = len(text_tokens)
        return Alignment(tuple(0.1 * n for n in range(n_tokens + 1)), (0.5,) * n_tokens)

    def close(self) -> None:
        self._engine.n_open -= self._is_open
        self._is_open = False


class EarsDouble(VoiceDetector):
    """Hears speech where a test says so."""

    def __init__(
        self,
        hears: Callable[[Samples], bool] = lambda _samples: True,
        spans: Spans = (),
    ) -> None:
        self.hears = hears
        self.spans = spans
        self.asked: list[VoiceActivity] = []

    def has_speech(self, samples: Samples, *, threshold: float = 0.5) -> bool:
        return self.hears(samples)

    def speech_spans(
        self,
        samples: Samples,
        activity: VoiceActivity = VoiceActivity(),  # noqa: B008 - frozen
    ) -> Spans:
        self.asked.append(activity)
        return self.spans

    def listening(self, samples: Samples, activity: VoiceActivity) -> Listening:
        yield
        return self.speech_spans(samples, activity)
