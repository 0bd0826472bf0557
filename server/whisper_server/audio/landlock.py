"""Landlock with no rule: this process may open no file, use no TCP port and signal no process outside.

Reference: Documentation/userspace-api/landlock.rst in the Linux sources. Descriptors that are open already go on
working. A second wall behind `seccomp`: it holds where a filter cannot be installed.
"""

from __future__ import annotations

import ctypes
import os
import struct

_CREATE_RULESET, _RESTRICT_SELF = 444, 446
"""The same numbers on every architecture."""
_CREATE_RULESET_VERSION = 1
_FILE_RIGHTS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 5: 0xFFFF}
"""By the first ABI that knows them: all rights of ABI 1, then REFER, TRUNCATE and IOCTL_DEV."""
_NETWORK_ABI, _NETWORK_RIGHTS = 4, 0b11
"""Bind and connect."""
_SCOPE_ABI, _SCOPES = 6, 0b11
"""Abstract unix sockets and signals."""


def forbid_everything() -> int:
    """Restrict this process for good. Needs no_new_privs.

    Returns the ABI version that the kernel has, 0 if it has none. Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    abi = int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION))
    if abi <= 0:
        return 0
    attributes = _attributes(abi)
    ruleset_fd = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset_fd < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset failed")
    try:
        if libc.syscall(_RESTRICT_SELF, ruleset_fd, 0) != 0:
            raise OSError(ctypes.get_errno(), "landlock_restrict_self failed")
    finally:
        os.close(ruleset_fd)
    return abi


def _attributes(abi: int) -> bytes:
    """`struct landlock_ruleset_attr`, as long as this ABI knows it."""
    rights = [_FILE_RIGHTS[max(known for known in _FILE_RIGHTS if known <= abi)]]
    if abi >= _NETWORK_ABI:
        rights.append(_NETWORK_RIGHTS)
    if abi >= _SCOPE_ABI:
        rights.append(_SCOPES)
    return struct.pack(f"={len(rights)}Q", *rights)
