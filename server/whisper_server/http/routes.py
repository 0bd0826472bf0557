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

from whisper_server.api.formats import format_transcript
from whisper_server.api.served_models import find_model, model_object
from whisper_server.api.usage import tokens_usage, usage_of
from whisper_server.errors import ApiError
from whisper_server.http.admission import check_budget, check_wait
from whisper_server.http.forms import Form, FormLimits, Policy, read_form, refuse_by_headers
from whisper_server.http.in_flight import RECORD
from whisper_server.http.loop_throttle import LoopThrottle
from whisper_server.http.protocol import send_continue
from whisper_server.http.request_record import RequestRecord
from whisper_server.http.sse import Event, EventSender, delta_event, done_event
from whisper_server.memory_budget import MemoryBudget
from whisper_server.metrics import Metrics
from whisper_server.service import Backend, Service, Transcription
from whisper_server.whisper.transcript import ServedModel, Task, Transcript


@dataclass(frozen=True)
class AppState:
    """What the handlers work with."""

    service: Service
    models: Mapping[str, ServedModel]
    budget: MemoryBudget
    limits: FormLimits
    policy: Policy
    max_queue_s: float
    metrics: Metrics
    heartbeat_s: float
    upload_pace: LoopThrottle
    """Of the pieces of recordings that come in."""
    recording_pace: LoopThrottle
    """Of recordings that are decoded or transcribed: what comes next is done a few at a time."""


APP_STATE = web.AppKey("parts", AppState)


async def transcriptions(request: web.Request) -> web.StreamResponse:
    return await _words_of(request, Task.TRANSCRIBE)


async def translations(request: web.Request) -> web.StreamResponse:
    return await _words_of(request, Task.TRANSLATE)


async def _words_of(request: web.Request, task: Task) -> web.StreamResponse:
    state, record = request.app[APP_STATE], request[RECORD]
    backend = _let_in(request, state)
    await send_continue(request)
    with state.budget.reservation() as upload, state.budget.reservation() as sound_bytes:
        with timed(record, "upload_s"):
            form = await read_form(request, task, state.limits, state.policy, upload, throttle=state.upload_pace)
        with form:
            note_form(record, form)
            find_model(state.models, form.model)
            with timed(record, "decode_s"):
                sound = await backend.decoder.read_audio(form.file, sound_bytes)
        upload.release()
        with sound, timed(record, "transcribe_s"):
            await state.recording_pace.acquire()
            record.audio_s = sound.duration_s
            state.metrics.audio_seconds.inc(sound.duration_s)
            # Others that were let in along with this one may have filled the queue meanwhile.
            check_wait(state.service.estimated_wait_s(), state.max_queue_s)
            async with backend.pipeline.open(sound.samples, form.options) as job:
                if form.stream:
                    return await _stream(request, job, form)
                transcript = await job.transcript()
                # A GPU ends many at once.
                await state.recording_pace.acquire()
        # Hours of words take their time to write: not on the event loop.
        return await asyncio.to_thread(_written, transcript, form)


def _let_in(request: web.Request, state: AppState) -> Backend:
    """All that can be refused before the body, and so before `100 Continue`."""
    backend = state.service.backend()
    refuse_by_headers(request.headers, state.limits)
    check_budget(state.budget, request.content_length or 0)
    check_wait(state.service.estimated_wait_s(), state.max_queue_s)
    return backend


def _written(transcript: Transcript, form: Form) -> web.Response:
    usage = usage_of(transcript, form.model, form.response_format)
    body, content_type = format_transcript(transcript, form.response_format, form.granularities, usage)
    return web.Response(body=body.encode(), headers={"Content-Type": content_type})


async def _stream(request: web.Request, job: Transcription, form: Form) -> web.StreamResponse:
    record = request[RECORD]

    def note_error(error: ApiError) -> None:
        record.error_code = error.code or str(error.status)

    sender = EventSender(request, request.app[APP_STATE].heartbeat_s, note_error)
    return await sender.send(transcript_events(job, logprobs=form.options.logprobs))


async def transcript_events(job: Transcription, *, logprobs: bool) -> AsyncIterator[Event]:
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
    data = [model_object(model) for model in request.app[APP_STATE].models.values()]
    return web.json_response({"object": "list", "data": data})


async def one_model(request: web.Request) -> web.Response:
    return web.json_response(model_object(find_model(request.app[APP_STATE].models, request.match_info["id"])))


async def health(request: web.Request) -> web.Response:
    """Alive: also while loading and draining, but not with a dead engine."""
    request.app[APP_STATE].service.check_alive()
    return web.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    request.app[APP_STATE].service.check_ready()
    return web.json_response({"status": "ok"})


async def metrics(request: web.Request) -> web.Response:
    state = request.app[APP_STATE]
    state.metrics.memory_reserved_bytes.set(state.budget.used_bytes)
    state.metrics.engine_up.set(state.service.is_up)
    body, content_type = state.metrics.exposition(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})
