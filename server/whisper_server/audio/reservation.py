"""What decoding asks of the memory budget: a Protocol that the HTTP layer's admission implements.

`DecodePool.decode` owns the reservation that it is given: it is released when decoding fails or is
cancelled, else when the `DecodedAudio` is closed. Exactly one of the two happens.
"""

from __future__ import annotations

from typing import Protocol


class Reservation(Protocol):
    """One request's share of the memory budget for samples."""

    @property
    def outgrown(self) -> bool:
        """Whether more was wanted than there will ever be."""

    def grow(self, n_bytes: int) -> bool:
        """Take `n_bytes` more. False: there is no room, and nothing was taken. Must not block."""

    def release(self) -> None:
        """Give back all that was taken. May be called twice."""


class Unlimited:
    """A reservation that is always granted: for the command line, where one user owns the machine."""

    outgrown = False

    def grow(self, n_bytes: int) -> bool:  # noqa: ARG002 - the Protocol's name
        return True

    def release(self) -> None:
        return None
