"""The work of `whisper-server transcribe`: every file goes through decoder and pipeline until done or stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from whisper_server.api.diarized import to_rttm
from whisper_server.api.formats import duration_usage, format_transcript
from whisper_server.api.options import ResponseFormat
from whisper_server.audio.memory_file import MemoryFile
from whisper_server.backend import load_backend
from whisper_server.errors import ApiError, BadRequest
from whisper_server.memory.budget import MemoryBudget
from whisper_server.metrics import Metrics
from whisper_server.recordings.recording import decode_recording, transcribe_recording
from whisper_server.recordings.with_speakers import diarizer_of, finding_turns, speaker_question
from whisper_server.service import Backend
from whisper_server.settings import Settings
from whisper_server.transcribe_files.output import Progress, print_transcript, write_whole
from whisper_server.transcribe_files.plan import RunOptions, SourceFile
from whisper_server.whisper.speakers import with_speakers

_CHUNK_BYTES = 1 << 20
_MAX_BYTES_AT_ONCE = 32 << 20
"""Small files are transcribed concurrently to fill the engine's batches; a large one fills them alone."""


async def work_until_signal(settings: Settings, options: RunOptions, recordings: Sequence[SourceFile]) -> int:
    """Transcribe all files. The first signal stops the work cleanly, a second one immediately."""
    work = asyncio.current_task()
    received: list[int] = []

    def stop(number: int) -> None:
        if received or work is None:
            os._exit(128 + number)
        received.append(number)
        work.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        async with load_backend(settings, Metrics()) as backend:
            n_failed = await FileRun(backend, options, recordings).run(settings.max_batch_windows)
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]
    return 1 if n_failed else 0


class FileRun:
    """All files, several at a time."""

    def __init__(self, backend: Backend, options: RunOptions, recordings: Sequence[SourceFile]) -> None:
        self._backend = backend
        self._options = options
        self._recordings = recordings
        self._progress = Progress(sum(recording.n_bytes for recording in recordings))

    async def run(self, max_at_once: int) -> int:
        """The number of files that failed."""
        tasks: list[asyncio.Task[bool]] = []
        running: dict[asyncio.Task[bool], int] = {}
        with self._progress.bar:
            async with asyncio.TaskGroup() as group:
                for recording in self._recordings:
                    n_bytes = recording.n_bytes
                    while running and (
                        len(running) >= max_at_once or sum(running.values()) + n_bytes > _MAX_BYTES_AT_ONCE
                    ):
                        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                        running = {task: size for task, size in running.items() if task not in done}
                    task = group.create_task(self._one(recording, tasks[-1] if tasks else None))
                    tasks.append(task)
                    running[task] = n_bytes
        return sum(not task.result() for task in tasks)

    async def _one(self, recording: SourceFile, before: asyncio.Task[bool] | None) -> bool:
        """True on success; otherwise the reason is printed. On stdout, transcripts keep the order of the files."""
        try:
            self._refuse_to_overwrite(recording)
            body = await self._transcript(recording)
            if recording.output is not None:
                _write(recording.output, body)
                self._progress.say(f"{recording.source} → {recording.output}")
            else:
                if before is not None:
                    await asyncio.wait([before])
                print_transcript(body)
        except ApiError as error:
            problem = error.message
        except OSError as error:
            problem = error.strerror or str(error)
        except Exception as error:  # noqa: BLE001 - the other files are still transcribed
            problem = f"unexpected {error!r}"
        else:
            return True
        self._progress.say(f"{recording.source}: {problem}")
        return False

    def _refuse_to_overwrite(self, recording: SourceFile) -> None:
        output = recording.output
        if output is None or not output.exists():
            return
        for other in self._recordings:
            if other.source.exists() and output.samefile(other.source):
                raise BadRequest(f"its transcript would overwrite the input {other.source}; take another --output-dir")

    async def _transcript(self, recording: SourceFile) -> str:
        options = self._options
        with await asyncio.to_thread(_read, recording.source) as file:
            sound = await decode_recording(
                self._backend.decoder, file, options.options, MemoryBudget.unlimited().reservation
            )
        async with AsyncExitStack() as stack:
            stack.enter_context(sound)
            turns = None
            if options.speakers is not None:
                unlimited = MemoryBudget.unlimited().reservation
                question = await stack.enter_async_context(speaker_question(options.speakers, self._backend, unlimited))
                finding = finding_turns(diarizer_of(self._backend), sound.sounds[0][1], question, unlimited)
                turns = await stack.enter_async_context(finding)
                if options.response_format is ResponseFormat.RTTM:
                    self._progress.expect(recording.n_bytes, sound.duration_s)
                    return to_rttm(await turns, "_".join(recording.source.stem.split()))
            done_s = 0.0
            self._progress.expect(recording.n_bytes, sound.duration_s)
            async with transcribe_recording(self._backend.pipeline, sound, options.options) as transcription:
                windows = []
                async for window in transcription.windows():
                    windows.append(window)
                    until_s = max(done_s, window.segments[-1].end_s if window.segments else 0.0)
                    self._progress.advance(until_s - done_s)
                    done_s = until_s
                transcript = transcription.assemble(windows)
                if turns is not None:
                    transcript = await asyncio.to_thread(with_speakers, transcript, await turns)
            self._progress.advance(sound.duration_s - done_s)
        usage = duration_usage(transcript)
        written = format_transcript(
            transcript, options.response_format, options.granularities, usage, options.cue_shape
        )
        return written[0]


def _write(output: Path, body: str) -> None:
    try:
        write_whole(output, body.encode())
    except OSError as error:
        raise BadRequest(f"its transcript cannot be written to {output}: {error.strerror or error}") from error


def _read(source: Path) -> MemoryFile:
    file = MemoryFile.create("recording")
    with source.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            file.write(chunk)
    return file
