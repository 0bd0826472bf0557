"""A decoder worker: `python -P -m whisper_server.audio.worker SOCKET PARENT_PID LIMITS`.

Reads one file at a time, from a descriptor into a descriptor. It needs no file, no network and no environment, and its
sandbox denies them. Imports only what decoding needs (numpy, PyAV, soxr), so that it starts fast and stays small.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import pkgutil
import socket
import sys
import traceback
import warnings
from io import BytesIO

import av

from whisper_server.audio import messages, sandbox
from whisper_server.audio.limits import DecoderLimits
from whisper_server.audio.memory_file import MemoryFile, seal
from whisper_server.audio.messages import MIXED, Crashed, DecodeJob, Done, Grant, Grow, Message, Probed, Ready, Refused
from whisper_server.audio.read_audio import read_audio
from whisper_server.audio.resample import ChannelTaker, Header, MonoMixer
from whisper_server.audio.sample_sink import BudgetRefused, SampleSink, first_step_bytes
from whisper_server.audio.sandbox import MemoryMeter, SandboxReport
from whisper_server.audio.seccomp import SOCKET_FD
from whisper_server.audio.upload_reader import UploadReader
from whisper_server.errors import ApiError

_N_DESCRIPTORS = 7
"""stdin, stdout, stderr, the socket, /proc/self/statm, upload, samples. No other descriptor can be opened."""
_UNUSED_MODULES = ("av.__main__", "av.datasets")
_CHARACTER_SETS = ("ISO6937", *(f"ISO-8859-{n}" for n in range(1, 17)), "UCS-2BE", "KSC_5601", "GB2312", "BIG5")
"""Those that FFmpeg converts the service names of MPEG transport streams from (`getstr8` in libavformat/mpegts.c)."""


class ServerGone(Exception):
    """The server closed its end."""


class Worker:
    """The worker's end of the connection."""

    def __init__(self, connection: socket.socket, memory: MemoryMeter, limits: DecoderLimits) -> None:
        self.connection = connection
        self._memory = memory
        self._limits = limits

    def serve(self, report: SandboxReport) -> None:
        """Handle one job after another, until the server is gone."""
        self._send(Ready(self._memory.rss_bytes(), report.seccomp, report.landlock_abi))
        while True:
            datagram, descriptors, _, _ = socket.recv_fds(self.connection, messages.MAX_MESSAGE_BYTES, 2)
            if not datagram:
                raise ServerGone
            job = messages.unpack(datagram)
            if not isinstance(job, DecodeJob) or len(descriptors) != 2:
                raise messages.BadMessage(f"{datagram!r:.100} with {len(descriptors)} descriptors")
            try:
                answer = self._answer(job, *descriptors)
            finally:
                for fd in descriptors:
                    os.close(fd)
            self._send(answer)

    def _answer(self, job: DecodeJob, upload_fd: int, samples_fd: int) -> Message:
        mixer = MonoMixer() if job.channel == MIXED else ChannelTaker(job.channel)
        try:
            n_samples = self._read(upload_fd, samples_fd, mixer)
        except ServerGone:
            raise
        except BudgetRefused:
            return Refused("overloaded", "", self._memory.rss_bytes())
        except ApiError as error:
            return Refused(error.code or "", error.message, self._memory.rss_bytes())
        except MemoryError:
            limit_mib = self._limits.memory_bytes // 2**20
            message = f"The file cannot be decoded: it asks for more than {limit_mib} MiB of memory."
            return Refused("invalid_audio", message, self._memory.rss_bytes())
        except Exception as error:  # noqa: BLE001 - the server logs it, and the worker goes on
            return Crashed(_traceback_of(error))
        return Done(n_samples, self._memory.rss_bytes(), mixer.n_channels)

    def _read(self, upload_fd: int, samples_fd: int, mixer: MonoMixer | ChannelTaker) -> int:
        sink = SampleSink(samples_fd, self._grow)

        def probed(header: Header) -> None:
            n_bytes = first_step_bytes(header.length_s)
            if not self._ask(Probed(header.rate_hz, header.n_channels, round(1000 * header.length_s), n_bytes)):
                raise BudgetRefused
            sink.granted_bytes = n_bytes

        for piece in read_audio(UploadReader(upload_fd), self._limits, probed, mixer):
            sink.write(piece)
        seal(samples_fd)
        return sink.n_samples

    def _grow(self, n_bytes: int) -> bool:
        return self._ask(Grow(n_bytes))

    def _ask(self, question: Message) -> bool:
        self._send(question)
        datagram = self.connection.recv(messages.MAX_MESSAGE_BYTES)
        if not datagram:
            raise ServerGone
        answer = messages.unpack(datagram)
        return isinstance(answer, Grant) and answer.granted

    def _send(self, message: Message) -> None:
        try:
            self.connection.send(messages.pack(message))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ServerGone from error


def _traceback_of(error: BaseException) -> str:
    """Without source lines: `traceback.format_exc` opens files, and the sandbox kills the worker for that."""
    frames = [
        f"  {frame.f_code.co_filename}:{line} in {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return "\n".join([*frames, f"{type(error).__name__}: {error}"])


def warm_up() -> None:
    """Import and run everything once, because soon no file can be opened.

    PyAV imports the class of a stream when it meets the first one, and glibc the module of a character set when it
    converts from it: a subtitle track or the name of a television station would need a file.
    """
    iconv_open = ctypes.CDLL(None).iconv_open
    iconv_open.restype = ctypes.c_void_p
    for name in _CHARACTER_SETS:
        iconv_open(b"UTF-8", name.encode())  # never closed, so that the module stays loaded
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in _UNUSED_MODULES:
            importlib.import_module(module.name)
    n_frames = 8_000
    header = BytesIO()
    for part in (b"RIFF", 36 + 4 * n_frames, b"WAVEfmt ", 16, 0x0002_0001, 8_000, 32_000, 0x0010_0004, b"data"):
        header.write(part if isinstance(part, bytes) else part.to_bytes(4, "little"))
    header.write((4 * n_frames).to_bytes(4, "little"))
    with MemoryFile.create("warm-up") as upload, MemoryFile.create("warm-up") as samples:
        upload.write(header.getvalue() + bytes(4 * n_frames))
        sink = SampleSink(samples.fileno(), lambda _n_bytes: True)
        for piece in read_audio(UploadReader(upload.fileno()), DecoderLimits()):
            sink.write(piece)
        with contextlib.suppress(ApiError):
            list(read_audio(UploadReader(upload.fileno(), 20), DecoderLimits()))  # the errors' classes


def _keep_quiet() -> None:
    """Nothing prints source lines, because that opens files: no warning, no error in a destructor or in PyAV."""
    sys.tracebacklimit = 0
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _unraisable: None


def start_sandboxed(socket_fd: int, parent_pid: int, limits: DecoderLimits) -> tuple[Worker, SandboxReport]:
    """Everything between the start of the process and its first job. Moves the socket to SOCKET_FD."""
    sandbox.follow_parent(parent_pid)
    sandbox.yield_to_server(limits.niceness)
    # A low number, because RLIMIT_NOFILE bounds numbers.
    if socket_fd != SOCKET_FD:
        os.dup2(socket_fd, SOCKET_FD, inheritable=False)
        os.close(socket_fd)
    memory = MemoryMeter()
    warm_up()
    _keep_quiet()
    worker = Worker(socket.socket(fileno=SOCKET_FD), memory, limits)
    return worker, sandbox.enter(memory, limits, n_descriptors=_N_DESCRIPTORS)


def main(socket_fd: int, parent_pid: int, limits: DecoderLimits) -> None:
    worker, report = start_sandboxed(socket_fd, parent_pid, limits)
    exit_code = 0
    try:
        worker.serve(report)
    except ServerGone:
        pass
    except BaseException:  # noqa: BLE001 - the interpreter would print it, and open files for its source lines
        exit_code = 1
    os._exit(exit_code)  # not by way of the interpreter's end, which makes calls that the sandbox denies


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), DecoderLimits.from_json(sys.argv[3]))
