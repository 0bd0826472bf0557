"""Why a model cannot be fetched."""

from __future__ import annotations


class FetchError(Exception):
    """What is wrong, and what to do about it; the caller adds the name of the model."""

    def __init__(self, reason: str, remedy: str, *, setting: str = "MODEL_ID") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.setting = setting
        """The variable that is at fault."""


class ConnectionLost(FetchError):
    """The connection ended, or could not be made: worth another try."""

    def __init__(self, error: Exception) -> None:
        super().__init__(one_line(error), "check the address, the network and the proxy")


def one_line(error: BaseException) -> str:
    """The error's message, without line breaks, cut to what a status can show."""
    said = " ".join(str(error).split()).split(" Debug source:")[0]  # obstore repeats it as Rust writes it
    return said[:300] or type(error).__name__
