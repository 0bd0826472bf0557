"""The pipeline over a whole recording: order, fairness, languages and numbers."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from model_kit.demo import demo_tokenizer
from model_kit.engine_double import EarsDouble, EngineDouble, said
from model_kit.pipeline import RATE_HZ, assert_idle, number, numbered, options, pipeline, recording, spans
from whisper_server.errors import BadRequest
from whisper_server.speech.vad import Listening
from whisper_server.whisper.transcript import Options, Samples, Task, VoiceActivity


async def test_windows_come_in_order_and_make_up_the_transcript() -> None:
    engine = EngineDouble(numbered)
    transcriber = pipeline(engine)
    async with transcriber.open(recording(12), options(prompt="Kubernetes", keywords=("Helm",))) as job:
        assert transcriber.queued_audio_s() == 12
        windows = [window async for window in job.windows()]
        transcript = job.assemble(windows)

    assert [window.text for window in windows] == ["w0", *(f" w{n}" for n in range(1, 12))]
    assert transcript.text == "".join(window.text for window in windows)
    assert [segment.id for segment in transcript.segments] == list(range(12))
    assert [segment.start_s for segment in transcript.segments] == [float(n) for n in range(12)]
    assert [segment.seek for segment in transcript.segments] == [100 * n for n in range(12)]
    assert (transcript.task, transcript.language, transcript.language_probability) == (Task.TRANSCRIBE, "en", 1.0)
    assert (transcript.duration_s, transcript.n_audio_tokens) == (12.0, 600)
    tokenizer = demo_tokenizer()
    assert transcript.n_prompt_tokens == len(tokenizer.encode_text(" Kubernetes Helm"))
    assert transcript.n_output_tokens == sum(len(tokenizer.encode_text(f" w{n}")) for n in range(12))
    assert engine.most_open <= engine.n_slots
    assert_idle(transcriber, engine)


async def test_audio_tokens_are_rounded_up() -> None:
    async with pipeline(EngineDouble(numbered)).open(np.zeros(1601, np.float32), Options(language="en")) as job:
        assert (await job.transcript()).n_audio_tokens == 6


@pytest.mark.parametrize(
    ("language", "task", "text"),
    [("en", Task.TRANSCRIBE, "a b"), ("ja", Task.TRANSCRIBE, "ab"), ("ja", Task.TRANSLATE, "a b")],
)
async def test_windows_are_joined_as_the_language_is_written(language: str, task: Task, text: str) -> None:
    texts = ["", "a", "", "b"]
    engine = EngineDouble(lambda samples, _: said(texts[number(samples)]))
    async with pipeline(engine).open(recording(4), options(language=language, task=task)) as job:
        transcript = await job.transcript()
    assert transcript.text == text
    assert len(transcript.segments) == 2


async def test_the_language_is_found_once_and_the_window_used_again() -> None:
    engine = EngineDouble(numbered)
    transcriber = pipeline(engine, EarsDouble(lambda samples: number(samples) >= 2, spans(5)))
    async with transcriber.open(recording(5), options(language=None)) as job:
        transcript = await job.transcript()
    assert (transcript.language, transcript.language_probability) == ("en", 0.75)
    assert engine.n_detections == 1
    assert len(engine.requests) == 5
    english = demo_tokenizer().special.languages["en"]
    assert all(english in request.prompt_tokens for request in engine.requests)
    assert_idle(transcriber, engine)


@pytest.mark.parametrize(
    ("languages", "language", "probability"),
    [(("de", "es"), "de", 1.0), (("en", "de"), "en", 0.75), (("ru",), "ru", 0.0)],
)
async def test_languages_restrict_the_choice(languages: tuple[str, ...], language: str, probability: float) -> None:
    async with pipeline(EngineDouble(numbered)).open(recording(1), options(language=None, languages=languages)) as job:
        transcript = await job.transcript()
    assert (transcript.language, transcript.language_probability) == (language, probability)


@pytest.mark.parametrize(
    ("param", "wanted"), [("language", {"language": "xx"}), ("languages", {"languages": ("en", "xx")})]
)
def test_a_language_that_the_model_lacks_is_refused_by_name(param: str, wanted: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"does not know the language 'xx'; it knows .*en, ") as refusal:
        pipeline(EngineDouble(numbered)).open(recording(1), Options(**wanted))
    assert refusal.value.param == param


async def test_no_speech_gives_no_window_but_a_language() -> None:
    engine = EngineDouble(numbered)
    ears = EarsDouble(lambda _: False)
    activity = VoiceActivity(0.8, 100, 700)
    async with pipeline(engine, ears).open(recording(3), options(language=None, voice_activity=activity)) as job:
        transcript = await job.transcript()
    assert (transcript.text, transcript.segments, transcript.language) == ("", (), "en")
    assert ears.asked == [activity]
    assert engine.requests == []
    assert engine.n_open == 0


async def test_without_voice_activity_the_whole_recording_is_cut() -> None:
    engine = EngineDouble(numbered)
    ears = EarsDouble()
    async with pipeline(engine, ears).open(recording(3), Options(language="en")) as job:
        await job.transcript()
    assert ears.asked == []
    assert sum(len(samples) for samples in engine.decoded_windows) == 3 * RATE_HZ


class NeverDone(EarsDouble):
    """Listens on and on."""

    def __init__(self) -> None:
        super().__init__()
        self.n_steps = 0

    def listening(self, samples: Samples, activity: VoiceActivity) -> Listening:
        while True:
            time.sleep(0.001)
            self.n_steps += 1
            yield


async def test_listening_to_hours_keeps_no_thread_from_others_and_ends_with_its_request() -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    engine, ears = EngineDouble(numbered), NeverDone()
    transcriber = pipeline(engine, ears)

    async def transcribe(wanted: Options) -> str:
        async with transcriber.open(recording(3), wanted) as job:
            return (await job.transcript()).text

    long = asyncio.create_task(transcribe(options()))
    while ears.n_steps < 3:
        await asyncio.sleep(0.001)
    assert await asyncio.wait_for(transcribe(Options(language="en")), 20)
    long.cancel()
    await asyncio.gather(long, return_exceptions=True)
    n_steps = ears.n_steps
    await asyncio.sleep(0.1)
    assert ears.n_steps <= n_steps + 1
    assert_idle(transcriber, engine)


async def test_a_short_recording_does_not_wait_for_a_long_one() -> None:
    engine = EngineDouble(numbered)
    gate = asyncio.Event()
    engine.hold = lambda _: gate
    ears = EarsDouble(spans=spans(60))
    transcriber = pipeline(engine, ears)

    async def transcribe(samples: Samples) -> str:
        async with transcriber.open(samples, options()) as job:
            return (await job.transcript()).text

    long = asyncio.create_task(transcribe(recording(60)))
    while len(engine.requests) < engine.n_slots:
        await asyncio.sleep(0)
    ears.spans = spans(1)
    short = asyncio.create_task(transcribe(recording(1, marker=0.5)))
    while transcriber.slots.n_waiting < 60 - engine.n_slots + 1:
        await asyncio.sleep(0)
    gate.set()

    assert await short == "w0"
    assert len((await long).split()) == 60
    (turn,) = [turn for turn, samples in enumerate(engine.decoded_windows) if samples[0] >= 0.5]
    assert turn <= engine.n_slots + 1
    assert_idle(transcriber, engine)
