"""Times stay true where a recording has gaps, joints and damage."""

from __future__ import annotations

import numpy as np
import pytest

from audio_kit import files
from audio_kit.decoding import decoded
from audio_kit.signals import best_match, expected, sweep


@pytest.mark.parametrize("container", ["webm", "matroska", "mp4"])
def test_a_gap_in_the_time_stamps_is_read_as_silence(container: str) -> None:
    content = files.with_gap(sweep(4, 48_000), 48_000, container, gap_at_s=2, gap_s=3)
    heard = decoded(content)
    assert len(heard) / 16_000 == pytest.approx(7, abs=0.05)
    assert best_match(heard[:31_000], expected(2))[0] > 0.99
    assert np.abs(heard[34_000:78_000]).max() < 0.01
    assert best_match(heard[81_000:], expected(2, from_s=81_000 / 16_000 - 3))[0] > 0.99


def test_a_joint_of_two_distant_pieces_is_no_silence() -> None:
    content = files.with_gap(sweep(4, 48_000), 48_000, "webm", gap_at_s=1, gap_s=3_000)
    assert len(decoded(content)) / 16_000 == pytest.approx(4, abs=0.05)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize("late_s", [3.0, 45.0])
def test_time_counts_from_picture_where_sound_starts_later(container: str, late_s: float) -> None:
    heard = decoded(files.with_late_sound(sweep(2, 48_000), 48_000, container, late_s=late_s))
    start = round(late_s * 16_000)
    assert len(heard) / 16_000 == pytest.approx(late_s + 2, abs=0.1)
    assert np.abs(heard[: start - 1_000]).max() == 0
    assert best_match(heard[start:], expected(2), max_shift_s=0.1)[0] > 0.98


def test_joined_wav_files_are_read_to_the_end() -> None:
    parts = [files.wav(sweep(2, rate_hz, from_s=from_s), rate_hz) for rate_hz, from_s in ((16_000, 0), (48_000, 2))]
    heard = decoded(b"".join(parts))
    assert len(heard) / 16_000 == pytest.approx(4, abs=0.01)
    assert best_match(heard, expected(4))[0] > 0.99


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_chained_ogg_is_read_through_all_its_links(rate_hz: int, n_channels: int) -> None:
    first = files.by_ffmpeg(sweep(3, 16_000), 16_000, "ogg", "libopus")
    second_signal = sweep(2, rate_hz, n_channels=n_channels, from_s=3)
    for second in (
        files.by_ffmpeg(second_signal, rate_hz, "ogg", "libopus"),
        files.by_libsndfile(second_signal, rate_hz, "OGG", "VORBIS"),
    ):
        heard = decoded(first + second + first)
        assert len(heard) / 16_000 == pytest.approx(8, abs=0.05)
        assert best_match(heard[:47_000], expected(3))[0] > 0.99
        assert best_match(heard[48_000:80_000], expected(2, from_s=3))[0] > 0.98
        assert best_match(heard[80_000:], expected(3))[0] > 0.99


def test_a_damaged_link_does_not_cost_the_others() -> None:
    link = files.by_ffmpeg(sweep(3, 16_000), 16_000, "ogg", "libopus")
    broken = link[:60] + bytes(len(link) - 60)
    assert len(decoded(link + broken + link)) / 16_000 == pytest.approx(6, abs=0.05)


def test_damage_in_ogg_does_not_move_what_follows() -> None:
    content = bytearray(files.by_ffmpeg(sweep(12, 16_000), 16_000, "ogg", "libopus"))
    content[len(content) // 2 : len(content) // 2 + 50] = bytes(50)
    heard = decoded(bytes(content))
    assert len(heard) / 16_000 == pytest.approx(12, abs=0.05)
    assert best_match(heard[8 * 16_000 :], expected(4, from_s=8))[0] > 0.98
