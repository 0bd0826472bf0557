"""From a request on a socket to a checked form, whose recording is in memory outside the heap.

This module orders the steps (headers, parts as they arrive, values, time limit) and closes everything if one fails.
`api.values` checks the fields.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Self

from aiohttp import web

from whisper_server.api.options import Granularity, Policy, ResponseFormat
from whisper_server.api.speakers import SpeakersSpec
from whisper_server.api.subtitles.limits import CueShape
from whisper_server.api.values import FieldName, parse_name, parse_values, spec_of
from whisper_server.audio.memory_file import MemoryFile
from whisper_server.errors import BadRequest, MemoryFull, Overloaded, UploadTimeout
from whisper_server.http.forms.limits import FormLimits, refuse_by_headers
from whisper_server.http.forms.multipart import FormPart, FormPartReader, discard
from whisper_server.http.loop_throttle import LoopThrottle
from whisper_server.memory.budget import Reservation
from whisper_server.whisper.transcript import Options, Task

_DISCARD_S = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Form:
    """One request, checked. Leaving it as a context manager frees the recording."""

    file: MemoryFile
    model: str
    """As in the request; the route checks whether it is served."""
    options: Options
    response_format: ResponseFormat
    stream: bool
    granularities: tuple[Granularity, ...]
    cue_shape: CueShape | None = None
    speakers: SpeakersSpec | None = None

    def close(self) -> None:
        """Free the recording."""
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def read_form(
    request: web.BaseRequest,
    task: Task,
    limits: FormLimits,
    policy: Policy,
    reservation: Reservation,
    *,
    throttle: LoopThrottle,
) -> Form:
    """Read and check the form of a request; `throttle` limits the pieces of bodies that are read per loop iteration.

    The caller releases the reservation. Raises BadRequest, Overloaded, UploadTooLarge, UploadTimeout.
    """
    refuse_by_headers(request.headers, limits)
    try:
        async with asyncio.timeout(limits.upload_timeout_s):
            return await _read(request, task, limits, policy, reservation, throttle=throttle)
    except TimeoutError:
        raise UploadTimeout(
            f"The request body did not arrive within {limits.upload_timeout_s:g} s (UPLOAD_TIMEOUT_SECONDS)."
        ) from None
    except (BadRequest, Overloaded):
        reservation.release()  # the upload is freed: other requests need not wait until its rest is discarded
        with suppress(TimeoutError):
            await asyncio.wait_for(discard(request, limits, throttle), _DISCARD_S)
        raise


async def _read(
    request: web.BaseRequest,
    task: Task,
    limits: FormLimits,
    policy: Policy,
    reservation: Reservation,
    *,
    throttle: LoopThrottle,
) -> Form:
    with ExitStack() as stack:
        file = stack.enter_context(MemoryFile.create("upload"))
        texts: list[tuple[FieldName, str]] = []
        n_text_bytes = 0
        parts = FormPartReader(request, limits, throttle)
        while (part := await parts.next()) is not None:
            if part.name == "file":
                if file.n_bytes:
                    raise BadRequest("The form has more than one file; send one request per file.", param="file")
                await _receive(part, file, reservation)
                continue
            field = parse_name(part.name, task)
            if field.base == "known_speaker_references":
                texts.append((field, await _long_text(part, reservation)))
                continue
            texts.append((field, await part.text()))
            n_text_bytes += len(texts[-1][1])
            if n_text_bytes > limits.max_text_bytes:
                raise BadRequest(f"The text fields are longer than {limits.max_text_bytes} bytes.", param=field.base)
        values = parse_values(texts, task)
        if not file.n_bytes:
            raise BadRequest("The field file is missing or empty; it holds the recording.", param="file")
        if values.ignored:
            _log.info("Ignored fields: %s", ", ".join(values.ignored))
        spec = spec_of(values.fields, task)
        form = Form(
            file=file,
            model=values.fields.model,
            options=spec.options(policy),
            response_format=spec.response_format,
            stream=values.fields.stream,
            granularities=spec.times_of(),
            cue_shape=spec.shape(policy),
            speakers=spec.speakers,
        )
        stack.pop_all()
        return form


async def _long_text(part: FormPart, reservation: Reservation) -> str:
    """A recording as text, longer than other fields may be: it counts as an upload does."""
    pieces = bytearray()
    while piece := await part.read():
        if not reservation.grow(len(piece)):
            raise reservation.refusal or MemoryFull()
        pieces += piece
    return pieces.decode("ascii", "replace")


async def _receive(part: FormPart, file: MemoryFile, reservation: Reservation) -> None:
    while piece := await part.read():
        if not reservation.grow(len(piece)):
            raise reservation.refusal or MemoryFull()
        file.write(piece)
