"""Fields of other servers, which their clients are known to send.

Most tune another decoder and are ignored. Those that ask for another kind of answer (a translation, speakers) are
refused unless their value asks for nothing: ignoring them would give a wrong answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from whisper_server.whisper.transcript import Task

_VLLM: frozenset[str] = frozenset(
    {
        "frequency_penalty",
        "include_stop_str_in_output",
        "length_penalty",
        "max_completion_tokens",
        "min_p",
        "n",
        "presence_penalty",
        "repetition_penalty",
        "seed",
        "stream_continuous_usage_stats",
        "stream_include_usage",
        "top_k",
        "top_p",
        "use_beam_search",
        "vllm_xargs",
        "watermarking",
    }
)
"""vLLM: SamplingParams in its transcription and translation requests."""
_FASTER_WHISPER: frozenset[str] = frozenset(
    {
        "append_punctuations",
        "batch_size",
        "beam_size",
        "best_of",
        "chunk_length",
        "clip_timestamps",
        "compression_ratio_threshold",
        "encode",
        "hallucination_silence_threshold",
        "hotwords",
        "initial_prompt",
        "language_detection_segments",
        "language_detection_threshold",
        "log_prob_threshold",
        "log_progress",
        "max_initial_timestamp",
        "max_new_tokens",
        "multilingual",
        "no_repeat_ngram_size",
        "no_speech_threshold",
        "patience",
        "prefix",
        "prepend_punctuations",
        "prompt_reset_on_temperature",
        "suppress_blank",
        "suppress_tokens",
        "vad_filter",
        "vad_parameters",
        "without_timestamps",
        "word_timestamps",
    }
)
"""faster-whisper, speaches (faster-whisper-server), whisper-asr-webservice, LocalAI: TranscriptionOptions."""
_WHISPER_CPP: frozenset[str] = frozenset(
    {
        "audio_ctx",
        "carry_initial_prompt",
        "debug_mode",
        "detect_language",
        "duration",
        "entropy_thold",
        "logprob_thold",
        "max_context",
        "max_len",
        "no_context",
        "no_fallback",
        "no_language_probabilities",
        "no_speech_thold",
        "no_timestamps",
        "offset_n",
        "offset_t",
        "print_colors",
        "print_progress",
        "print_realtime",
        "print_special",
        "split_on_word",
        "suppress_non_speech",
        "suppress_nst",
        "temperature_inc",
        "threads",
        "token_timestamps",
        "vad",
        "vad_max_speech_duration_s",
        "vad_min_silence_duration_ms",
        "vad_min_speech_duration_ms",
        "vad_model",
        "vad_samples_overlap",
        "vad_speech_pad_ms",
        "vad_threshold",
        "word_thold",
    }
)
"""whisper.cpp's server."""
_WHISPERX: frozenset[str] = frozenset(
    {
        "align_model",
        "alignment_model",
        "interpolate_method",
        "segment_resolution",
        "suppress_numerals",
        "vad_method",
        "vad_offset",
        "vad_onset",
    }
)
"""WhisperX and servers built on it."""
_FRONT_ENDS: frozenset[str] = frozenset(
    {
        "chunk_length_s",
        "chunk_level",
        "extra_body",
        "metadata",
        "mime_type",
        "preprocessing",
        "safety_identifier",
        "service_tier",
        "user",
    }
)
"""Gateways and front ends: LiteLLM, Open WebUI, OpenAI's other routes, Fireworks, DeepInfra."""
IGNORED_FIELDS: frozenset[str] = _VLLM | _FASTER_WHISPER | _WHISPER_CPP | _WHISPERX | _FRONT_ENDS


@dataclass(frozen=True)
class RefusedField:
    """A field that is accepted only with a value that asks for nothing special."""

    harmless: frozenset[str]
    reason: str


_OFF = frozenset({"false", "0", "no"})
_OTHER_DIARIZATION = "use diarize=true or response_format=diarized_json for speakers, and leave this field out"
_USE_TRANSLATIONS = "send the request to /v1/audio/translations instead"

_ANYWHERE: Mapping[str, RefusedField] = {
    "tinydiarize": RefusedField(_OFF, _OTHER_DIARIZATION),
}
_OF_TASK: Mapping[Task, Mapping[str, RefusedField]] = {
    Task.TRANSCRIBE: {
        "task": RefusedField(frozenset({"transcribe"}), _USE_TRANSLATIONS),
        "translate": RefusedField(_OFF, _USE_TRANSLATIONS),
        "to_language": RefusedField(frozenset(), _USE_TRANSLATIONS),
    },
    Task.TRANSLATE: {
        "task": RefusedField(frozenset({"translate"}), "send the request to /v1/audio/transcriptions instead"),
        "translate": RefusedField(frozenset({"true", "1", "yes"}), "this route always translates"),
        "to_language": RefusedField(frozenset({"en", "english"}), "this server translates to English only"),
    },
}


def refused_fields(task: Task) -> Mapping[str, RefusedField]:
    """The fields that this route refuses, by bare name."""
    return {**_ANYWHERE, **_OF_TASK[task]}
