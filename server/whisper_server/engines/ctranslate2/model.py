"""A Whisper model loaded in CTranslate2: blocking computations on batches.

The only module that computes with ctranslate2; `engine` schedules the batches. Converts the library's results into those
of the Engine protocol, so that no other module depends on the library's conventions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ctranslate2
import numpy as np
import numpy.typing as npt

from whisper_server.errors import StartError
from whisper_server.whisper.constants import (
    FRAMES_PER_POSITION,
    MAX_INITIAL_TIMESTAMP_INDEX,
    MEDIAN_FILTER_WIDTH,
    POSITION_S,
)
from whisper_server.whisper.engine_protocol import Alignment, Decoded, DecodeRequest, LanguageGuess
from whisper_server.whisper.mel import LogMel
from whisper_server.whisper.transcript import Samples

Encoded = npt.NDArray[np.float32]
"""Encoder output of one window, shape (n_positions, d_model): 1500 positions for 30 s."""

N_TEXT_POSITIONS = 448
"""Length of the decoder's context in every published Whisper."""


class AlignRequest(NamedTuple):
    """One window whose text is to be aligned."""

    encoded: Encoded
    n_frames: int
    """Mel frames that hold audio; the rest is padding."""
    sot_sequence: tuple[int, ...]
    text_tokens: tuple[int, ...]


class Ctranslate2Model:
    """`n_workers` threads may use it at the same time."""

    def __init__(self, folder: Path, *, compute_type: str, n_workers: int, n_threads_each: int) -> None:
        """Load a CTranslate2 folder. Raises StartError."""
        try:
            self._model: Any = ctranslate2.models.Whisper(
                str(folder),
                device="cpu",
                compute_type=compute_type,
                inter_threads=n_workers,
                intra_threads=n_threads_each,
            )
        except (RuntimeError, ValueError) as error:
            raise StartError(
                f"MODEL_ID: CTranslate2 cannot load {folder}: {error}; "
                "set it to another model, or delete that folder if it is a damaged copy"
            ) from error
        self._log_mel = LogMel(self._model.n_mels)
        self.compute_type: str = self._model.compute_type
        self.is_multilingual: bool = self._model.is_multilingual

    def encode(self, windows: Sequence[tuple[Samples, int]]) -> list[Encoded]:
        """Each window with the number of mel frames that it is padded to, which must be the same for all."""
        features = np.stack([self._log_mel(samples)[:, :n_frames] for samples, n_frames in windows])
        output = self._model.encode(ctranslate2.StorageView.from_array(features), to_cpu=True)
        return list(np.array(output, dtype=np.float32))

    def detect(self, windows: Sequence[Encoded]) -> list[LanguageGuess]:
        guesses = self._model.detect_language(_batch(windows))
        return [
            LanguageGuess(tuple((token.strip("<|>"), float(probability)) for token, probability in guess))
            for guess in guesses
        ]

    def decode(self, requests: Sequence[tuple[Encoded, DecodeRequest]]) -> list[Decoded]:
        """The requests must be equal but for the token ids of their prompts."""
        first = requests[0][1]
        sampled = first.temperature > 0
        results = self._model.generate(
            _batch([encoded for encoded, _ in requests]),
            [list(request.prompt_tokens) for _, request in requests],
            # CTranslate2 returns no logits from a beam search.
            beam_size=1 if sampled or first.logprobs else first.beam_size,
            # For CTranslate2 the prefix is text that is decoded, with a given outcome.
            max_length=_max_length(
                len(first.prompt_tokens) - first.n_prefix_tokens, first.max_new_tokens + first.n_prefix_tokens
            ),
            return_scores=True,
            return_no_speech_prob=True,
            return_logits_vocab=first.logprobs,
            max_initial_timestamp_index=MAX_INITIAL_TIMESTAMP_INDEX,
            sampling_topk=0 if sampled else 1,
            sampling_temperature=first.temperature if sampled else 1,
        )
        return [_decoded(result, first) for result in results]

    def align(self, requests: Sequence[AlignRequest]) -> list[Alignment]:
        """The requests must have the same `sot_sequence`."""
        results = self._model.align(
            _batch([request.encoded for request in requests]),
            list(requests[0].sot_sequence),
            [list(request.text_tokens) for request in requests],
            # With less than one encoder position, CTranslate2 would return no times.
            [max(FRAMES_PER_POSITION, request.n_frames) for request in requests],
            median_filter_width=MEDIAN_FILTER_WIDTH,
        )
        return [_alignment(result) for result in results]


def cpu_compute_type(dtype: str) -> str:
    """CTranslate2's name for DTYPE. Raises StartError where this processor cannot compute in it."""
    supported = ctranslate2.get_supported_compute_types("cpu")
    # int8 weights: a quarter of the memory, no more word errors (measured, bench/RESULTS.md), faster on large models.
    best = "int8" if "int8" in supported else "float32"
    requested = {"auto": best, "half": "float16"}.get(dtype, dtype)
    if requested not in supported:
        usable = sorted(supported & {"float32", "int8", "bfloat16", "float16"})
        raise StartError(f"DTYPE: {dtype} is not for this processor; set it to auto or to one of {', '.join(usable)}")
    return requested


def _batch(encoded: Sequence[Encoded]) -> Any:
    return ctranslate2.StorageView.from_array(np.stack(encoded))


def _max_length(n_prompt_tokens: int, max_new_tokens: int) -> int:
    """The `max_length` at which CTranslate2 stops after `max_new_tokens`.

    It stops at half of `max_length`, or at `max_length` less the prompt without its last token, whichever is less.
    """
    return max_new_tokens + max(max_new_tokens, n_prompt_tokens - 1)


def _decoded(result: Any, request: DecodeRequest) -> Decoded:
    with_prefix, n_prefix = tuple(result.sequences_ids[0]), request.n_prefix_tokens
    tokens = with_prefix[n_prefix:]
    return Decoded(
        tokens=tokens,
        # CTranslate2's score is the sum, with that of the end token, over the number of tokens without it, but with the prefix.
        sum_logprob=result.scores[0] * max(1, len(with_prefix)),
        no_speech_prob=result.no_speech_prob,
        token_logprobs=_token_logprobs(result.logits[0][n_prefix:], tokens) if request.logprobs else (),
        hit_length_limit=len(tokens) >= request.max_new_tokens,
    )


def _token_logprobs(logits: Sequence[Any], tokens: Sequence[int]) -> tuple[float, ...]:
    def logprob(step: Any, token: int) -> float:
        row = np.array(step, dtype=np.float32).ravel()
        maximum = row.max()
        return float(row[token] - maximum - np.log(np.exp(row - maximum).sum()))

    return tuple(logprob(step, token) for step, token in zip(logits, tokens, strict=False))


def _alignment(result: Any) -> Alignment:
    """First encoder position of every token along the path of the dynamic time warping."""
    starts: list[float] = []
    for text_index, time_index in result.alignments:
        if text_index == len(starts):
            starts.append(max(0, time_index) * POSITION_S)  # -1 where the audio has one position
    return Alignment(tuple(starts), tuple(result.text_token_probs))
