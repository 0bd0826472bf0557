"""What each route does, by putting the parts together; every handler reads from top to bottom.

Which path leads here is in `app`; how errors become answers, in `http_protocol`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import web

from whisper_server.admission import check_budget, check_wait
from whisper_server.errors import ApiError
from whisper_server.formats import format_transcript
from whisper_server.forms import Form, FormLimits, Policy, read_form, refuse_by_headers
from whisper_server.http_protocol import send_continue
from whisper_server.memory_budget import MemoryBudget
from whisper_server.metrics import Metrics
from whisper_server.pace import Pace
from whisper_server.request_record import RequestRecord
from whisper_server.served_models import find_model, model_object
from whisper_server.service import Backend, Job, Service
from whisper_server.sse import Event, EventSender, delta_event, done_event
from whisper_server.transcript import ServedModel, Task, Transcript
from whisper_server.under_way import RECORD
from whisper_server.usage import tokens_usage, usage_of


@dataclass(frozen=True)
class Parts:
    """What the handlers work with."""

    service: Service
    models: Mapping[str, ServedModel]
    budget: MemoryBudget
    limits: FormLimits
    policy: Policy
    max_queue_s: float
    metrics: Metrics
    heartbeat_s: float
    upload_pace: Pace
    """Of the pieces of recordings that come in."""
    recording_pace: Pace
    """Of recordings that are decoded or transcribed: what comes next is done a few at a time."""


PARTS = web.AppKey("parts", Parts)


async def transcriptions(request: web.Request) -> web.StreamResponse:
    return await _words_of(request, Task.TRANSCRIBE)


async def translations(request: web.Request) -> web.StreamResponse:
    return await _words_of(request, Task.TRANSLATE)


async def _words_of(request: web.Request, task: Task) -> web.StreamResponse:
    parts, record = request.app[PARTS], request[RECORD]
    backend = _let_in(request, parts)
    await send_continue(request)
    with parts.budget.reservation() as upload, parts.budget.reservation() as sound_bytes:
        with timed(record, "upload_s"):
            form = await read_form(request, task, parts.limits, parts.policy, upload, pace=parts.upload_pace)
        with form:
            note_form(record, form)
            find_model(parts.models, form.model)
            with timed(record, "decode_s"):
                sound = await backend.decoder.read_audio(form.file, sound_bytes)
        upload.release()
        with sound, timed(record, "transcribe_s"):
            await parts.recording_pace.step()
            record.audio_s = sound.duration_s
            parts.metrics.audio_seconds.inc(sound.duration_s)
            # Others that were let in along with this one may have filled the queue meanwhile.
            check_wait(parts.service.estimated_wait_s(), parts.max_queue_s)
            async with backend.pipeline.open(sound.samples, form.options) as job:
                if form.stream:
                    return await _stream(request, job, form)
                transcript = await job.transcript()
                # A GPU ends many at once.
                await parts.recording_pace.step()
        # Hours of words take their time to write: not on the event loop.
        return await asyncio.to_thread(_written, transcript, form)


def _let_in(request: web.Request, parts: Parts) -> Backend:
    """All that can be refused before the body, and so before `100 Continue`."""
    backend = parts.service.backend()
    refuse_by_headers(request.headers, parts.limits)
    check_budget(parts.budget, request.content_length or 0)
    check_wait(parts.service.estimated_wait_s(), parts.max_queue_s)
    return backend


def _written(transcript: Transcript, form: Form) -> web.Response:
    usage = usage_of(transcript, form.model, form.response_format)
    body, content_type = format_transcript(transcript, form.response_format, form.granularities, usage)
    return web.Response(body=body.encode(), headers={"Content-Type": content_type})


async def _stream(request: web.Request, job: Job, form: Form) -> web.StreamResponse:
    record = request[RECORD]

    def note_error(error: ApiError) -> None:
        record.error_code = error.code or str(error.status)

    sender = EventSender(request, request.app[PARTS].heartbeat_s, note_error)
    return await sender.send(transcript_events(job, logprobs=form.options.logprobs))


async def transcript_events(job: Job, *, logprobs: bool) -> AsyncIterator[Event]:
    """A delta for each window with words in it, then the whole."""
    windows = []
    async for window in job.windows():
        windows.append(window)
        if window.text:
            yield delta_event(window, logprobs=logprobs)
    transcript = job.assemble(windows)
    yield done_event(
        transcript.text, transcript.language, tokens_usage(transcript), transcript.logprobs if logprobs else None
    )


def note_form(record: RequestRecord, form: Form) -> None:
    """What the log line says of it."""
    record.model = form.model
    record.response_format = form.response_format.value
    record.streamed = form.stream


@contextmanager
def timed(record: RequestRecord, field: str) -> Iterator[None]:
    """Write the seconds that this took into the record, also where it failed."""
    start_s = time.monotonic()
    try:
        yield
    finally:
        setattr(record, field, time.monotonic() - start_s)


async def list_models(request: web.Request) -> web.Response:
    data = [model_object(model) for model in request.app[PARTS].models.values()]
    return web.json_response({"object": "list", "data": data})


async def one_model(request: web.Request) -> web.Response:
    return web.json_response(model_object(find_model(request.app[PARTS].models, request.match_info["id"])))


async def health(request: web.Request) -> web.Response:
    """Alive: also while loading and draining, but not with a dead engine."""
    request.app[PARTS].service.check_alive()
    return web.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    request.app[PARTS].service.check_ready()
    return web.json_response({"status": "ok"})


async def metrics(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    parts.metrics.memory_reserved_bytes.set(parts.budget.used_bytes)
    parts.metrics.engine_up.set(parts.service.is_up)
    body, content_type = parts.metrics.exposition(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})
