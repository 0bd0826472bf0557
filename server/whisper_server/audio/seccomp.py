"""The system calls that a decoder worker may make, as a seccomp filter. Every other call kills the worker with SIGSYS.

Reference: Documentation/userspace-api/seccomp_filter.rst in the Linux sources; numbers from its `unistd.h` and
`syscall_64.tbl`. Own code rather than libseccomp's binding, because that one needs a C library in the image.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import platform
import struct
from dataclasses import dataclass

SOCKET_FD = 3
"""The worker's only socket. Messages go through this descriptor alone."""

STDERR_FD = 2
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_RET_KILL_PROCESS = 0x8000_0000
_RET_ALLOW = 0x7FFF_0000
_LOAD, _JUMP_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
"""Offsets in `struct seccomp_data`."""


@dataclass(frozen=True)
class Call:
    """An allowed system call with its number per architecture.

    `argument`, if given, is checked: it must equal `equals`, or have none of the bits `without`. The lower 32 bits
    are compared; both architectures are little-endian.
    """

    name: str
    x86_64: int
    aarch64: int
    argument: int | None = None
    equals: int | None = None
    without: int = 0


ALLOWED = (
    # Messages, and the two files of a job. `fcntl` may only seal the samples.
    Call("recvmsg", 47, 212, argument=0, equals=SOCKET_FD),
    Call("recvfrom", 45, 207, argument=0, equals=SOCKET_FD),
    Call("sendto", 44, 206, argument=0, equals=SOCKET_FD),
    Call("pread64", 17, 67),
    Call("preadv", 295, 69),
    Call("preadv2", 327, 286),  # which of the two `os.preadv` makes depends on the Python build
    Call("pwrite64", 18, 68),
    Call("lseek", 8, 62),
    Call("fcntl", 72, 25, argument=1, equals=fcntl.F_ADD_SEALS),
    Call("close", 3, 57),
    Call("write", 1, 64, argument=0, equals=STDERR_FD),  # the interpreter's last words; /dev/null in the sandbox
    # Memory, none of it executable.
    Call("mmap", 9, 222, argument=2, without=mmap.PROT_EXEC),
    Call("mprotect", 10, 226, argument=2, without=mmap.PROT_EXEC),
    Call("mremap", 25, 216),
    Call("munmap", 11, 215),
    Call("madvise", 28, 233),
    Call("brk", 12, 214),
    # Locks and time (a clock that the vDSO does not serve becomes a call), signals' return, the end.
    Call("futex", 202, 98),
    Call("sched_yield", 24, 124),
    Call("clock_gettime", 228, 113),
    Call("restart_syscall", 219, 128),
    Call("rt_sigreturn", 15, 139),
    Call("exit", 60, 93),
    Call("exit_group", 231, 94),
)
_ARCHITECTURES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
"""AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64: calls by another calling convention (32-bit) are refused."""


def install() -> bool:
    """Filter this process's system calls from now on. Needs no_new_privs.

    False: the processor or the kernel has no filter that this module can write. Raises OSError.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return False
    program = compile_filter(machine)
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, padding, a pointer to them.
    header = ctypes.create_string_buffer(struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0) == 0:
        return True
    if (number := ctypes.get_errno()) in (errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(number, "prctl(PR_SET_SECCOMP) failed")


def compile_filter(machine: str) -> bytes:
    """The filter as BPF instructions of 8 bytes each (`struct sock_filter`)."""
    program = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_JUMP_EQUAL, _ARCHITECTURES[machine], if_false=0, if_true=1),
        _instruction(_RETURN, _RET_KILL_PROCESS),
    ]
    for call in ALLOWED:
        body = _verdict(call)
        number = call.x86_64 if machine == "x86_64" else call.aarch64
        program += [
            _instruction(_LOAD, _NUMBER_AT),
            _instruction(_JUMP_EQUAL, number, if_true=0, if_false=len(body)),
            *body,
        ]
    program.append(_instruction(_RETURN, _RET_KILL_PROCESS))
    return b"".join(program)


def _verdict(call: Call) -> list[bytes]:
    """What follows once the number is known to be `call`'s."""
    allow, kill = _instruction(_RETURN, _RET_ALLOW), _instruction(_RETURN, _RET_KILL_PROCESS)
    if call.argument is None:
        return [allow]
    load = _instruction(_LOAD, _ARGUMENTS_AT + 8 * call.argument)
    if call.equals is not None:
        return [load, _instruction(_JUMP_EQUAL, call.equals, if_true=0, if_false=1), allow, kill]
    return [load, _instruction(_JUMP_ANY_BIT, call.without, if_true=1, if_false=0), allow, kill]


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
