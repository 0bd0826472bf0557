"""Every refusal of the server, as an exception.

    ApiError                    an error response: status, type, param, code
    ├── BadRequest              400, names the field
    │   ├── InvalidAudio        400 invalid_audio
    │   │   ├── AudioTooShort   400 audio_too_short
    │   │   └── AudioTooLong    400 audio_too_long
    │   └── MalformedHttp       400 bad_http, from the parser
    ├── InvalidApiKey           401 invalid_api_key
    ├── ModelNotFound           404 model_not_found
    ├── RoutingError            404, 405, 417, from the router
    ├── UploadTimeout           408 upload_timeout
    ├── UploadTooLarge          413 upload_too_large
    ├── UnsupportedEncoding     415 unsupported_encoding
    ├── TooMuchWork             413 too_much_work
    ├── UpgradeRequired         426, in live.ending, with SessionIdle: 408
    ├── Overloaded              429 with Retry-After
    │   ├── MemoryFull          429, MEMORY_BUDGET_BYTES is used up
    │   ├── TooManyRequests     429, as many requests as there are descriptors for
    │   └── RateLimited         429 rate_limit_exceeded, a quota of the client
    ├── InternalError           500
    └── Unavailable             503
        ├── ModelLoading        503 loading, with Retry-After
        └── Draining            503 draining
    StartError                  stops the start with one line for the administrator

The HTTP layer writes the response; this module knows no HTTP library.
"""

from __future__ import annotations

from typing import Any


class StartError(Exception):
    """The server cannot start; the message names the fault and the remedy."""


class ApiError(Exception):
    """A refused request, with the fields of OpenAI's error object."""

    status = 500
    type = "server_error"
    code: str | None = None
    reason: str | None = None
    """For the metric of refusals, where it says more than the code."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        """For messages between processes: without a call of `__init__`, whose parameters differ."""
        return type(self).__new__, (type(self), *self.args), self.__dict__

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """Headers of this refusal, in addition to the content type."""
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


class AudioTooShort(InvalidAudio):
    """Less than the shortest recording that is transcribed."""

    code = "audio_too_short"


class AudioTooLong(InvalidAudio):
    """More than MAX_AUDIO_SECONDS or MAX_DECODED_SECONDS, or than MEMORY_BUDGET_BYTES hold."""

    code = "audio_too_long"


class MalformedHttp(BadRequest):
    """The parser cannot read the request."""

    code = "bad_http"


class InvalidApiKey(ApiError):
    """No API key, or an unknown one."""

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


class RoutingError(ApiError):
    """No handler for this path, method or expectation."""

    type = "invalid_request_error"

    def __init__(self, message: str, *, status: int, allow: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self._allow = allow

    def headers(self) -> dict[str, str]:
        return {} if self._allow is None else {"Allow": self._allow}


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


class UnsupportedEncoding(ApiError):
    """The body has a Content-Encoding."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_encoding"


class TooMuchWork(ApiError):
    """The request alone takes longer than MAX_QUEUE_SECONDS, so that a later try cannot succeed either."""

    status = 413
    type = "invalid_request_error"
    code = "too_much_work"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="file")


class Overloaded(ApiError):
    """The queue is full; try again after `retry_after_s` (OpenAI's clients ignore more than 120)."""

    status = 429
    type = "rate_limit_error"
    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = min(60, max(1, round(retry_after_s)))

    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


class RateLimited(Overloaded):
    """The client is over one of its quotas; `reason` names it."""

    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, reason: str, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.reason = reason


class MemoryFull(Overloaded):
    """Other requests hold all of MEMORY_BUDGET_BYTES."""

    reason = "memory_full"

    def __init__(self) -> None:
        super().__init__(
            "The server holds as many recordings as its memory allows (MEMORY_BUDGET_BYTES). Try again soon.",
            retry_after_s=5,
        )


class TooManyRequests(Overloaded):
    """As many requests at a time as descriptors and memory allow, or none is left after all."""

    def __init__(self, n_requests: int | None = None) -> None:
        number = "as many requests" if n_requests is None else f"{n_requests} requests, as many"
        super().__init__(
            f"The server works on {number} as its open files (ulimit -n) and MEMORY_BUDGET_BYTES allow. Try again soon.",
            retry_after_s=5,
        )


class InternalError(ApiError):
    """A fault of the server; its log has the details."""

    status = 500
    code = "internal_error"


ENGINE_DEAD = "engine_dead"


class Unavailable(ApiError):
    """No engine serves at the moment."""

    status = 503
    code = "unavailable"


class ModelLoading(Unavailable):
    """The model is being loaded; a retry soon succeeds."""

    code = "loading"

    def headers(self) -> dict[str, str]:
        return {"Retry-After": "10"}


class Draining(Unavailable):
    """The server is shutting down."""

    code = "draining"
