"""A transcript in each response format (json, text, srt, vtt, verbose_json), with OpenAI's `usage` objects.

Pure: a transcript in, text and its content type out. `values` checks which format allows which field.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Collection, Iterable, Mapping
from itertools import groupby
from typing import Any

from whisper_server.api.cues import Cue, cues, seconds
from whisper_server.api.diarized import RTTM_CONTENT_TYPE, segments_to_rttm, to_diarized_json
from whisper_server.api.options import ResponseFormat
from whisper_server.api.subtitles.cues import readable_cues
from whisper_server.api.subtitles.limits import CueShape
from whisper_server.whisper.languages import language_name
from whisper_server.whisper.transcript import Segment, Task, TokenLogprob, Transcript, Word

Usage = Mapping[str, Any]

_JSON = "application/json; charset=utf-8"


def format_transcript(  # noqa: PLR0911 - one per format
    transcript: Transcript,
    response_format: str,
    granularities: Collection[str],
    usage: Usage,
    shape: CueShape | None = None,
) -> tuple[str, str]:
    """Body and content type.

    `granularities` (word, segment) count for verbose_json only; none means segment. `shape` counts for srt and vtt; None: a cue
    is a segment.
    """
    match response_format:
        case "json":
            return to_json(transcript, usage), _JSON
        case "text":
            return to_text(transcript), "text/plain; charset=utf-8"
        case "srt":
            return to_srt(transcript, shape), "application/x-subrip; charset=utf-8"
        case "vtt":
            return to_vtt(transcript, shape), "text/vtt; charset=utf-8"
        case "verbose_json":
            return to_verbose_json(transcript, granularities, usage), _JSON
        case "diarized_json":
            return to_diarized_json(transcript, usage), _JSON
        case "rttm":
            return segments_to_rttm(transcript), RTTM_CONTENT_TYPE
    raise ValueError(f"unknown format: {response_format}")


def to_json(transcript: Transcript, usage: Usage) -> str:
    """Text and usage; log-probabilities if the transcript has them."""
    body: dict[str, Any] = {"text": transcript.text}
    if transcript.logprobs:
        body["logprobs"] = logprob_objects(transcript.logprobs)
    return _json(body | {"languages": language_objects(transcript.languages), "usage": dict(usage)})


def logprob_objects(logprobs: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    """As OpenAI writes them, in events too."""
    return [{"token": one.token, "bytes": list(one.bytes), "logprob": _finite(one.logprob)} for one in logprobs]


def language_objects(codes: Iterable[str]) -> list[dict[str, str]]:
    """The detected languages, in the form in which OpenAI's gpt-transcribe lists them."""
    return [{"code": code} for code in codes]


def to_text(transcript: Transcript) -> str:
    """The text and, as OpenAI has it, a line end; where channels were transcribed, a line per turn with its speaker."""
    if not transcript.n_channels:
        return f"{transcript.text}\n"
    turns = groupby(transcript.segments, key=lambda segment: segment.speaker)
    return "".join(f"{speaker}: {_joined(segments)}\n" for speaker, segments in turns) or "\n"


def _joined(segments: Iterable[Segment]) -> str:
    return " ".join(" ".join(segment.text.split()) for segment in segments)


def to_srt(transcript: Transcript, shape: CueShape | None = None) -> str:
    """SubRip: numbered cues, a blank line after each. It has no escapes: an arrow in the text gets shorter."""
    shown = cues(transcript) if shape is None else readable_cues(transcript, shape, has_labels=True)
    return "".join(
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n"
        f"{_labelled(cue).replace('-->', '->')}\n\n"
        for number, cue in enumerate(shown, start=1)
    )


def to_vtt(transcript: Transcript, shape: CueShape | None = None) -> str:
    """WebVTT; `&`, `<` and `>`, and so the arrow, are written as its escapes. `<v Name>` says who speaks."""
    shown = cues(transcript) if shape is None else readable_cues(transcript, shape, has_labels=False)
    return "WEBVTT\n\n" + "".join(
        f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n{_voice(cue)}\n\n" for cue in shown
    )


def _labelled(cue: Cue) -> str:
    return f"{cue.speaker}: {cue.text}" if cue.speaker else cue.text


def _voice(cue: Cue) -> str:
    begin, end = cue.marked or (0, 0)
    before, said, after = (_escaped(part) for part in (cue.text[:begin], cue.text[begin:end], cue.text[end:]))
    text = f"{before}<u>{said}</u>{after}" if said else before + after
    return f"<v {_escaped(cue.speaker)}>{text}" if cue.speaker else text


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)


def to_verbose_json(transcript: Transcript, granularities: Collection[str], usage: Usage) -> str:
    """Everything that is known, with times for what `granularities` name."""
    translated = transcript.task is Task.TRANSLATE
    body: dict[str, Any] = {
        "task": transcript.task.value,
        # Of what is written, not of what was said: a translation is always into English.
        "language": "english" if translated else language_name(transcript.language),
        "duration": seconds(transcript.duration_s),
        "text": transcript.text,
    }
    if "segment" in granularities or not granularities:
        body["segments"] = [_segment(segment) for segment in transcript.segments]
    if "word" in granularities:
        body["words"] = [_word(word) for word in transcript.words if word.word.strip()]
    return _json(body | {"usage": dict(usage)})


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "id": segment.id,
        "seek": segment.seek,
        "start": seconds(segment.start_s),
        "end": seconds(segment.end_s),
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": _finite(segment.temperature),
        "avg_logprob": _finite(segment.avg_logprob),
        "compression_ratio": _finite(segment.compression_ratio),
        "no_speech_prob": _finite(segment.no_speech_prob),
        **_speaker(segment),
    }


def _word(word: Word) -> dict[str, Any]:
    times = {"start": seconds(word.start_s), "end": seconds(word.end_s)}
    return {"word": word.word.strip(), **times, **_speaker(word)}


def _speaker(said: Segment | Word) -> dict[str, str]:
    """OpenAI's segments of `diarized_json` have the field; those of verbose_json get it where speakers are known."""
    return {} if said.speaker is None else {"speaker": said.speaker}


def _clock(at_ms: int, decimal_mark: str) -> str:
    """HH:MM:SS,mmm; hours take as many digits as they need."""
    seconds, milliseconds = divmod(at_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{decimal_mark}{milliseconds:03d}"


def _finite(number: float) -> float:
    """JSON has no NaN and no infinity."""
    return float(number) if math.isfinite(number) else 0.0


def _json(body: Mapping[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def usage_of(transcript: Transcript, model: str, response_format: str) -> dict[str, Any]:
    """OpenAI's `usage`: tokens for json if the request names a `gpt-…` model, otherwise seconds."""
    if response_format in (ResponseFormat.JSON, ResponseFormat.DIARIZED_JSON) and model.startswith("gpt-"):
        return tokens_usage(transcript)
    return duration_usage(transcript)


def duration_usage(transcript: Transcript) -> dict[str, Any]:
    """Whole seconds, rounded up as in OpenAI's examples; of all channels that were transcribed."""
    return {"type": "duration", "seconds": math.ceil(transcript.duration_s * max(1, transcript.n_channels))}


def tokens_usage(transcript: Transcript) -> dict[str, Any]:
    """Audio tokens are positions of the encoder, 50 per second."""
    n_input_tokens = transcript.n_prompt_tokens + transcript.n_audio_tokens
    return {
        "type": "tokens",
        "input_tokens": n_input_tokens,
        "input_token_details": {
            "text_tokens": transcript.n_prompt_tokens,
            "audio_tokens": transcript.n_audio_tokens,
        },
        "output_tokens": transcript.n_output_tokens,
        "total_tokens": n_input_tokens + transcript.n_output_tokens,
    }
