"""The handlers of all routes; each reads from top to bottom.

`app` maps paths to them, and `protocol` turns their errors into answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from whisper_runtime.environment import Network
from whisper_server.api.diarized import RTTM_CONTENT_TYPE, to_rttm
from whisper_server.api.formats import format_transcript, usage_of
from whisper_server.api.options import Policy, ResponseFormat
from whisper_server.api.served_models import find_model, model_object
from whisper_server.errors import ApiError
from whisper_server.http.admission import RequestSlots, check_budget, check_wait, check_work
from whisper_server.http.bodies import PiecewiseBody
from whisper_server.http.clients import owner_of
from whisper_server.http.forms import Form, FormLimits, read_form, refuse_by_headers
from whisper_server.http.in_flight import RECORD
from whisper_server.http.loop_throttle import LoopThrottle
from whisper_server.http.protocol import send_continue
from whisper_server.http.quotas import Quotas
from whisper_server.http.request_record import RequestRecord
from whisper_server.http.sse import EventSender
from whisper_server.http.stream_events import segment_events, transcript_events
from whisper_server.live.sessions import LiveSessions
from whisper_server.memory.budget import MemoryBudget, Reservation
from whisper_server.metrics import Metrics
from whisper_server.recordings.recording import decode_recording, transcribe_recording
from whisper_server.recordings.with_speakers import (
    Turns,
    diarizer_of,
    finding_turns,
    speaker_question,
    transcript_with_speakers,
)
from whisper_server.service import Backend, Service, Transcription
from whisper_server.whisper.transcript import ServedModel, Task, Transcript


@dataclass(frozen=True)
class AppState:
    """Everything that the handlers use."""

    service: Service
    models: Mapping[str, ServedModel]
    budget: MemoryBudget
    slots: RequestSlots
    limits: FormLimits
    policy: Policy
    max_queue_s: float
    quotas: Quotas
    proxies: tuple[Network, ...]
    """Those whose X-Forwarded-For is believed."""
    metrics: Metrics
    heartbeat_s: float
    upload_throttle: LoopThrottle
    """Limits the pieces of bodies that are read."""
    recording_throttle: LoopThrottle
    """Limits the steps that follow the decoding or transcribing of a recording."""
    live_sessions: LiveSessions


QUICK_TOKENS = 250
"""As many as a window has. Their text is formatted in 0.01 ms, their words in 0.3, their log-probabilities in 0.4; the way to a thread and
back costs the server 0.4, and the event loop then waits for Python's lock."""
APP_STATE = web.AppKey("app_state", AppState)


async def transcriptions(request: web.Request) -> web.StreamResponse:
    return await _transcribe(request, Task.TRANSCRIBE)


async def translations(request: web.Request) -> web.StreamResponse:
    return await _transcribe(request, Task.TRANSLATE)


async def _transcribe(request: web.Request, task: Task) -> web.StreamResponse:
    state, record = request.app[APP_STATE], request[RECORD]
    record.owner = owner_of(request, record.client, state.proxies)
    backend = _admit(request, state, record.owner)
    with state.slots.taken(record.owner), state.quotas.request(record.owner):
        await send_continue(request)
        return await _answer(request, task, state, backend)


async def _answer(request: web.Request, task: Task, state: AppState, backend: Backend) -> web.StreamResponse:
    record = request[RECORD]
    owner = record.owner
    reservation = partial(state.budget.reservation, owner)
    async with AsyncExitStack() as stack:
        with reservation() as upload:
            with timed(record, "upload_s"):
                form = await read_form(
                    request, task, state.limits, state.policy, upload, throttle=state.upload_throttle
                )
            with form:
                note_form(record, form)
                find_model(state.models, form.model)
                with timed(record, "decode_s"):
                    question = None
                    if form.speakers is not None:
                        diarizer_of(backend)  # before the work
                        asking = speaker_question(form.speakers, backend, reservation, owner)
                        question = await stack.enter_async_context(asking)
                    recording = await decode_recording(backend.decoder, form.file, form.options, reservation, owner)
            upload.release()
        with recording, timed(record, "transcribe_s"):
            await state.recording_throttle.acquire()
            record.audio_s = recording.audio_s
            state.metrics.audio_seconds.inc(recording.audio_s)
            state.quotas.spend_audio(owner, recording.audio_s)
            turns = None
            if question is not None:
                state.metrics.diarized_audio_seconds.inc(recording.duration_s)
                samples = recording.sounds[0][1]
                finding = finding_turns(diarizer_of(backend), samples, question, state.budget.reservation, owner)
                turns = await stack.enter_async_context(finding)
            if form.response_format is ResponseFormat.RTTM and turns is not None:
                body = to_rttm(await turns).encode()
                return web.Response(body=PiecewiseBody(body, RTTM_CONTENT_TYPE, reservation()))
            # How much of it is speech is not known yet, if only that is transcribed.
            audio_s = recording.audio_s if form.options.voice_activity is None else 0.0
            check_work(audio_s, backend.pipeline.work_s(audio_s), state.max_queue_s)
            check_wait(backend.pipeline.estimated_wait_s(owner, audio_s), state.max_queue_s)
            async with transcribe_recording(backend.pipeline, recording, form.options, owner) as transcription:
                if form.stream:
                    return await _stream(request, transcription, form, turns)
                whole = transcription.transcript()
                transcript = await (whole if turns is None else transcript_with_speakers(whole, turns))
                # A GPU finishes many recordings at once.
                await state.recording_throttle.acquire()
        if _is_quick(transcript, form):
            return _response_of(transcript, form, reservation())
        # Formatting hours of speech takes long: not on the event loop.
        return await asyncio.to_thread(_response_of, transcript, form, reservation())


def _admit(request: web.Request, state: AppState, owner: str) -> Backend:
    """Refuse what can be refused before the body is read, and so before `100 Continue`. Raises ApiError."""
    backend = state.service.backend()
    refuse_by_headers(request.headers, state.limits)
    check_budget(state.budget, request.content_length or 0, owner)
    check_wait(state.service.estimated_wait_s(owner), state.max_queue_s)
    return backend


def _is_quick(transcript: Transcript, form: Form) -> bool:
    """Whether it is little text, and no subtitles, which are laid out in lines."""
    is_plain = form.response_format in (ResponseFormat.JSON, ResponseFormat.TEXT, ResponseFormat.VERBOSE_JSON)
    return is_plain and transcript.n_output_tokens <= QUICK_TOKENS


def _response_of(transcript: Transcript, form: Form, reservation: Reservation) -> web.Response:
    usage = usage_of(transcript, form.model, form.response_format)
    body, content_type = format_transcript(transcript, form.response_format, form.granularities, usage, form.cue_shape)
    return web.Response(body=PiecewiseBody(body.encode(), content_type, reservation))


async def _stream(
    request: web.Request, transcription: Transcription, form: Form, turns: Turns | None
) -> web.StreamResponse:
    record = request[RECORD]

    def note_error(error: ApiError) -> None:
        record.error_code = error.code or str(error.status)

    sender = EventSender(request, request.app[APP_STATE].heartbeat_s, note_error)
    if form.response_format is ResponseFormat.DIARIZED_JSON:
        return await sender.send(segment_events(transcription, turns))
    return await sender.send(transcript_events(transcription, logprobs=form.options.logprobs))


def note_form(record: RequestRecord, form: Form) -> None:
    """Copy the form's fields of the log line into the record."""
    record.model = form.model
    record.response_format = form.response_format.value
    record.streamed = form.stream


@contextmanager
def timed(record: RequestRecord, field: str) -> Iterator[None]:
    """Write the seconds that the block took into the record, also if it fails."""
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
    """Succeeds also while loading and draining, but not if the engine is dead."""
    request.app[APP_STATE].service.check_alive()
    return web.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """A long queue does not make it fail: if all pods did, clients would get 503 instead of 429 with Retry-After."""
    service = request.app[APP_STATE].service
    service.check_ready()
    waits = {"queue_wait_seconds": service.estimated_wait_s(), "decode_wait_seconds": service.decode_wait_s()}
    return web.json_response({"status": "ok"} | {name: round(wait_s, 3) for name, wait_s in waits.items()})


async def metrics(request: web.Request) -> web.Response:
    state = request.app[APP_STATE]
    state.metrics.memory_reserved_bytes.set(state.budget.used_bytes)
    state.metrics.engine_up.set(state.service.is_up)
    body, content_type = state.metrics.exposition(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})
