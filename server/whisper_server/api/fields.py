"""The form of a request, as types: `values` parses with them, and `openapi` documents them.

One model per route; a field's alias is its name on the wire ("keywords[]" is a list). The file is a stream, not a
value: FILE_FIELD describes it. `values` checks which fields may be combined.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from pydantic import BaseModel, ConfigDict, Field

from whisper_server.api.field_types import Chunking, Flag, Keyword, Language, LanguageChoice, SpeakerName
from whisper_server.api.options import (
    Granularity,
    Include,
    ResponseFormat,
)
from whisper_server.api.speakers import MAX_SPEAKERS
from whisper_server.api.subtitles.limits import BOUNDS
from whisper_server.whisper.transcript import MAX_CHANNELS

FILE_FIELD: Mapping[str, str] = {
    "name": "file",
    "description": (
        "The recording: flac, mp3, mp4, mpeg, mpga, m4a, ogg, opus, wav or webm, at any sampling rate and with any "
        "number of channels. The format is found from the content, not from the name."
    ),
}


class FormFields(BaseModel):
    """The fields of both routes: the union of OpenAI's whisper-1 and gpt-transcribe."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    model: str = Field(min_length=1, description="One of the names that GET /v1/models lists.")
    language: Language = Field(
        default=None,
        description=(
            "The language spoken: an ISO-639-1 code (`de`), a name (`German`) or a tag (`de-AT`). "
            "Left out or `auto`: detected. The operator of the server may force another one (LANGUAGE_FORCE)."
        ),
    )
    languages: tuple[LanguageChoice, ...] = Field(
        default=(),
        alias="languages[]",
        description="Languages that detection chooses from; not together with `language`. One field each.",
    )
    prompt: str = Field(
        default="",
        description="Text before the recording, in its language: style, spelling, names. The last 223 tokens count.",
    )
    keywords: tuple[Keyword, ...] = Field(
        default=(),
        alias="keywords[]",
        description="Words to expect. One field each, one line, without `<` and `>`.",
    )
    response_format: ResponseFormat = Field(default=ResponseFormat.JSON, description="How the transcript is written.")
    temperature: float | None = Field(
        default=None,
        ge=0,
        le=1,
        examples=[0],
        description=(
            "Left out or 0: the most likely words, and higher temperatures only for a window whose "
            "result looks wrong. Above 0: that temperature for all of it."
        ),
    )
    include: tuple[Include, ...] = Field(
        default=(),
        alias="include[]",
        description="`logprobs`: the log-probability of every token. With `response_format=json` only.",
    )
    timestamp_granularities: tuple[Granularity, ...] = Field(
        default=(),
        alias="timestamp_granularities[]",
        description="The units to give times of; `segment` if left out. With `response_format=verbose_json` only.",
    )
    max_line_width: int | None = Field(
        default=None,
        ge=BOUNDS["max_line_width"][0],
        le=BOUNDS["max_line_width"][1],
        description=(
            "Columns of a line of a subtitle; full-width characters take two. With `srt` and `vtt` only, as the next four. Any of "
            "the five makes readable subtitles, and what is left out follows the language: 42 × 2 in most, 20 columns per second."
        ),
    )
    max_line_count: int | None = Field(
        default=None, ge=BOUNDS["max_line_count"][0], le=BOUNDS["max_line_count"][1], description="Lines of a subtitle."
    )
    max_words_per_line: int | None = Field(
        default=None,
        ge=BOUNDS["max_words_per_line"][0],
        le=BOUNDS["max_words_per_line"][1],
        description="Words of a line. Without `max_line_width` and `max_line_count`, a subtitle is one such line.",
    )
    max_cps: float | None = Field(
        default=None,
        ge=BOUNDS["max_cps"][0],
        le=BOUNDS["max_cps"][1],
        description="Columns per second: a subtitle is shown for as long as it takes to read.",
    )
    highlight_words: Flag = Field(default=False, description="Underline each word while it is said. With `vtt` only.")
    stream: Flag = Field(
        default=False,
        description="Send the text as it is ready, as server-sent events. With `json`, `text` and `diarized_json` only.",
    )
    multichannel: Flag = Field(
        default=False,
        description=(
            f"Transcribe each of 2 to {MAX_CHANNELS} channels by itself: the channel is the `speaker`. Channels without sound, and those "
            "that are the same as another, cost nothing."
        ),
    )
    known_speaker_names: tuple[SpeakerName, ...] = Field(
        default=(),
        alias="known_speaker_names[]",
        max_length=MAX_CHANNELS,
        description=(
            "Names of up to 4 people whose voices `known_speaker_references[]` has. With `multichannel`: of the channels, in "
            "their order, where `channel_0`, `channel_1` … are not good enough."
        ),
    )
    condition_on_previous_text: Flag | None = Field(
        default=None,
        description=(
            "Give the model the text before, up to 223 tokens, with every window of 30 s (`true`): names and terms come out alike. The "
            "windows of a recording then wait for one another. Left out: only windows that the model is unsure of are decoded a "
            "second time with it, and the likelier text is kept. `false`: none."
        ),
    )
    chunking_strategy: Chunking = Field(
        default=None,
        description=(
            "`auto` or an object (as JSON, or as fields `chunking_strategy[type]` …): leave out what is no speech, "
            "found by voice activity detection. Left out: all of the recording is transcribed."
        ),
    )
    diarize: Flag = Field(
        default=False,
        description="Name the speakers in `verbose_json`, `srt` and `vtt`; `diarized_json` and `rttm` do so anyway.",
    )
    num_speakers: int | None = Field(
        default=None, ge=1, le=MAX_SPEAKERS, description="How many people speak, if you know it. With speakers only."
    )
    min_speakers: int | None = Field(default=None, ge=1, le=MAX_SPEAKERS, description="At least so many people speak.")
    max_speakers: int | None = Field(default=None, ge=1, le=MAX_SPEAKERS, description="At most so many people speak.")
    known_speaker_references: tuple[str, ...] = Field(
        default=(),
        alias="known_speaker_references[]",
        description="A recording of 2 to 10 s of each of them, alone, as a data URL. In the order of the names.",
    )


class TranscriptionFields(FormFields):
    """Fields of POST /v1/audio/transcriptions."""


class TranslationFields(FormFields):
    """Fields of POST /v1/audio/translations: all of a transcription's, where OpenAI has five of them."""

    prompt: str = Field(default="", description="English text before the recording: style, spelling, names.")


@cache
def wire_names(model: type[FormFields]) -> Mapping[str, bool]:
    """The bare name of every field, and whether it is a list. Asked for each field of each form: kept, as pydantic's list is slow to read."""
    return {name: (field.alias or "").endswith("[]") for name, field in model.model_fields.items()}


def list_names(model: type[FormFields]) -> tuple[str, ...]:
    """The names on the wire of the fields that may be repeated."""
    return tuple(f"{name}[]" for name, is_list in wire_names(model).items() if is_list)
