"""Mutated files through the real pool: samples or a 4xx, no worker killed by the sandbox, and the next file is decoded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given

from audio_kit.decoding import Budget, memory_file
from fuzz_kit import corpus, examples, mutated
from whisper_server.audio.limits import DecoderLimits
from whisper_server.audio.pool import AudioDecoderPool
from whisper_server.errors import ApiError

LIMITS = DecoderLimits(max_decoded_s=600)
KINDS = ("wav", "ogg", "other")


class Decoders:
    """A pool of one worker, from a thread without an event loop."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self.pool = AudioDecoderPool(1, LIMITS)
        runner.run(self.pool.start())

    def status_of(self, content: bytes) -> int:
        """200, or the status of the refusal."""
        return self._runner.run(self._status_of(content))

    async def _status_of(self, content: bytes) -> int:
        budget = Budget()
        with memory_file(content) as file:
            try:
                with await self.pool.read_audio(file, budget) as audio:
                    is_good = 0 < audio.duration_s <= LIMITS.max_s + 1
                    return 200 if is_good else 500
            except ApiError as refusal:
                return refusal.status
            finally:
                if budget.held_bytes:
                    raise AssertionError(f"{budget.held_bytes} bytes are still reserved")


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with asyncio.Runner() as runner:
        made = Decoders(runner)
        yield made
        runner.run(made.pool.stop())


def test_every_file_of_the_corpus_is_decoded(decoders: Decoders) -> None:
    assert [decoders.status_of(content) for content in corpus(*KINDS)] == [200] * len(corpus(*KINDS))


@examples(120)
@given(content=mutated(*KINDS))
def test_mutated_file_costs_its_own_request_only(decoders: Decoders, content: bytes) -> None:
    assert decoders.status_of(content) in {200, *range(400, 500)}
    assert (decoders.pool.n_sandbox_kills, decoders.pool.n_worker_deaths) == (0, 0)
