"""From the text fields of a form to an `OptionsSpec`. Pure: names and strings in, values out.

`http.forms` reads the body; `fields` defines which fields exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from whisper_server.api.fields import FormFields, TranscriptionFields, TranslationFields, wire_names
from whisper_server.api.ignored_fields import IGNORED_FIELDS, refused_fields
from whisper_server.api.options import STREAMED_FORMATS, SUBTITLE_FORMATS, OptionsSpec, ResponseFormat
from whisper_server.api.speaker_fields import refuse_speaker_contradictions, speakers_of
from whisper_server.api.subtitles.limits import CueShape
from whisper_server.errors import BadRequest
from whisper_server.whisper.transcript import Task, VoiceActivity

FORM_OF_TASK: Mapping[Task, type[FormFields]] = {
    Task.TRANSCRIBE: TranscriptionFields,
    Task.TRANSLATE: TranslationFields,
}
_NAME = re.compile(r"(?P<base>[A-Za-z0-9_-]+)(?:\[(?P<key>[A-Za-z0-9_]*)\])?")
_KEPT_AS_WRITTEN = frozenset({"prompt", "keywords"})


@dataclass(frozen=True)
class FieldName:
    """The name of a part: `base[key]`."""

    base: str
    key: str | None
    """The text in the brackets; "" for empty ones; None without brackets."""


@dataclass(frozen=True)
class Values:
    """The text fields of a form, checked."""

    fields: FormFields
    ignored: tuple[str, ...]
    """Other servers' fields that were ignored."""


def quoted(text: str) -> str:
    """A client's text for a message or a log: printable and short."""
    return ascii(text if len(text) <= 64 else text[:64] + "…")


def parse_name(name: str, task: Task) -> FieldName:
    """The field that a part belongs to. Raises BadRequest for a field that this route does not know."""
    match = _NAME.fullmatch(name)
    field = FieldName(match["base"], match["key"]) if match else None
    if field is None or not _is_known(field, task):
        known = ", ".join(wire_names(FORM_OF_TASK[task]))
        raise BadRequest(f"Unknown field {quoted(name)}. The fields of this route: file, {known}.", param=name[:64])
    return field


def _is_known(field: FieldName, task: Task) -> bool:
    if field.base in IGNORED_FIELDS or field.base in refused_fields(task):
        return True
    is_list = wire_names(FORM_OF_TASK[task]).get(field.base)
    if is_list is None:
        return False
    if is_list:
        return not field.key or field.key.isdecimal()
    return field.key is None or (field.base == "chunking_strategy" and field.key != "")


def parse_values(pairs: Iterable[tuple[FieldName, str]], task: Task) -> Values:
    """Check the text fields of a form. An empty value counts as absent."""
    form = FORM_OF_TASK[task]
    is_list = wire_names(form)
    refused = refused_fields(task)
    raw: dict[str, Any] = {}
    ignored: list[str] = []
    for field, text in pairs:
        value = text if field.base in _KEPT_AS_WRITTEN else text.strip()
        if not value.strip():
            continue
        if field.base in refused:
            if value.lower() not in refused[field.base].harmless:
                raise BadRequest(f"{field.base}: {refused[field.base].reason}.", param=field.base)
        elif field.base in IGNORED_FIELDS:
            ignored.append(field.base)
        elif is_list[field.base]:
            raw.setdefault(field.base, []).append(value)
        else:
            _put(raw, field, value)
    return Values(_validated(form, raw), tuple(dict.fromkeys(ignored)))


def _put(raw: dict[str, Any], field: FieldName, value: str) -> None:
    """Set a field that has one value, or one key of a field that is an object. Raises BadRequest if it is set."""
    place: Any = raw
    key = field.base
    if field.key is not None:
        place, key = raw.setdefault(field.base, {}), field.key
    if not isinstance(place, dict) or key in place:
        raise BadRequest(f"{field.base} is given more than once; give it once.", param=field.base)
    place[key] = value


def _validated(form: type[FormFields], raw: dict[str, Any]) -> FormFields:
    if "model" not in raw:
        raise BadRequest("The field model is missing; GET /v1/models lists the names served here.", param="model")
    try:
        fields = form.model_validate(raw)
    except ValidationError as error:
        raise _as_bad_request(error) from None
    _refuse_contradictions(fields)
    return fields


def _as_bad_request(error: ValidationError) -> BadRequest:
    """Pydantic's first problem as one sentence that begins with the field."""
    problem = error.errors(include_url=False)[0]
    path = [str(step).removesuffix("[]") for step in problem["loc"]]
    place = ".".join(step for step in path if not step.isdecimal())
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    got = problem["input"]
    if problem["type"] == "missing":
        return BadRequest(f"{place}: field missing.", param=path[0])
    seen = f" (got {quoted(str(got))})" if isinstance(got, str | int | float) else ""
    return BadRequest(f"{place}: {message}{seen}.", param=path[0])


def _refuse_contradictions(fields: FormFields) -> None:
    """Refuse combinations of fields that are each valid alone."""
    format_ = fields.response_format
    refuse_speaker_contradictions(fields)
    if fields.language is not None and fields.languages:
        raise BadRequest("language and languages cannot be combined; give one of them.", param="languages")
    if fields.timestamp_granularities and format_ is not ResponseFormat.VERBOSE_JSON:
        raise BadRequest(
            f"timestamp_granularities needs response_format=verbose_json, not {format_}.",
            param="timestamp_granularities",
        )
    if fields.include and format_ is not ResponseFormat.JSON:
        raise BadRequest(f"include=logprobs needs response_format=json, not {format_}.", param="include")
    if fields.include and fields.multichannel:
        raise BadRequest("include=logprobs cannot be combined with multichannel; leave it out.", param="include")
    if len(set(fields.known_speaker_names)) < len(fields.known_speaker_names):
        raise BadRequest(
            "known_speaker_names has a name twice; give each speaker another.", param="known_speaker_names"
        )
    if fields.stream and format_ not in STREAMED_FORMATS:
        raise BadRequest(
            f"stream=true needs response_format json, text or diarized_json, not {format_}; leave stream out.",
            param="stream",
        )
    _refuse_unshaped(fields)


def _refuse_unshaped(fields: FormFields) -> None:
    """Refuse limits of subtitles for a format that has none."""
    format_ = fields.response_format
    given = [
        name for name in ("max_line_width", "max_line_count", "max_words_per_line", "max_cps") if getattr(fields, name)
    ]
    if given and format_ not in SUBTITLE_FORMATS:
        raise BadRequest(f"{given[0]} needs response_format srt or vtt, not {format_}; leave it out.", param=given[0])
    if fields.highlight_words and format_ is not ResponseFormat.VTT:
        raise BadRequest(
            f"highlight_words needs response_format=vtt, not {format_}; leave it out.", param="highlight_words"
        )


def _shape_of(fields: FormFields) -> CueShape:
    return CueShape(
        fields.max_line_width,
        fields.max_line_count,
        fields.max_words_per_line,
        fields.max_cps,
        fields.highlight_words,
    )


def spec_of(fields: FormFields, task: Task) -> OptionsSpec:
    """The options that the form asks for."""
    vad = fields.chunking_strategy
    if task is Task.TRANSLATE and fields.response_format is ResponseFormat.DIARIZED_JSON:
        raise BadRequest(
            "response_format=diarized_json is for transcriptions; use verbose_json with diarize=true for a translation.",
            param="response_format",
        )
    return OptionsSpec(
        task=task,
        response_format=fields.response_format,
        language=fields.language,
        languages=fields.languages,
        prompt=fields.prompt,
        keywords=fields.keywords,
        temperature=fields.temperature,
        granularities=fields.timestamp_granularities,
        include=fields.include,
        voice_activity=VoiceActivity(vad.threshold, vad.prefix_padding_ms, vad.silence_duration_ms) if vad else None,
        cue_shape=_shape_of(fields),
        multichannel=fields.multichannel,
        condition_on_previous_text=fields.condition_on_previous_text,
        speaker_names=fields.known_speaker_names,
        speakers=speakers_of(fields),
    )
