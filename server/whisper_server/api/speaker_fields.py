"""Which fields of a form go together with speakers. Pure; `values` calls it."""

from __future__ import annotations

from whisper_server.api.fields import FormFields
from whisper_server.api.options import SPEAKER_FORMATS, TIMED_FORMATS, ResponseFormat
from whisper_server.api.speakers import SpeakersSpec, speakers_spec
from whisper_server.errors import BadRequest

_OF_SPEAKERS = ("num_speakers", "min_speakers", "max_speakers", "known_speaker_names", "known_speaker_references")
_NOT_WITH_DIARIZED_JSON = ("timestamp_granularities", "include", "prompt")
"""OpenAI's gpt-4o-transcribe-diarize does not take them."""


def wants_speakers(fields: FormFields) -> bool:
    """Whether the answer has speakers by their voices; with `multichannel`, a channel is a speaker."""
    return not fields.multichannel and (fields.diarize or fields.response_format in SPEAKER_FORMATS)


def refuse_speaker_contradictions(fields: FormFields) -> None:
    """Raises BadRequest, which names the field."""
    format_ = fields.response_format
    if fields.diarize and format_ not in TIMED_FORMATS:
        raise BadRequest(
            f"diarize=true: response_format {format_} has no place for speakers; use one of {', '.join(sorted(TIMED_FORMATS))}.",
            param="diarize",
        )
    if fields.multichannel:
        _refuse_with_channels(fields)
    elif not wants_speakers(fields):
        for name in _OF_SPEAKERS:
            if getattr(fields, name):
                raise BadRequest(
                    f"{name} needs speakers: add response_format=diarized_json, or diarize=true with another format.",
                    param=name,
                )
    if format_ is ResponseFormat.DIARIZED_JSON:
        for name in _NOT_WITH_DIARIZED_JSON:
            if getattr(fields, name):
                raise BadRequest(
                    f"{name} cannot be combined with response_format=diarized_json; leave it out, or use verbose_json with diarize=true.",
                    param=name,
                )


def _refuse_with_channels(fields: FormFields) -> None:
    given = [name for name in ("diarize", *_OF_SPEAKERS) if name != "known_speaker_names" and getattr(fields, name)]
    if given:
        raise BadRequest(
            f"{given[0]} cannot be combined with multichannel, which has a speaker per channel; leave one of them out.",
            param=given[0],
        )
    if fields.response_format is ResponseFormat.RTTM:
        raise BadRequest(
            "response_format=rttm cannot be combined with multichannel, which has a speaker per channel; use diarized_json.",
            param="response_format",
        )


def speakers_of(fields: FormFields) -> SpeakersSpec | None:
    """What the form says about speakers; None where it does not ask for them. Raises BadRequest."""
    if not wants_speakers(fields):
        return None
    return speakers_spec(
        exact=fields.num_speakers,
        least=fields.min_speakers,
        most=fields.max_speakers,
        names=fields.known_speaker_names,
        urls=fields.known_speaker_references,
    )
