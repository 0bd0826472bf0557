"""From a session's configuration to what the pipeline and the turn detection take. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from whisper_server.api.realtime_session import LOGPROBS, SemanticTurns, SessionConfig
from whisper_server.errors import BadRequest, ModelNotFound
from whisper_server.live.speech_protocol import LiveSpeech
from whisper_server.whisper.transcript import Options

EAGERNESS_SILENCE_MS = {"high": 500, "medium": 1000, "auto": 1000, "low": 2000}
"""`semantic_vad` is a silence here, as no model hears whether a sentence is complete."""
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
        return TurnRules(turn_silence_ms=EAGERNESS_SILENCE_MS[turns.eagerness])
    return TurnRules(turns.threshold, turns.prefix_padding_ms, turns.silence_duration_ms)


@dataclass(frozen=True)
class SessionRules:
    """The administrator's part: the names of the model, and a language for all speech."""

    models: Collection[str]
    language_force: str = ""

    def check(self, config: SessionConfig, speech: LiveSpeech) -> Options:
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
            speech.check_options(options)
        except BadRequest as error:
            error.param = f"{place}.{error.param}"
            raise
        return options
