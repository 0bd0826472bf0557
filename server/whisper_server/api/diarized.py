"""A transcript with speakers in OpenAI's `diarized_json`, and turns as RTTM. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from whisper_server.api.cues import milliseconds
from whisper_server.whisper.speakers import Turn
from whisper_server.whisper.transcript import Segment, Transcript

RTTM_CONTENT_TYPE = "text/plain; charset=utf-8"


def to_diarized_json(transcript: Transcript, usage: Mapping[str, Any]) -> str:
    """OpenAI's TranscriptionDiarized."""
    body = {
        "task": transcript.task.value,
        "duration": milliseconds(transcript.duration_s) / 1000,
        "text": transcript.text,
        "segments": [segment_object(segment) for segment in transcript.segments],
        "usage": dict(usage),
    }
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def segment_object(segment: Segment) -> dict[str, Any]:
    """OpenAI's segment, in the answer and as an event of a stream."""
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{segment.id}",
        "start": milliseconds(segment.start_s) / 1000,
        "end": milliseconds(segment.end_s) / 1000,
        "text": segment.text,
        "speaker": segment.speaker or "",
    }


def to_rttm(turns: Sequence[Turn], recording: str = "recording") -> str:
    """NIST's Rich Transcription Time Marked format: a SPEAKER line per turn. A name has no space in it: `_` instead."""
    lines = (
        f"SPEAKER {recording} 1 {turn.start_s:.3f} {turn.end_s - turn.start_s:.3f} <NA> <NA> "
        f"{'_'.join(turn.speaker.split()) or 'unknown'} <NA> <NA>\n"
        for turn in turns
    )
    return "".join(lines)
