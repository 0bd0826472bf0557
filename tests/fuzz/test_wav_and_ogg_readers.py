"""Wav and ogg readers on mutated files: no exception, parts that lie within the file, a bounded number of reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given

from audio_kit.decoding import memory_file
from fuzz_kit import corpus, examples, mutated
from whisper_server.audio.ogg_links import ogg_links
from whisper_server.audio.upload_reader import UploadReader
from whisper_server.audio.wav_length import data_chunk, wav_length
from whisper_server.audio.wav_parts import wav_parts

MAX_PARTS = 1_001
READS_PER_BYTE = 1
"""A part takes at least 12 bytes of the file, a chunk 8 and an ogg page 27; each costs a few reads."""


class CountingReader(UploadReader):
    """Counts how often the file is read."""

    n_reads = 0

    def read_at(self, position: int, n_bytes: int) -> bytes:
        self.n_reads += 1
        return super().read_at(position, n_bytes)


@contextmanager
def reader(content: bytes) -> Iterator[CountingReader]:
    with memory_file(content) as file:
        counting = CountingReader(file.fileno())
        yield counting
        assert counting.n_reads <= 50 + READS_PER_BYTE * len(content)


def content_of(part: UploadReader) -> bytes:
    return part.read_at(0, part.n_bytes)


@examples(100)
@given(mutated("wav"))
def test_length_of_a_mutated_wav_is_a_length_or_unknown(content: bytes) -> None:
    with reader(content) as file:
        length, chunk = wav_length(file), data_chunk(file)
    if length is not None:
        assert 0 <= length.held_s <= length.declared_s
    if chunk is not None:
        assert 12 < chunk.start <= len(content)


@examples(80)
@given(mutated("wav"))
def test_parts_of_a_mutated_wav_are_the_file_in_order(content: bytes) -> None:
    with reader(content) as file:
        parts = wav_parts(file)
        if parts is None:
            return
        assert 1 <= len(parts) <= MAX_PARTS
        assert b"".join(content_of(part) for part in parts) in content
        assert content.endswith(content_of(parts[-1]))
        for part in parts:
            part.seek(0)
            assert len(part.read()) == part.n_bytes


@examples(80)
@given(mutated("ogg"))
def test_links_of_a_mutated_ogg_are_the_whole_file(content: bytes) -> None:
    with reader(content) as file:
        links = ogg_links(file)
        assert 1 <= len(links) <= MAX_PARTS
        assert b"".join(content_of(link) for link in links) == content
        if content[:4] == b"OggS":
            assert all(content_of(link)[:4] == b"OggS" for link in links[1:])


def test_files_of_the_corpus_are_read_as_what_they_are() -> None:
    n_parts = []
    for content in corpus("wav"):
        with memory_file(content) as file:
            n_parts.append(len(wav_parts(UploadReader(file.fileno())) or ()))
    assert sorted(n_parts) == [1] * (len(n_parts) - 1) + [2]
