"""Channels that are decoded each by itself: which are kept, what is refused, and the memory that they hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
import pytest_asyncio

from audio_kit import files
from audio_kit.decoding import Budget, decoded, memory_file
from audio_kit.signals import Signal, best_match, sweep
from whisper_server.audio.channels import Channels, is_same, read_channels
from whisper_server.audio.limits import DecoderLimits
from whisper_server.audio.pool import AudioDecoderPool
from whisper_server.errors import BadRequest, MemoryFull

RATE_HZ = 8_000
FROM_S = (0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0)
"""Where the sweep of each channel begins: all sound different."""


def voices(n_channels: int, rate_hz: int = RATE_HZ) -> Signal:
    return np.concatenate([sweep(3, rate_hz, from_s=from_s) for from_s in FROM_S[:n_channels]], axis=1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[AudioDecoderPool]:
    pool = AudioDecoderPool(1, DecoderLimits())
    await pool.start()
    yield pool
    await pool.stop()


async def channels_of(pool: AudioDecoderPool, content: bytes, new_budget: Callable[[], Budget] = Budget) -> Channels:
    with memory_file(content) as file:
        return await read_channels(pool, file, new_budget)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("content", "n_channels"),
    [
        (files.wav(voices(2), RATE_HZ), 2),
        (files.wav(voices(2), RATE_HZ, "ULAW"), 2),
        (files.wav(voices(2), RATE_HZ, "ALAW"), 2),
        (files.wav(voices(2), RATE_HZ, "FLOAT"), 2),
        (files.by_ffmpeg(voices(2), RATE_HZ, "wav", "pcm_alaw"), 2),
        (files.by_ffmpeg(voices(2, 48_000), 48_000, "ogg", "libopus", bit_rate=256_000), 2),
        (files.wav(voices(8), RATE_HZ), 8),
        (files.by_ffmpeg(voices(8, 48_000), 48_000, "ogg", "flac"), 8),
    ],
    ids=["s16", "µ-law", "a-law", "float", "a-law by FFmpeg", "opus", "8 channels", "7.1 flac"],
)
async def test_each_channel_is_decoded_by_itself(pool: AudioDecoderPool, content: bytes, n_channels: int) -> None:
    with await channels_of(pool, content) as channels:
        assert channels.n_channels == n_channels
        heard = {number: sound.samples for number, sound in channels.kept.items()}
    assert list(heard) == list(range(n_channels))
    for number, samples in heard.items():
        assert best_match(samples, sweep(3, 16_000, from_s=FROM_S[number])[:, 0])[0] > 0.98


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("signal", "codec", "kept"),
    [
        (np.repeat(voices(1), 2, axis=1), "pcm_mulaw", [0]),
        (np.repeat(voices(1), 2, axis=1), "mp2", [0]),
        (np.repeat(voices(1), 2, axis=1), "aac", [0]),
        (voices(2) * [1, 0], "pcm_alaw", [0]),
        (voices(2) * [0, 1], "pcm_mulaw", [1]),
        (voices(2) * [0, 0], "pcm_s16le", [0]),
        (voices(2)[:, [0, 1, 0, 1, 1, 0]], "pcm_s16le", [0, 1]),
    ],
    ids=["µ-law twice", "mp2 twice", "aac twice", "silent right", "silent left", "silent", "six of two"],
)
async def test_silent_and_repeated_channels_are_left_out(
    pool: AudioDecoderPool, signal: Signal, codec: str, kept: list[int]
) -> None:
    container = "matroska" if codec in {"mp2", "aac"} else "wav"
    rate_hz = 48_000 if codec in {"mp2", "aac"} else RATE_HZ
    content = files.by_ffmpeg(signal.astype(np.float32), rate_hz, container, codec, bit_rate=256_000)
    with await channels_of(pool, content) as channels:
        assert list(channels.kept) == kept


def test_one_word_on_one_side_makes_channels_differ() -> None:
    rng = np.random.default_rng(1)
    talk = (rng.standard_normal(600 * 16_000) * 0.1).astype(np.float32)
    word = np.zeros_like(talk)
    word[5_000_000:5_004_800] = rng.standard_normal(4_800) * 0.01
    assert is_same(talk, talk + np.float32(1e-5))
    assert not is_same(talk, talk + word)
    assert not is_same(talk, talk[: len(talk) // 2])
    assert not is_same(talk, -talk)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (files.wav(voices(1), RATE_HZ), "has one channel"),
        (files.by_ffmpeg(voices(1), 16_000, "wav", "g722"), "has one channel"),
        (files.wav(np.repeat(voices(1), 9, axis=1), RATE_HZ), "has 9 channels, and at most 8"),
    ],
)
async def test_wrong_number_of_channels_names_the_field(pool: AudioDecoderPool, content: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=message) as refused:
        await channels_of(pool, content)
    assert (refused.value.param, refused.value.code) == ("multichannel", "wrong_channels")


@pytest.mark.asyncio(loop_scope="module")
async def test_each_channel_has_memory_of_its_own_and_gives_it_back(pool: AudioDecoderPool) -> None:
    budgets: list[Budget] = []

    def new_budget() -> Budget:
        budgets.append(Budget())
        return budgets[-1]

    with await channels_of(pool, files.wav(voices(2)[:, [0, 0, 1]], RATE_HZ), new_budget):
        assert [budget.n_releases for budget in budgets] == [0, 1, 0]
        assert all(budget.max_held_bytes >= 3 * 16_000 * 4 for budget in budgets)
    async with asyncio.timeout(10):
        # The thread that compared the last channel drops its arguments after it has answered.
        while [budget.n_releases for budget in budgets] != [1, 1, 1]:
            await asyncio.sleep(0.001)


@pytest.mark.asyncio(loop_scope="module")
async def test_full_budget_refuses_the_second_channel_and_frees_the_first(pool: AudioDecoderPool) -> None:
    budgets: list[Budget] = []

    def new_budget() -> Budget:
        budgets.append(Budget(limit_bytes=0 if budgets else 1 << 30))
        return budgets[-1]

    with pytest.raises(MemoryFull):
        await channels_of(pool, files.wav(voices(2), RATE_HZ), new_budget)
    assert [budget.n_releases for budget in budgets] == [1, 1]


def test_g722_of_calls_is_read() -> None:
    content = files.by_ffmpeg(sweep(3, 16_000), 16_000, "wav", "g722")
    assert best_match(decoded(content), sweep(3, 16_000)[:, 0])[0] > 0.98
