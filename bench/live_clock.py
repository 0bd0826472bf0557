"""A session on a clock of its own: a pass takes the CPU seconds that it costs, however busy the machine is.

For machines that other work shares: the delays are those of a machine that is idle but for one session, without the network.
CTranslate2 computes a window in one thread, so its CPU seconds are its seconds. `live.py` measures over HTTP.
PYTHONPATH=server:runtime:demo:tests/kit python bench/live_clock.py [--languages en,es] [--prompts 6]
"""

from __future__ import annotations

import argparse
import asyncio
import selectors
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import numpy as np
import soxr
from figures import machine
from live import Result, delays_s, line

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
from whisper_server.speech.live_windows import LiveWindows, Turns, WindowRequest
from whisper_server.speech.transcribe import Transcriber
from whisper_server.whisper.transcript import Options, Samples, WindowTranscript

CHUNK_S = 0.1
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Clock(selectors.DefaultSelector):
    """Waits for nothing: the time of the next timer comes at once, unless something computes."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.n_computing = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.n_computing or timeout is None:
            return super().select(timeout if timeout is None else min(timeout, 0.05))
        if not (ready := super().select(0)):
            self.now_s += max(0.0, timeout)
        return ready


class MeteredSpeech(LiveWindows):
    """Passes that take their CPU seconds."""

    def __init__(self, transcriber: Transcriber, clock: Clock) -> None:
        super().__init__(transcriber)
        self.clock = clock
        self.passes_s: list[float] = []

    async def in_thread(
        self,
        turns: Turns,  # noqa: ARG002 - this session is alone
        function: Callable[Arguments, Answer],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer:
        return function(*args, **kwargs)

    async def transcribe(self, samples: Samples, request: WindowRequest, turns: Turns) -> WindowTranscript:
        before_s = time.process_time()
        self.clock.n_computing += 1
        try:
            transcript = await super().transcribe(samples, request, turns)
        finally:
            self.clock.n_computing -= 1
        self.passes_s.append(time.process_time() - before_s)
        await asyncio.sleep(self.passes_s[-1])
        return transcript


async def spoken(speech: MeteredSpeech, recording: Recording) -> Conversation:
    """The recording in real time of the clock, then silence until all is transcribed."""
    loop = asyncio.get_running_loop()
    conversation = Conversation()
    began_s = loop.time()

    def emit(event: ServerEvent) -> None:
        document = event.document()
        conversation.events.append(Heard(loop.time() - began_s, document["type"], document))

    hooks = SessionHooks(emit, lambda _s: None, lambda _n: None, lambda _s: None)
    config = SessionConfig().updated({"audio": {"input": {"transcription": {"language": recording.language}}}})
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


async def measured(arguments: argparse.Namespace, clock: Clock) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_env({"MODEL_ID": str(base_checkpoint()), "MODEL_CACHE_DIR": folder})
        clock.n_computing += 1
        async with loaded_model(settings) as transcriber:
            results: list[Result] = []
            for language in arguments.languages.split(","):
                recording = long_recording(language, arguments.prompts, arguments.seed)
                samples = soxr.resample(recording.sound, RATE_HZ, 16_000)
                async with transcriber.transcribe(samples, Options(language=language)) as work:
                    as_file = (await work.transcript()).text
                async with transcriber.transcribe(samples, Options(language=language, words=True)) as work:
                    words = [
                        (bare, word.end_s)
                        for word in (await work.transcript()).words
                        for bare in normalised(word.word, "es")
                    ]
                clock.n_computing -= 1
                speech = MeteredSpeech(transcriber, clock)
                conversation = await spoken(speech, recording)
                clock.n_computing += 1
                if arguments.texts:
                    print(f"said:  {recording.text}\nfile:  {as_file}\nlive:  {conversation.text}")
                results.append(_result(recording, conversation, as_file, words, speech.passes_s))
                print(line(language, results[-1:]), f"pass {np.median(speech.passes_s):.2f} s", flush=True)
            print(line("all", results))


def _result(
    recording: Recording,
    conversation: Conversation,
    as_file: str,
    words: Sequence[tuple[str, float]],
    passes_s: Sequence[float],
) -> Result:
    return Result(
        live=errors(recording, conversation.text),
        file=errors(recording, as_file),
        delays_s=tuple(delays_s(conversation, words)),
        n_words=len(words),
        cpu_s=sum(passes_s),
        audio_s=recording.duration_s,
        is_joined=conversation.joined_deltas() == conversation.transcripts(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--prompts", type=int, default=6, help="of a recording, about six seconds each")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--texts", action="store_true", help="print what was said and heard")
    arguments = parser.parse_args()
    print(machine())
    print(
        "| language | words | WER file | WER live | p50 s | p95 s | words matched | CPU s per s | deltas = completed |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    clock = Clock()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now_s  # type: ignore[method-assign] # the clock of all timers
    loop.run_until_complete(measured(arguments, clock))


if __name__ == "__main__":
    main()
