"""A transcript with speakers in OpenAI's `diarized_json`, and turns as RTTM. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from whisper_server.api.cues import seconds
from whisper_server.whisper.speakers import Turn, letter
from whisper_server.whisper.transcript import Segment, Transcript

RTTM_CONTENT_TYPE = "text/plain; charset=utf-8"


def to_diarized_json(transcript: Transcript, usage: Mapping[str, Any]) -> str:
    """OpenAI's TranscriptionDiarized."""
    body = {
        "task": transcript.task.value,
        "duration": seconds(transcript.duration_s),
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
        "start": seconds(segment.start_s),
        "end": seconds(segment.end_s),
        "text": segment.text,
        "speaker": segment.speaker or "",
    }


def segments_to_rttm(transcript: Transcript) -> str:
    """RTTM by the segments of a transcript, where there are no turns."""
    return to_rttm([Turn(one.start_s, one.end_s, one.speaker or letter(0)) for one in transcript.segments])


def to_rttm(turns: Sequence[Turn], recording: str = "recording") -> str:
    """NIST's Rich Transcription Time Marked format: a SPEAKER line per turn. A name has no space in it: `_` instead."""
    lines = (
        f"SPEAKER {recording} 1 {seconds(turn.start_s):.3f} {max(0.0, seconds(turn.end_s) - seconds(turn.start_s)):.3f} <NA> <NA> "
        f"{'_'.join(turn.speaker.split()) or 'unknown'} <NA> <NA>\n"
        for turn in turns
    )
    return "".join(lines)
