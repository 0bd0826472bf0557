"""The samples of one recording, in memory that no other process can change.

The worker seals its memory file, and the server maps only a sealed one: afterwards the worker can neither change the
samples nor shorten the file (which would kill the server with SIGBUS).
"""

from __future__ import annotations

import mmap
import os
import warnings
import weakref
from typing import Self

import numpy as np

from whisper_server.audio.memory_file import MemoryFile
from whisper_server.memory.budget import Reservation
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

_SAMPLE_BYTES = 4


class DecodedAudio:
    """Mono float32 samples at 16 kHz, read-only. Closing it drops the samples.

    Slices that are still referenced stay valid after `close`. The pages go with the last of them, and so does the
    reservation: the memory budget counts what is really mapped.
    """

    def __init__(self, samples: Samples, reservation: Reservation, n_channels: int = 1) -> None:
        self._samples: Samples | None = samples
        self.n_channels = n_channels
        """Of the recording; the samples are one of them, or all mixed."""
        # Every slice refers to this array, and it to the mapping.
        weakref.finalize(samples, reservation.release).atexit = False
        self.duration_s = len(samples) / SAMPLE_RATE_HZ

    @classmethod
    def map(cls, file: MemoryFile, n_samples: int, reservation: Reservation, n_channels: int = 1) -> DecodedAudio:
        """Map `file`. Raises ValueError or OSError if it is not sealed or not `n_samples` long."""
        if not file.is_sealed:
            raise ValueError("the samples are not sealed")
        n_bytes = os.fstat(file.fileno()).st_size
        if n_samples <= 0 or n_bytes != n_samples * _SAMPLE_BYTES:
            raise ValueError(f"{n_samples} samples were promised, {n_bytes} bytes are there")
        # Private, because Linux before 6.7 maps no write-sealed file as shared; the pages are the file's all the same.
        mapping = mmap.mmap(file.fileno(), n_bytes, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        return cls(np.frombuffer(mapping, np.float32), reservation, n_channels)

    @property
    def samples(self) -> Samples:
        if self._samples is None:
            raise ValueError("the audio is closed")
        return self._samples

    def close(self) -> None:
        """May be called twice."""
        self._samples = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_samples", None) is not None:
            warnings.warn("DecodedAudio was not closed", ResourceWarning, source=self, stacklevel=2)
            self.close()
