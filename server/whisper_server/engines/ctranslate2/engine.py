"""The CPU engine: CTranslate2 behind the Engine protocol, batching across requests.

A window is encoded once; language detection, decoding at every temperature and alignment reuse the encoder's output. The
computation itself is in `model`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from whisper_server.engines.ctranslate2.batch_runner import BatchRunner
from whisper_server.engines.ctranslate2.convert import converted_folder
from whisper_server.engines.ctranslate2.model import (
    N_TEXT_POSITIONS,
    AlignRequest,
    Ctranslate2Model,
    Encoded,
    cpu_compute_type,
)
from whisper_server.errors import Unavailable
from whisper_server.whisper.constants import MEL_HOP_SAMPLES, N_MEL_FRAMES
from whisper_server.whisper.engine_protocol import Alignment, Decoded, DecodeRequest, LanguageGuess, ModelFacts
from whisper_server.whisper.mel import padded_mel_frames
from whisper_server.whisper.transcript import Samples

SPARE_LIVE_WINDOWS = 1
"""Passes of live sessions beyond those that are computed: others wait, with newer sound. 6 and 12 sessions of the demo model on two cores have
their words after 1.36 and 2.42 s (p50), without this limit after 2.00 and 4.87; with none to spare 12 after 2.75."""
MAX_LOGPROB_BATCH = 2
"""Logits of every step are held for each window of such a batch: up to 93 MB a window with 51,866 tokens."""


@dataclass(frozen=True)
class Ctranslate2Config:
    """How the engine runs."""

    model_id: str
    checkpoint: Path
    cache: Path
    dtype: str
    """`auto`, or a compute type of CTranslate2."""
    n_threads: int
    """0: one per core."""
    max_batch_windows: int
    mel_frames: Callable[[int], int] = padded_mel_frames
    """Mel frames that a window of so many samples is padded to, if it is live or decoded without timestamps."""


class Ctranslate2Engine:
    """Implements the Engine protocol."""

    def __init__(self, config: Ctranslate2Config) -> None:
        self._config = config
        self._n_workers, self._n_threads_each = thread_plan(config.n_threads or len(os.sched_getaffinity(0)))
        self._executor = ThreadPoolExecutor(self._n_workers, thread_name_prefix="ctranslate2")
        self.batches = BatchRunner(self._compute, self._n_workers)
        self._model: Ctranslate2Model | None = None

    @property
    def facts(self) -> ModelFacts:
        """Known once started."""
        model = self._loaded()
        return ModelFacts(
            model_id=self._config.model_id,
            engine="ctranslate2",
            dtype=model.compute_type,
            device="cpu",
            is_multilingual=model.is_multilingual,
            n_text_positions=N_TEXT_POSITIONS,
            n_windows_in_flight=2 * self._config.max_batch_windows,
            has_free_logprobs=False,
            max_live_windows=self._n_workers + SPARE_LIVE_WINDOWS,
            # With the demo model's times a clip takes 0.8 s alone, 1.1 s while another client sends hours, 5.8 s without these.
            n_windows_for_newcomers=self._config.max_batch_windows,
        )

    async def start(self) -> None:
        """Convert the checkpoint if necessary, load it, encode a window. Raises StartError."""
        self._model = await asyncio.get_running_loop().run_in_executor(self._executor, self._load)
        window = self.open_window(np.zeros(MEL_HOP_SAMPLES * 10, dtype=np.float32))
        await window.encode()
        window.close()

    async def stop(self) -> None:
        """Fail queued items, let running batches end."""
        await self.batches.stop()
        await asyncio.to_thread(self._executor.shutdown)
        self._model = None

    def health(self) -> str | None:
        """None while the engine lives; else what is wrong with it."""
        if self.batches.is_stopped:
            return "the engine has stopped"
        return "the model is still loading" if self._model is None else None

    def open_window(
        self, samples: Samples, *, owner: str = "", is_live: bool = False, timestamps: bool = True
    ) -> Ctranslate2Window:
        """A window of at most 30 s; nothing is computed yet."""
        n_mel_frames = self._config.mel_frames(len(samples)) if is_live or not timestamps else N_MEL_FRAMES
        return Ctranslate2Window(
            self, samples, n_mel_frames, self._config.max_batch_windows, owner=owner, is_live=is_live
        )

    async def _compute(self, computation: str, payloads: Sequence[Any]) -> Sequence[Any]:
        """A batch in a thread."""
        compute: Callable[[Sequence[Any]], Sequence[Any]] = getattr(self._loaded(), computation)
        return await asyncio.get_running_loop().run_in_executor(self._executor, compute, payloads)

    def _load(self) -> Ctranslate2Model:
        compute_type = cpu_compute_type(self._config.dtype)
        folder = self._config.checkpoint
        if not (folder / "model.bin").exists():
            folder = converted_folder(folder, self._config.cache)
        return Ctranslate2Model(
            folder, compute_type=compute_type, n_workers=self._n_workers, n_threads_each=self._n_threads_each
        )

    def _loaded(self) -> Ctranslate2Model:
        if self._model is None:
            raise Unavailable("The model is not loaded.")
        return self._model


class Ctranslate2Window:
    """Implements the EngineWindow protocol."""

    def __init__(
        self,
        engine: Ctranslate2Engine,
        samples: Samples,
        n_mel_frames: int,
        max_batch: int,
        *,
        owner: str,
        is_live: bool,
    ) -> None:
        self._submit = partial(engine.batches.submit, owner=owner, is_live=is_live)
        self._samples = samples
        self._n_mel_frames = n_mel_frames
        self._max_batch = max_batch
        self._encoded: Encoded | None = None

    async def encode(self) -> Encoded:
        """Encoder output, computed at the first call."""
        if self._encoded is None:
            self._encoded = await self._submit(
                ("encode",), (self._samples, self._n_mel_frames), max_batch=1, is_encoding=True
            )
        return self._encoded

    async def detect_language(self) -> LanguageGuess:
        """Which language is spoken."""
        encoded = await self.encode()
        guess: LanguageGuess = await self._submit(("detect",), encoded, max_batch=1)
        return guess

    async def decode(self, request: DecodeRequest) -> Decoded:
        """Decode the window, in one batch with others that have the same options."""
        encoded = await self.encode()
        # CTranslate2 requires `<|startoftranscript|>` at the same position in all prompts of a batch.
        kind = ("decode", self._n_mel_frames, len(request.prompt_tokens), replace(request, prompt_tokens=()))
        max_batch = min(MAX_LOGPROB_BATCH, self._max_batch) if request.logprobs else self._max_batch
        decoded: Decoded = await self._submit(kind, (encoded, request), max_batch=max_batch)
        return decoded

    async def align(self, sot_sequence: tuple[int, ...], text_tokens: tuple[int, ...]) -> Alignment:
        """Times of the text tokens in the window."""
        n_frames = -(-len(self._samples) // MEL_HOP_SAMPLES)
        request = AlignRequest(await self.encode(), n_frames, sot_sequence, text_tokens)
        kind = ("align", self._n_mel_frames, sot_sequence)
        alignment: Alignment = await self._submit(kind, request, max_batch=self._max_batch)
        return alignment

    def close(self) -> None:
        """Free the encoder's output. Queued items are removed by cancelling their calls."""
        self._encoded = None


def thread_plan(n_threads: int) -> tuple[int, int]:
    """(concurrent batches, threads per batch): several small batches use more cores than one large batch.

    On 2 cores, two batches of one thread each take 0.87 × the time of one batch with two threads.
    """
    n_workers = 1 if n_threads < 2 else 2 if n_threads < 8 else 4
    return n_workers, n_threads // n_workers
