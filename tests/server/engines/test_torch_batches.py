"""What the torch engine computes together. Without torch: the conformance suite runs the engine."""

from __future__ import annotations

import pytest

from whisper_server.engines.torch.batches import (
    ENCODER_FRAMES,
    ENCODER_SIZES,
    PROMPT_LENGTHS,
    Prompt,
    encoder_frames,
    fitting,
    next_to_encode,
    up_to,
)
from whisper_server.engines.torch.wire import DecodeTask, Place

MOST = ENCODER_SIZES[-1]


def places(n_files: int, n_live: int) -> list[Place]:
    files = [Place(number, number, 1.0) for number in range(n_files)]
    return files + [Place(n_files + number, n_files + number, 1.0, is_live=True) for number in range(n_live)]


def n_live(batch: list[Place]) -> int:
    return sum(place.is_live for place in batch)


def test_live_windows_go_first_and_take_half_a_batch_from_files() -> None:
    batch = next_to_encode(places(n_files=40, n_live=3))
    assert [place.is_live for place in batch] == [True] * 3 + [False] * (MOST - 3)
    assert n_live(next_to_encode(places(n_files=40, n_live=40))) == MOST // 2


def test_what_one_kind_leaves_the_other_takes() -> None:
    assert n_live(next_to_encode(places(n_files=2, n_live=40))) == MOST - 2
    assert len(next_to_encode(places(n_files=3, n_live=0))) == 3
    assert next_to_encode([]) == []


@pytest.mark.parametrize(("duration_s", "n_frames"), [(0.01, 1500), (13, 1500), (13.01, 3000), (30, 3000)])
def test_short_window_is_encoded_as_half_of_one(duration_s: float, n_frames: int) -> None:
    n_samples = round(duration_s * 16_000)
    assert encoder_frames(n_samples, may_be_short=True) == n_frames
    assert encoder_frames(n_samples, may_be_short=False) == 3000


def test_cross_attention_cache_holds_each_length_a_whole_number_of_times() -> None:
    assert {3000 % n_frames for n_frames in ENCODER_FRAMES} == {0}


def test_prompt_is_padded_and_keeps_its_facts() -> None:
    task = DecodeTask(
        1, Place(1, 5, 1.0), (7, 8, 50258, 50259), n_task_tokens=2, timestamps=True, temperature=0.4, max_new_tokens=100
    )
    numbers = Prompt.of(5, task).numbers(6)
    assert numbers == (5, 3, 2, 1, 100, 400_000, 7, 8, 50258, 50259, 50259, 50259)


def test_sizes_end_at_the_largest_and_fit() -> None:
    lengths = up_to(PROMPT_LENGTHS, 448)
    assert lengths[-1] == 448
    assert up_to(PROMPT_LENGTHS, 64)[-1] == 64
    assert [fitting(lengths, length) for length in (1, 4, 5, 256, 257)] == [4, 4, 16, 256, 448]
