"""The CPU engine: Whisper on CTranslate2. The only module that computes with ctranslate2.

A window is encoded once; detection, decoding, every rung of the ladder and alignment use that again. What
waits is batched across requests. Rules that all engines share live above the Protocol.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import numpy.typing as npt

from whisper_server.engine_protocol import Alignment, Decoded, DecodeRequest, LanguageGuess, ModelFacts
from whisper_server.engines.batches import BatchQueue, Work
from whisper_server.engines.convert import converted_folder
from whisper_server.errors import InternalError, StartError, Unavailable
from whisper_server.mel import LogMel
from whisper_server.transcript import MEL_HOP_SAMPLES, Samples

logger = logging.getLogger(__name__)

Encoded = npt.NDArray[np.float32]
"""Encoder output of one window, shape (1500, d_model)."""

POSITION_S = 0.02
"""Seconds that one encoder position stands for."""
MEDIAN_FILTER_WIDTH = 7
MAX_INITIAL_TIMESTAMP_INDEX = 50
MAX_LOGPROB_BATCH = 2
"""Logits of every step are held for each window of such a batch: 47 MB a window of 224 tokens."""
N_TEXT_POSITIONS = 448


@dataclass(frozen=True)
class Ctranslate2Config:
    """How the engine runs."""

    model_id: str
    checkpoint: Path
    cache: Path
    dtype: str
    """`auto`, or a compute type of CTranslate2."""
    n_threads: int
    """0: one a core."""
    max_batch_windows: int


class Ctranslate2Engine:
    """Implements the Engine protocol."""

    def __init__(self, config: Ctranslate2Config) -> None:
        self._config = config
        self._queue = BatchQueue()
        self._running: set[asyncio.Task[None]] = set()
        self._n_workers, self._n_threads_each = thread_plan(config.n_threads or len(os.sched_getaffinity(0)))
        self._executor = ThreadPoolExecutor(self._n_workers, thread_name_prefix="ctranslate2")
        self._model: Any = None
        self._log_mel: LogMel | None = None
        self._facts: ModelFacts | None = None
        self._is_stopped = False
        self._computations: dict[str, Callable[[list[Any]], Sequence[Any]]] = {
            "encode": self._encode,
            "detect": self._detect,
            "decode": self._decode,
            "align": self._align,
        }

    @property
    def facts(self) -> ModelFacts:
        """Known once started."""
        if self._facts is None:
            raise Unavailable("The model is still loading; try again in a few seconds.")
        return self._facts

    async def start(self) -> None:
        """Convert the checkpoint if need be, load it, decode a window of silence. Raises StartError."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._load)
        window = self.open_window(np.zeros(MEL_HOP_SAMPLES * 10, dtype=np.float32))
        await window.encode()
        window.close()

    async def stop(self) -> None:
        """Drop what waits, let running batches end."""
        self._is_stopped = True
        self._queue.fail_all(lambda: Unavailable("The server is shutting down."))
        if self._running:
            await asyncio.wait(self._running)
        await asyncio.to_thread(self._executor.shutdown)
        self._model = None

    def health(self) -> str | None:
        """None while the engine lives; else what is wrong with it."""
        if self._is_stopped:
            return "the engine has stopped"
        return "the model is still loading" if self._facts is None else None

    def open_window(self, samples: Samples) -> Ctranslate2Window:
        """A window of at most 30 s; nothing is computed yet."""
        return Ctranslate2Window(self, samples)

    async def submit(self, kind: tuple[Any, ...], payload: Any, *, max_batch: int, is_encoding: bool = False) -> Any:
        """Wait for `payload` to be computed with others of its `kind`."""
        if self._is_stopped:
            raise Unavailable("The server is shutting down.")
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.add(Work(kind, payload, max_batch, is_encoding, result))
        # Not at once: what is submitted in the same turn of the loop may go into the same batch.
        asyncio.get_running_loop().call_soon(self._start_batches)
        return await result

    @property
    def max_batch_windows(self) -> int:
        """Windows decoded at a time."""
        return self._config.max_batch_windows

    def _start_batches(self) -> None:
        while len(self._running) < self._n_workers and (batch := self._queue.take()):
            task = asyncio.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start_batches()

    async def _run(self, batch: Sequence[Work]) -> None:
        computation = str(batch[0].kind[0])
        compute = self._computations[computation]
        payloads = [work.payload for work in batch]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._executor, compute, payloads)
        except Exception:
            logger.exception("CTranslate2 failed to %s %d windows", computation, len(batch))
            message = "The engine failed on this recording. Try again; if it happens again, report it."
            _settle(batch, lambda work: work.result.set_exception(InternalError(message)))
        else:
            answers = dict(zip(batch, results, strict=True))
            _settle(batch, lambda work: work.result.set_result(answers[work]))

    def _load(self) -> None:
        config = self._config
        folder = config.checkpoint
        if not (folder / "model.bin").exists():
            folder = converted_folder(folder, config.cache)
        compute_type = cpu_compute_type(config.dtype)
        try:
            self._model = ctranslate2.models.Whisper(
                str(folder),
                device="cpu",
                compute_type=compute_type,
                inter_threads=self._n_workers,
                intra_threads=self._n_threads_each,
            )
        except (RuntimeError, ValueError) as error:
            raise StartError(f"MODEL_ID: CTranslate2 cannot load {folder}: {error}") from error
        self._log_mel = LogMel(self._model.n_mels)
        self._facts = ModelFacts(
            model_id=config.model_id,
            engine="ctranslate2",
            dtype=self._model.compute_type,
            device="cpu",
            is_multilingual=self._model.is_multilingual,
            n_text_positions=N_TEXT_POSITIONS,
            n_windows_in_flight=2 * config.max_batch_windows,
        )

    def _encode(self, windows: Sequence[Samples]) -> list[Encoded]:
        assert self._log_mel is not None
        features = np.stack([self._log_mel(samples) for samples in windows])
        output = self._model.encode(ctranslate2.StorageView.from_array(features), to_cpu=True)
        return list(np.array(output, dtype=np.float32))

    def _detect(self, windows: Sequence[Encoded]) -> list[LanguageGuess]:
        guesses = self._model.detect_language(_batch(windows))
        return [
            LanguageGuess(tuple((token.strip("<|>"), float(probability)) for token, probability in guess))
            for guess in guesses
        ]

    def _decode(self, requests: Sequence[tuple[Encoded, DecodeRequest]]) -> list[Decoded]:
        first = requests[0][1]
        sampled = first.temperature > 0
        results = self._model.generate(
            _batch([encoded for encoded, _ in requests]),
            [list(request.prompt_tokens) for _, request in requests],
            beam_size=1 if sampled else first.beam_size,
            max_length=len(first.prompt_tokens) + first.max_new_tokens,
            return_scores=True,
            return_no_speech_prob=True,
            return_logits_vocab=first.logprobs,
            max_initial_timestamp_index=MAX_INITIAL_TIMESTAMP_INDEX,
            sampling_topk=0 if sampled else 1,
            sampling_temperature=first.temperature if sampled else 1,
        )
        return [_decoded(result, first) for result in results]

    def _align(self, requests: Sequence[tuple[Encoded, int, tuple[int, ...], tuple[int, ...]]]) -> list[Alignment]:
        results = self._model.align(
            _batch([encoded for encoded, *_ in requests]),
            list(requests[0][2]),
            [list(text_tokens) for *_, text_tokens in requests],
            [n_frames for _, n_frames, *_ in requests],
            median_filter_width=MEDIAN_FILTER_WIDTH,
        )
        return [_alignment(result) for result in results]


class Ctranslate2Window:
    """Implements the EngineWindow protocol."""

    def __init__(self, engine: Ctranslate2Engine, samples: Samples) -> None:
        self._engine = engine
        self._samples = samples
        self._encoded: Encoded | None = None

    async def encode(self) -> Encoded:
        """Encoder output, computed at the first call."""
        if self._encoded is None:
            self._encoded = await self._engine.submit(("encode",), self._samples, max_batch=1, is_encoding=True)
        return self._encoded

    async def detect_language(self) -> LanguageGuess:
        """Which language is spoken."""
        encoded = await self.encode()
        guess: LanguageGuess = await self._engine.submit(("detect",), encoded, max_batch=1)
        return guess

    async def decode(self, request: DecodeRequest) -> Decoded:
        """Decode the window, in one batch with others that are decoded alike."""
        encoded = await self.encode()
        alike = replace(request, prompt_tokens=())
        # CTranslate2 wants `<|startoftranscript|>` at one position in all prompts of a batch.
        kind = ("decode", len(request.prompt_tokens), alike)
        max_batch = min(MAX_LOGPROB_BATCH, self._engine.max_batch_windows)
        if not request.logprobs:
            max_batch = self._engine.max_batch_windows
        decoded: Decoded = await self._engine.submit(kind, (encoded, request), max_batch=max_batch)
        return decoded

    async def align(self, sot_sequence: tuple[int, ...], text_tokens: tuple[int, ...]) -> Alignment:
        """Times of the text tokens in the window."""
        encoded = await self.encode()
        n_frames = -(-len(self._samples) // MEL_HOP_SAMPLES)
        payload = (encoded, n_frames, sot_sequence, text_tokens)
        alignment: Alignment = await self._engine.submit(
            ("align", sot_sequence), payload, max_batch=self._engine.max_batch_windows
        )
        return alignment

    def close(self) -> None:
        """Forget the encoder output. Work that waits is dropped by cancelling the call that waits for it."""
        self._encoded = None


def thread_plan(n_threads: int) -> tuple[int, int]:
    """(batches at a time, threads each): several small batches keep more cores busy than one large one."""
    n_workers = max(1, min(4, n_threads // 2))
    return n_workers, max(1, n_threads // n_workers)


def cpu_compute_type(dtype: str) -> str:
    """CTranslate2's name for DTYPE. Raises StartError where this processor cannot compute in it."""
    supported = ctranslate2.get_supported_compute_types("cpu")
    wanted = {"auto": "float32", "half": "float16"}.get(dtype, dtype)
    if wanted not in supported:
        usable = sorted(supported & {"float32", "int8", "bfloat16", "float16"})
        raise StartError(f"DTYPE: {dtype} is not for this processor; set it to auto or to one of {', '.join(usable)}")
    return wanted


def _batch(encoded: Sequence[Encoded]) -> Any:
    return ctranslate2.StorageView.from_array(np.stack(encoded))


def _settle(batch: Sequence[Work], settle: Callable[[Work], None]) -> None:
    for work in batch:
        if not work.result.done():
            settle(work)


def _decoded(result: Any, request: DecodeRequest) -> Decoded:
    tokens = tuple(result.sequences_ids[0])
    return Decoded(
        tokens=tokens,
        # CTranslate2's score is the sum, with that of the end token, over the number of tokens without it.
        sum_logprob=result.scores[0] * max(1, len(tokens)),
        no_speech_prob=result.no_speech_prob,
        token_logprobs=_token_logprobs(result.logits[0], tokens) if request.logprobs else (),
        hit_length_limit=len(tokens) >= request.max_new_tokens,
    )


def _token_logprobs(logits: Sequence[Any], tokens: Sequence[int]) -> tuple[float, ...]:
    def logprob(step: Any, token: int) -> float:
        row = np.array(step, dtype=np.float32).ravel()
        highest = row.max()
        return float(row[token] - highest - np.log(np.exp(row - highest).sum()))

    return tuple(logprob(step, token) for step, token in zip(logits, tokens, strict=False))


def _alignment(result: Any) -> Alignment:
    """First encoder position of every token along the path of the dynamic time warping."""
    starts: list[float] = []
    for text_index, time_index in result.alignments:
        if text_index == len(starts):
            starts.append(time_index * POSITION_S)
    return Alignment(tuple(starts), tuple(result.text_token_probs))
