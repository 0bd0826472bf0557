"""The small parts: memory files, sealed samples, messages, wav headers, limits."""

from __future__ import annotations

import os

import numpy as np
import pytest

from audio_kit import files
from audio_kit.decoding import Budget, memory_file
from audio_kit.signals import sweep
from whisper_server.audio import messages
from whisper_server.audio.decoded_audio import DecodedAudio
from whisper_server.audio.limits import DecoderLimits
from whisper_server.audio.memory_file import MemoryFile, seal
from whisper_server.audio.messages import BadMessage, Crashed, DecodeJob, Done, Grant, Grow, Ready, Refused
from whisper_server.audio.sample_sink import BudgetRefused, SampleSink, first_step_bytes
from whisper_server.audio.upload_reader import UploadReader
from whisper_server.audio.wav_length import wav_length


def test_a_memory_file_holds_what_was_written_and_has_no_name() -> None:
    with MemoryFile.create("../../etc/\0passwd\n" + "é" * 500) as file:
        file.write(b"abc")
        file.write(bytearray(b"def"))
        file.write(memoryview(b"ghi")[1:])
        assert file.n_bytes == 8
        assert os.pread(file.fileno(), 100, 0) == b"abcdefhi"
        assert os.fstat(file.fileno()).st_nlink == 0
    assert file.closed
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")


def test_a_forgotten_memory_file_is_closed() -> None:
    file = MemoryFile.create()
    fd = file.fileno()
    del file
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_mapped_samples_cannot_be_changed_from_outside() -> None:
    values = np.linspace(-1, 1, 4_000, dtype=np.float32)
    file = memory_file(values.tobytes())
    others_fd = os.dup(file.fileno())  # as a worker holds one
    with pytest.raises(ValueError, match="not sealed"):
        DecodedAudio.map(file, 4_000, Budget())
    seal(others_fd)
    with DecodedAudio.map(file, 4_000, Budget()) as audio:
        file.close()
        for attack in (
            lambda: os.pwrite(others_fd, b"x", 0),
            lambda: os.ftruncate(others_fd, 0),
            lambda: os.ftruncate(others_fd, 1 << 20),
        ):
            with pytest.raises(PermissionError):
                attack()
        assert np.array_equal(audio.samples, values)
        assert audio.duration_s == 0.25
    os.close(others_fd)


@pytest.mark.parametrize("n_samples", [-1, 0, 3_999, 4_001, 1 << 40])
def test_samples_that_are_not_what_was_promised_are_not_mapped(n_samples: int) -> None:
    with memory_file(bytes(16_000)) as file:
        seal(file.fileno())
        with pytest.raises(ValueError, match="were promised"):
            DecodedAudio.map(file, n_samples, Budget())


@pytest.mark.filterwarnings("default::ResourceWarning")
def test_audio_that_is_not_closed_gives_its_reservation_back() -> None:
    budget = Budget()
    with memory_file(bytes(16_000)) as file:
        seal(file.fileno())
        audio = DecodedAudio.map(file, 4_000, budget)
    with pytest.warns(ResourceWarning, match="not closed"):
        del audio
    assert budget.n_releases == 1


@pytest.mark.parametrize(
    "message",
    [
        DecodeJob(),
        Grant(granted=True),
        Ready(1, seccomp=True, landlock_abi=7),
        Grow(2),
        Done(3, 4),
        Refused("invalid_audio", "so \"it\" is: 'é'", 5),
        Crashed("…"),
    ],
)
def test_messages_come_through(message: messages.Message) -> None:
    assert messages.unpack(messages.pack(message)) == message


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\xff",
        b"1",
        b"[]",
        b"{}",
        b'{"kind": []}',
        b'{"kind": "Exit"}',
        b'{"kind": "Done"}',
        b'{"kind": "Done", "n_samples": "4", "rss_bytes": 1}',
        b'{"kind": "Done", "n_samples": 1.5, "rss_bytes": 1}',
        b'{"kind": "Done", "n_samples": true, "rss_bytes": 1}',
        b'{"kind": "Grow", "n_bytes": 1, "more": 2}',
    ],
)
def test_what_is_no_message_is_refused(datagram: bytes) -> None:
    with pytest.raises(BadMessage):
        messages.unpack(datagram)


def test_long_texts_fit_a_datagram() -> None:
    assert len(messages.pack(Crashed('"é\0' * 100_000))) < messages.MAX_MESSAGE_BYTES


def test_the_sink_asks_before_it_grows_and_writes_nothing_after_a_refusal() -> None:
    asked: list[int] = []

    def grow(n_bytes: int) -> bool:
        asked.append(n_bytes)
        return sum(asked) <= 5 << 20

    with MemoryFile.create() as file:
        sink = SampleSink(file.fileno(), grow)
        piece = np.ones(100_000, np.float32)
        with pytest.raises(BudgetRefused):
            for _ in range(100):
                sink.write(piece)
                assert os.fstat(file.fileno()).st_size <= sum(asked)
        assert os.fstat(file.fileno()).st_size == sink.n_samples * 4 <= 5 << 20
    assert len(asked) < 8


def test_wav_length() -> None:
    def length(content: bytes) -> tuple[float, float] | None:
        with memory_file(content) as file:
            found = wav_length(UploadReader(file.fileno()))
            return (found.declared_s, found.held_s) if found else None

    for container in ("WAV", "WAVEX", "RF64"):
        for subtype in ("PCM_16", "PCM_24", "FLOAT", "ULAW"):
            assert length(files.by_libsndfile(sweep(2, 8_000, n_channels=2), 8_000, container, subtype)) == (2, 2)
    whole = files.wav(sweep(2, 8_000), 8_000)
    assert length(whole[:16_044]) == (2, 1)
    assert length(files.with_wav_sizes(whole, data_bytes=0)) is None
    assert length(files.with_wav_sizes(whole, data_bytes=0xFFFF_FFFF)) is None
    assert length(b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 2_000) is None
    assert length(b"no wav") is None


def test_limits_travel_as_json() -> None:
    limits = DecoderLimits(max_audio_s=12.5, niceness=3)
    assert DecoderLimits.from_json(limits.to_json()) == limits


def test_the_tighter_limit_binds() -> None:
    assert DecoderLimits(max_audio_s=0, max_decoded_s=100).max_s == 100
    assert DecoderLimits(max_audio_s=50, max_decoded_s=100).max_s == 50
    assert DecoderLimits(max_audio_s=500, max_decoded_s=100).max_s == 100


def test_the_first_step_holds_a_clip_but_not_a_long_recording() -> None:
    assert first_step_bytes(0.0) == 0
    assert 30 * 64_000 < first_step_bytes(30.0) <= 31 * 64_000
    assert first_step_bytes(14_400.0) < 40 * 64_000
