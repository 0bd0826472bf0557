"""Attempts to break out of a decoder worker, as a file that has taken the decoder over would make them.

    python -m audio_kit.escapes TARGETS

Makes each attempt twice, in a sandboxed process and in one without a sandbox, and prints the outcomes as JSON. TARGETS
is JSON too: what an attempt needs (a path, a port), by its name. The attempts' parent plays the server.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from whisper_server.audio import sandbox, worker
from whisper_server.audio.limits import DecoderLimits
from whisper_server.audio.sandbox import MemoryMeter

ESCAPED = "escaped"
_ANSWER_FD, _N_DESCRIPTORS = 6, 7
_LIBC = ctypes.CDLL(None, use_errno=True)
_NUMBERS = {  # on x86_64, on aarch64
    "bpf": (321, 280),
    "clone": (56, 220),
    "execve": (59, 221),
    "execveat": (322, 281),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "mount": (165, 40),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}


def _call(name: str, *arguments: object) -> int:
    """The return value; raises OSError."""
    number = _NUMBERS[name][platform.machine() == "aarch64"]
    result: int = _LIBC.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def _read(path: str) -> None:
    # A worker can close a descriptor that it does not need: RLIMIT_NOFILE alone stops nothing.
    os.close(1)
    with Path(path).open("rb") as file:
        file.read(1)


def _write(path: str) -> None:
    os.close(1)
    Path(path).write_bytes(b"x")


def _read_parents_memory(address: str) -> None:
    os.close(1)
    with Path(f"/proc/{os.getppid()}/mem").open("rb", buffering=0) as memory:
        memory.seek(int(address))
        memory.read(1)


def _process_vm_readv(address: str) -> None:
    buffer = ctypes.create_string_buffer(8)
    local = struct.pack("PN", ctypes.addressof(buffer), 8)
    remote = struct.pack("PN", int(address), 8)
    _call("process_vm_readv", os.getppid(), local, 1, remote, 1, 0)


def _ptrace(_target: str) -> None:
    seize = 0x4206
    _call("ptrace", seize, os.getppid(), None, None)


def _connect(port: str) -> None:
    os.close(1)
    with socket.socket() as client:
        client.connect(("127.0.0.1", int(port)))


def _fork(_target: str) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _exec(_target: str) -> None:
    os.execv("/bin/true", ["true"])


def _exec_from_memory(_target: str) -> None:
    os.close(1)
    fd = _call("memfd_create", b"program", 0)
    os.write(fd, Path("/bin/true").read_bytes())
    _call("execveat", fd, b"", (ctypes.c_char_p * 2)(b"true", None), (ctypes.c_char_p * 1)(None), 0x1000)


def _kill_parent(_target: str) -> None:
    os.kill(os.getppid(), signal.SIGURG)  # its default is to be ignored: the test's own process survives


def _unshare(_target: str) -> None:
    new_user_namespace, new_mount_namespace = 0x1000_0000, 0x0002_0000
    _call("unshare", new_user_namespace | new_mount_namespace)


def _io_uring(_target: str) -> None:
    os.close(1)
    _call("io_uring_setup", 8, ctypes.create_string_buffer(120))


def _keyctl(_target: str) -> None:
    get_keyring_id, session_keyring = 0, -3
    _call("keyctl", get_keyring_id, session_keyring, 1)


def _bpf(_target: str) -> None:
    map_create, array = 0, 2
    attributes = struct.pack("=5I", array, 4, 4, 1, 0) + bytes(100)
    os.close(1)
    _call("bpf", map_create, attributes, len(attributes))


def _steal_descriptor(_target: str) -> None:
    os.close(1)
    pidfd = _call("pidfd_open", os.getppid(), 0)
    _call("pidfd_getfd", pidfd, 0, 0)


def _executable_memory(_target: str) -> None:
    mmap.mmap(-1, 4_096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def _more_cpu_time(_target: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))


def _duplicate(_target: str) -> None:
    os.dup(0)


ESCAPES: dict[str, Callable[[str], None]] = {
    "read_passwd": _read,
    "read_service_account_token": _read,
    "read_api_keys": _read,
    "write_file": _write,
    "read_parents_memory": _read_parents_memory,
    "process_vm_readv": _process_vm_readv,
    "ptrace": _ptrace,
    "connect_to_loopback": _connect,
    "exec": _exec,
    "fork": _fork,
    "kill_parent": _kill_parent,
    "unshare": _unshare,
    "exec_from_memory": _exec_from_memory,
    "io_uring": _io_uring,
    "keyctl": _keyctl,
    "bpf": _bpf,
    "steal_descriptor": _steal_descriptor,
    "executable_memory": _executable_memory,
    "more_cpu_time": _more_cpu_time,
    "duplicate_descriptor": _duplicate,
}
"""The first fifteen are those of the security audit of 2026-11-28."""


def outcome(name: str, target: str, *, sandboxed: bool) -> str:
    """Of one attempt, made by a process of its own: ESCAPED, the error, or the signal that killed the process."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(theirs, _ANSWER_FD)
        os.closerange(3, _ANSWER_FD)
        _attempt(name, target, sandboxed=sandboxed)
    os.close(theirs)
    with open(ours, "rb") as answers:  # noqa: PTH123 - a descriptor
        answer = answers.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        return signal.Signals(-code).name
    return answer or ESCAPED  # another program ran, which answers nothing


def _attempt(name: str, target: str, *, sandboxed: bool) -> NoReturn:
    answer = ESCAPED
    try:
        if sandboxed:
            sandbox.enter(MemoryMeter(), DecoderLimits(), n_descriptors=_N_DESCRIPTORS)
        else:
            os.dup2(0, 1)
        ESCAPES[name](target)
    except Exception as error:  # noqa: BLE001 - whatever stopped it is the answer
        answer = f"{type(error).__name__}: {error}"
    os.write(_ANSWER_FD, answer.encode())
    os._exit(0)


def main(targets: dict[str, str]) -> None:
    """Prints the outcomes: for each attempt the one in the sandbox and the one outside of it."""
    secret = ctypes.create_string_buffer(b"secret of the server")
    address = str(ctypes.addressof(secret))
    targets = {**targets, "read_parents_memory": address, "process_vm_readv": address}
    worker.warm_up()
    outcomes = {
        name: [outcome(name, targets.get(name, ""), sandboxed=sandboxed) for sandboxed in (True, False)]
        for name in ESCAPES
    }
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
