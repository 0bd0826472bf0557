"""A session on a clock of its own, on which computations take what they cost on idle cores (`live_costs`).

For machines that other work shares: the delays are those of a machine of two cores that is idle but for one session, without the
network, and take no account of the voice detector's 5 ms per second of sound. `live.py` measures over HTTP.
ENGINE=ctranslate2 CPU_THREADS=2 PYTHONPATH=server:runtime:demo:tests/kit python bench/live_clock.py [--languages en,es] [--prompts 5]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, ParamSpec, TypeVar

import numpy as np
import soxr
from figures import machine
from live import Result, delays_s, line
from live_costs import ENCODING_S, CostedEngine
from live_ticks import TickingLoop

from live_kit.speaking import Conversation, Heard, pcm
from real_kit.scores import errors, normalised
from real_kit.speech import LANGUAGES, RATE_HZ, Recording, long_recording
from real_kit.weights import base_checkpoint
from whisper_server.api.realtime_client_events import AppendAudio
from whisper_server.api.realtime_server_events import ServerEvent
from whisper_server.api.realtime_session import SessionConfig
from whisper_server.backend import loaded_model
from whisper_server.live.session import Session, SessionHooks
from whisper_server.live.session_options import SessionRules
from whisper_server.settings import Settings
from whisper_server.speech.live_windows import LiveTranscript, LiveWindows, Turns, WindowRequest
from whisper_server.speech.transcribe import Transcriber
from whisper_server.whisper.transcript import Options, Samples

CHUNK_S = 0.1
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class MeteredSpeech(LiveWindows):
    """Notes what passes take."""

    def __init__(self, transcriber: Transcriber, window_s: float) -> None:
        super().__init__(transcriber)
        self.passes_s: list[float] = []
        self._window_s = window_s

    def window_s(self) -> float:
        return self._window_s

    async def transcribe(self, samples: Samples, request: WindowRequest, turns: Turns) -> LiveTranscript:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        transcript = await super().transcribe(samples, request, turns)
        self.passes_s.append(loop.time() - began_s)
        return transcript


async def spoken(speech: MeteredSpeech, recording: Recording, given: Mapping[str, Any]) -> Conversation:
    """The recording in real time of the clock, then silence until all is transcribed."""
    loop = asyncio.get_running_loop()
    conversation = Conversation()
    began_s = loop.time()

    def emit(event: ServerEvent) -> None:
        document = event.document()
        conversation.events.append(Heard(loop.time() - began_s, document["type"], document))

    hooks = SessionHooks(emit, uncounted, lambda _s: None)
    config = SessionConfig().updated({"audio": {"input": {"transcription": {"language": recording.language}, **given}}})
    session = Session("bench", config, speech, SessionRules(()), hooks, owner="", clock=loop.time)
    passes = asyncio.create_task(session.run())
    sound = pcm(recording.sound, RATE_HZ) + bytes(96_000)
    n_bytes = int(CHUNK_S * 48_000)
    for number, first in enumerate(range(0, len(sound), n_bytes), start=1):
        await asyncio.sleep(began_s + number * CHUNK_S - loop.time())
        await session.take(AppendAudio(sound[first : first + n_bytes]))
    await session.finish(30)
    passes.cancel()
    return conversation


async def uncounted(_audio_s: float, _n_bytes: int) -> None:
    """As an account that has no limit."""


async def measured(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_env({**os.environ, "MODEL_ID": str(base_checkpoint()), "MODEL_CACHE_DIR": folder})
        results: list[Result] = []
        async with AsyncExitStack() as loading:
            transcriber = await loading.enter_async_context(loaded_model(settings))
            engine = CostedEngine(transcriber.engine, arguments.cost_factor)
            transcriber.engine = engine
            for language in arguments.languages.split(","):
                recording = long_recording(language, arguments.prompts, arguments.seed)
                engine.is_free = True
                as_file, words = await file_of(transcriber, recording)
                engine.is_free, engine.total_s = False, 0.0
                speech = MeteredSpeech(transcriber, ENCODING_S[1500] * arguments.cost_factor)
                conversation = await spoken(speech, recording, json.loads(arguments.given))
                if arguments.texts:
                    print(f"said:  {recording.text}\nfile:  {as_file}\nlive:  {conversation.text}")
                results.append(_result(recording, conversation, as_file, words, engine.total_s))
                print(line(language, results[-1:]), f"pass {np.median(speech.passes_s):.2f} s", flush=True)
            print(line("all", results))


async def file_of(transcriber: Transcriber, recording: Recording) -> tuple[str, list[tuple[str, float]]]:
    """Its text as a file, and the words with their ends."""
    samples = soxr.resample(recording.sound, RATE_HZ, 16_000)
    async with transcriber.transcribe(samples, Options(language=recording.language)) as work:
        text = (await work.transcript()).text
    async with transcriber.transcribe(samples, Options(language=recording.language, words=True)) as work:
        words = (await work.transcript()).words
    return text, [(bare, word.end_s) for word in words for bare in normalised(word.word, "es")]


def _result(
    recording: Recording,
    conversation: Conversation,
    as_file: str,
    words: Sequence[tuple[str, float]],
    cpu_s: float,
) -> Result:
    return Result(
        live=errors(recording, conversation.text),
        file=errors(recording, as_file),
        delays_s=tuple(delays_s(conversation, words)),
        n_words=len(words),
        cpu_s=cpu_s,
        audio_s=recording.duration_s,
        is_joined=conversation.joined_deltas() == conversation.transcripts(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--prompts", type=int, default=5, help="of a recording, about six seconds each")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--cost-factor", type=float, default=1.0, help="0.1: as fast as a GPU")
    parser.add_argument("--given", default="{}", help="more of audio.input, as JSON")
    parser.add_argument("--texts", action="store_true", help="print what was said and heard")
    arguments = parser.parse_args()
    print(machine())
    print(
        "| language | words | WER file | WER live | p50 s | p95 s | words matched | CPU s per s | deltas = completed |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    TickingLoop().run_until_complete(measured(arguments))


if __name__ == "__main__":
    main()
