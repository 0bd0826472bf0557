"""OpenAI's `usage` objects: what a transcript cost, in tokens or in seconds."""

from __future__ import annotations

import math
from typing import Any

from whisper_server.api.fields import ResponseFormat
from whisper_server.whisper.transcript import Transcript


def usage_of(transcript: Transcript, model: str, response_format: ResponseFormat) -> dict[str, Any]:
    """Tokens for json where a `gpt-…` name was asked for, as OpenAI has it; else seconds."""
    if response_format is ResponseFormat.JSON and model.startswith("gpt-"):
        return tokens_usage(transcript)
    # Begun seconds count, as in OpenAI's examples.
    return {"type": "duration", "seconds": math.ceil(transcript.duration_s)}


def tokens_usage(transcript: Transcript) -> dict[str, Any]:
    """Audio tokens are positions of the encoder, 50 a second."""
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
