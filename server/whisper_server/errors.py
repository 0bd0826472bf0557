"""Every refusal that the server can give, as exceptions.

    ApiError                    what a client is told: status, type, param, code
    ├── BadRequest              400, names the field
    │   ├── InvalidAudio        400 invalid_audio
    │   ├── AudioTooShort       400 audio_too_short
    │   └── AudioTooLong        400 audio_too_long
    ├── InvalidApiKey           401 invalid_api_key
    ├── ModelNotFound           404 model_not_found
    ├── UploadTimeout           408 upload_timeout
    ├── UploadTooLarge          413 upload_too_large
    ├── Overloaded              429 with Retry-After
    │   └── MemoryFull          429, MEMORY_BUDGET_BYTES is used up
    ├── InternalError           500
    └── Unavailable             503
    StartError                  stops the start; one line for the operator

What a response looks like belongs to the HTTP layer; this module knows no HTTP library.
"""

from __future__ import annotations

from typing import Any


class StartError(Exception):
    """The server cannot start; the message says what is wrong and what to set instead."""


class ApiError(Exception):
    """A request that is not answered, in the words of OpenAI's error object."""

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }

    def headers(self) -> dict[str, str]:
        """Headers that go with this refusal, besides the content type."""
        return {}


class BadRequest(ApiError):
    """The request is wrong; `param` names the field."""

    status = 400
    type = "invalid_request_error"


class InvalidAudio(BadRequest):
    """The file is no audio, holds none, or is cut off."""

    code = "invalid_audio"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="file")


class AudioTooShort(BadRequest):
    """Less than the shortest recording that is transcribed."""

    code = "audio_too_short"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="file")


class AudioTooLong(BadRequest):
    """More than MAX_AUDIO_SECONDS or MAX_DECODED_SECONDS, or than MEMORY_BUDGET_BYTES hold."""

    code = "audio_too_long"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="file")


class InvalidApiKey(ApiError):
    """No key, or one that nobody holds."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class ModelNotFound(ApiError):
    """The model asked for is not served here."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_found"


class UploadTimeout(ApiError):
    """The body did not arrive within UPLOAD_TIMEOUT_SECONDS."""

    status = 408
    type = "invalid_request_error"
    code = "upload_timeout"


class UploadTooLarge(ApiError):
    """The body is larger than MAX_UPLOAD_BYTES."""

    status = 413
    type = "invalid_request_error"
    code = "upload_too_large"


class Overloaded(ApiError):
    """Too much is waiting already; try again after `retry_after_s` (clients refuse over 120)."""

    status = 429
    type = "rate_limit_error"
    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = min(60, max(1, round(retry_after_s)))

    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


class MemoryFull(Overloaded):
    """Other requests hold all of MEMORY_BUDGET_BYTES."""

    def __init__(self) -> None:
        super().__init__(
            "The server holds as many recordings as its memory allows (MEMORY_BUDGET_BYTES). Try again soon.",
            retry_after_s=5,
        )


class InternalError(ApiError):
    """A fault of ours; the log has more."""

    status = 500
    code = "internal_error"


class Unavailable(ApiError):
    """The engine is dead, or the server is going down."""

    status = 503
    code = "unavailable"
