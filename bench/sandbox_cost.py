"""What the sandbox costs a decoder: CPU time per format with it and without it, the two in turn in one run.

Each job is one file decoded by a process of its own kind (warmed up; sandboxed or not), measured by that process's own
clock. Prints the ratio of CPU times without to with the sandbox (1: no cost) as the median over pairs, with its spread.
Run as: PYTHONPATH=tests/kit python bench/sandbox_cost.py --rounds 40
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import struct
import time
from collections.abc import Callable

from figures import machine

from audio_kit import files
from audio_kit.signals import sweep
from whisper_server.audio import sandbox, worker
from whisper_server.audio.limits import DecoderLimits
from whisper_server.audio.memory_file import MemoryFile
from whisper_server.audio.read_audio import read_audio
from whisper_server.audio.sample_sink import SampleSink
from whisper_server.audio.sandbox import MemoryMeter
from whisper_server.audio.seccomp import SOCKET_FD
from whisper_server.audio.upload_reader import UploadReader

MIN_RATIO = 0.97


def contents(duration_s: float) -> dict[str, bytes]:
    """The same sound in each format."""
    rate_hz = 48_000
    signal = sweep(duration_s, rate_hz, n_channels=2)
    return {
        "wav": files.wav(signal, rate_hz),
        "flac": files.by_libsndfile(signal, rate_hz, "FLAC", "PCM_16"),
        "mp3": files.by_ffmpeg(signal, rate_hz, "mp3", "libmp3lame", bit_rate=128_000),
        "m4a": files.by_ffmpeg(signal, rate_hz, "mp4", "aac", bit_rate=128_000),
        "opus": files.by_ffmpeg(signal, rate_hz, "ogg", "libopus", bit_rate=64_000),
    }


def serve_forever(connection: socket.socket, uploads: list[MemoryFile], samples: MemoryFile) -> None:
    """In the child: decode the file whose number arrives, answer with the CPU seconds of it."""
    while number := connection.recv(1):
        start_s = time.process_time()
        sink = SampleSink(samples.fileno(), lambda _n_bytes: True)
        for piece in read_audio(UploadReader(uploads[number[0] - 1].fileno()), DecoderLimits()):
            sink.write(piece)
        connection.send(struct.pack("d", time.process_time() - start_s))
    os._exit(0)


def decoder(uploads: list[MemoryFile], *, sandboxed: bool) -> Callable[[int], float]:
    """Starts a decoder; calling the result decodes file number n and returns its CPU seconds."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        os.nice(5)
        os.dup2(theirs.fileno(), SOCKET_FD)
        connection, samples = socket.socket(fileno=SOCKET_FD), MemoryFile.create("samples")
        if sandboxed:
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            sandbox.enter(MemoryMeter(), DecoderLimits(), n_descriptors=64)
        serve_forever(connection, uploads, samples)

    def decode(number: int) -> float:
        ours.send(bytes([number + 1]))
        cpu_s: float = struct.unpack("d", ours.recv(8))[0]
        return cpu_s

    return decode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="pairs per format")
    parser.add_argument("--seconds", type=float, default=60, help="of sound per file")
    parser.add_argument(
        "--control", action="store_true", help="no sandbox on either side: how far two equal ones differ"
    )
    arguments = parser.parse_args()
    os.dup2(0, SOCKET_FD)  # taken, so that no file of ours gets the number that the decoders need for their sockets
    worker.warm_up()
    made = contents(arguments.seconds)
    uploads = []
    for content in made.values():
        upload = MemoryFile.create("upload")
        upload.write(content)
        uploads.append(upload)
    kinds = {sandboxed: decoder(uploads, sandboxed=sandboxed and not arguments.control) for sandboxed in (False, True)}
    print(machine())
    print(f"{arguments.rounds} pairs per format, {arguments.seconds:g} s of 48 kHz stereo\n")
    print("| format | CPU ms without | with | without ÷ with, median | quartiles | of the fastest |")
    print("|---|---|---|---|---|---|")
    slow = []
    for number, name in enumerate(made):
        pairs = []
        for round_ in range(arguments.rounds):
            order = (False, True) if round_ % 2 else (True, False)
            spent = {sandboxed: kinds[sandboxed](number) for sandboxed in order}
            pairs.append((spent[False], spent[True]))
        ratios = sorted(without / within for without, within in pairs)
        low, median, high = statistics.quantiles(ratios, n=4)
        fastest = min(one for one, _ in pairs) / min(one for _, one in pairs)
        without_ms, within_ms = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {name} | {without_ms:.1f} | {within_ms:.1f} | {median:.3f} | {low:.3f}–{high:.3f} | {fastest:.3f} |")
        if median < MIN_RATIO:
            slow.append(name)
    if slow:
        print(f"\nslower than {MIN_RATIO} ×: {', '.join(slow)}")
    return int(bool(slow))


if __name__ == "__main__":
    raise SystemExit(main())
