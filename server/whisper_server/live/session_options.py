"""From a session's configuration to what the pipeline and the turn detection take. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from whisper_server.api.realtime_session import LOGPROBS, SemanticTurns, SessionConfig
from whisper_server.errors import BadRequest, ModelNotFound
from whisper_server.live.speech_protocol import SpeechFacts
from whisper_server.whisper.transcript import Options


@dataclass(frozen=True)
class Eagerness:
    """Of `semantic_vad`."""

    turn_end_from: float
    """The probability of `speech.turn_end` from which a turn is over at a short pause."""
    max_silence_ms: int
    """After which it is over anyway: OpenAI's figures."""


EAGERNESS = {
    "high": Eagerness(0.3, 2000),
    "medium": Eagerness(0.5, 4000),
    "auto": Eagerness(0.5, 4000),
    "low": Eagerness(0.8, 8000),
}
"""On prompts by human voices in five languages 98, 95 and 89 % of 100 sentences end their turn at once with 0.3, 0.5 and 0.8, and
34, 31 and 19 % of 32 phrases that break off (`the number I have is`): tests/real/test_turn_ends.py."""
PIECE_SILENCE_MS = 700
"""A silence that ends a piece of a turn: its words are sent without waiting for the turn's end."""
DEFAULT_PREFIX_MS = 300


@dataclass(frozen=True)
class TurnRules:
    """How turns and pieces are found."""

    threshold: float = 0.5
    prefix_padding_ms: int = DEFAULT_PREFIX_MS
    turn_silence_ms: int | None = None
    """None: the client commits turns."""
    turn_end_from: float | None = None
    """None: only silence ends turns."""

    @property
    def piece_silence_ms(self) -> int:
        """The silence after which what was said is transcribed to its end."""
        return min(PIECE_SILENCE_MS, self.turn_silence_ms or PIECE_SILENCE_MS)


def turn_rules(config: SessionConfig) -> TurnRules:
    """The rules that `turn_detection` asks for."""
    turns = config.input.turn_detection
    if turns is None:
        return TurnRules()
    if isinstance(turns, SemanticTurns):
        eagerness = EAGERNESS[turns.eagerness]
        return TurnRules(turn_silence_ms=eagerness.max_silence_ms, turn_end_from=eagerness.turn_end_from)
    return TurnRules(turns.threshold, turns.prefix_padding_ms, turns.silence_duration_ms)


@dataclass(frozen=True)
class SessionRules:
    """The administrator's part: the names of the model, and a language for all speech."""

    models: Collection[str]
    language_force: str = ""

    def check(self, config: SessionConfig, facts: SpeechFacts) -> Options:
        """The pipeline's options. Raises ApiError for what this server or its model does not have."""
        place = "session.audio.input.transcription"
        given = config.input.transcription
        if given.model is not None and given.model not in self.models:
            raise ModelNotFound(
                f"The model `{given.model[:100]}` is not served here; these are: {', '.join(self.models)}.",
                param=f"{place}.model",
            )
        if given.language is not None and given.languages:
            raise BadRequest(
                f"{place}: language and languages cannot be combined; give one of them.", param=f"{place}.languages"
            )
        options = Options(
            language=self.language_force or given.language,
            languages=() if self.language_force else given.languages,
            prompt=given.prompt,
            keywords=given.keywords,
            logprobs=LOGPROBS in config.include,
        )
        try:
            facts.check_options(options)
        except BadRequest as error:
            error.param = f"{place}.{error.param}"
            raise
        return options
