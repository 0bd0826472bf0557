"""Realtime sessions on human speech: seconds from a word's end to its delta, and word errors beside the same recording as a file.

Whisper base (or --model demo) on our server over HTTP and WebSocket, with OpenAI's unmodified client. Words' ends are those of the
file's transcript; the recording is sent as fast as it was spoken.
PYTHONPATH=demo:tests/kit python bench/live.py [--languages en,es] [--prompts 12] [--sessions 1]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
from figures import machine

from live_kit.speaking import Conversation, converse, pcm
from real_kit.scores import Errors, errors, normalised
from real_kit.speech import LANGUAGES, RATE_HZ, Recording, long_recording, wav
from real_kit.weights import base_checkpoint
from server_kit.api import Api
from server_kit.process import ServerProcess, running


@dataclass(frozen=True)
class Result:
    """One recording, live and as a file."""

    live: Errors
    file: Errors
    delays_s: tuple[float, ...]
    """From a word's end to its delta."""
    n_words: int
    cpu_s: float
    audio_s: float
    is_joined: bool
    """Deltas joined are the transcripts."""


def words_of(api: Api, recording: Recording) -> list[tuple[str, float]]:
    """The file's words with their ends."""
    answer = api.verbose(wav(recording.sound), language=recording.language, timestamp_granularities=["word"])
    found = []
    for word in answer["words"]:
        found += [(bare, float(word["end"])) for bare in normalised(word["word"], "es")]
    return found


def delays_s(conversation: Conversation, words: Sequence[tuple[str, float]]) -> list[float]:
    """Of the words that are the same live and in the file."""
    live = [(bare, heard.at_s) for heard in conversation.deltas for bare in normalised(heard.event["delta"], "es")]
    matcher = SequenceMatcher(None, [word for word, _ in words], [word for word, _ in live], autojunk=False)
    return [
        live[block.b + index][1] - words[block.a + index][1]
        for block in matcher.get_matching_blocks()
        for index in range(block.size)
    ]


def cpu_s(server: ServerProcess) -> float:
    """Of the server and its processes."""
    times = [process.cpu_times() for process in server.family()]
    return float(sum(each.user + each.system for each in times))


async def one(
    server: ServerProcess, api: Api, recording: Recording, n_sessions: int, given: dict[str, Any]
) -> list[Result]:
    words = await asyncio.to_thread(words_of, api, recording)
    as_file = await asyncio.to_thread(api.text, wav(recording.sound), language=recording.language)
    sound = pcm(recording.sound, RATE_HZ)
    before_s = cpu_s(server)

    async def later(number: int) -> Conversation:
        await asyncio.sleep(number * 0.37)
        return await converse(server.url, sound, update={"audio": {"input": given}})

    conversations = await asyncio.gather(*(later(number) for number in range(n_sessions)))
    took_cpu_s = (cpu_s(server) - before_s) / n_sessions
    return [
        Result(
            live=errors(recording, conversation.text),
            file=errors(recording, as_file),
            delays_s=tuple(delays_s(conversation, words)),
            n_words=len(words),
            cpu_s=took_cpu_s,
            audio_s=recording.duration_s,
            is_joined=conversation.joined_deltas() == conversation.transcripts(),
        )
        for conversation in conversations
    ]


def line(name: str, results: Sequence[Result]) -> str:
    live = sum((result.live for result in results), Errors())
    file = sum((result.file for result in results), Errors())
    delays = np.array([delay for result in results for delay in result.delays_s])
    cpu = sum(result.cpu_s for result in results) / sum(result.audio_s for result in results)
    joined = "yes" if all(result.is_joined for result in results) else "NO"
    matched = sum(len(result.delays_s) for result in results) / sum(result.n_words for result in results)
    return (
        f"| {name} | {live.words} | {100 * file.rate:.1f} % | {100 * live.rate:.1f} % | {np.percentile(delays, 50):.2f} "
        f"| {np.percentile(delays, 95):.2f} | {100 * matched:.0f} % | {cpu:.2f} | {joined} |"
    )


async def measured(arguments: argparse.Namespace) -> None:
    model = "demo" if arguments.model == "demo" else str(base_checkpoint())
    print(machine())
    print(
        "| language | words | WER file | WER live | p50 s | p95 s | words matched | CPU s per s | deltas = completed |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    settings = {"MODEL_ID": model, "MAX_REALTIME_SESSIONS": "1000", **dict(pair.split("=") for pair in arguments.set)}
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder, running(settings, Path(folder)) as server:
        api = Api(server.url)
        for language in arguments.languages.split(","):
            recording = long_recording(language, arguments.prompts, arguments.seed)
            given: dict[str, Any] = {"transcription": {"language": language}}
            given |= json.loads(arguments.given)
            found = await one(server, api, recording, arguments.sessions, given)
            print(line(language, found), flush=True)
            results += found
        print(line("all", results))
        api.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--prompts", type=int, default=12, help="of a recording, about six seconds each")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--model", default="base", help="base or demo")
    parser.add_argument("--given", default="{}", help="more of audio.input, as JSON")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the server, NAME=VALUE")
    begin_s = time.monotonic()
    asyncio.run(measured(parser.parse_args()))
    print(f"took {time.monotonic() - begin_s:.0f} s")


if __name__ == "__main__":
    main()
