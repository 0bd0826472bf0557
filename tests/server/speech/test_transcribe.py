"""The pipeline on a whole recording: order, fairness, languages and token counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from model_kit.demo import demo_tokenizer
from model_kit.engine_double import EngineDouble, VoiceDetectorDouble, said
from model_kit.pipeline import RATE_HZ, assert_idle, number, numbered, options, pipeline, recording, spans
from whisper_server.errors import BadRequest, InternalError
from whisper_server.speech.multichannel import MultichannelTranscription
from whisper_server.speech.previous_text import prompt_of
from whisper_server.speech.vad import Spans, SpeechSpanSteps
from whisper_server.whisper.engine_protocol import Decoded, DecodeRequest
from whisper_server.whisper.tokens import MAX_PREVIOUS_TOKENS
from whisper_server.whisper.transcript import Options, Samples, Task, VoiceActivity, WindowTranscript


async def test_windows_arrive_in_order_and_form_transcript() -> None:
    engine = EngineDouble(numbered)
    transcriber = pipeline(engine)
    async with transcriber.transcribe(recording(12), options(prompt="Kubernetes", keywords=("Helm",))) as job:
        assert transcriber.queued_audio_s() == 12
        windows = [window async for window in job.windows()]
        transcript = job.assemble(windows)

    assert [window.text for window in windows] == ["w0", *(f" w{n}" for n in range(1, 12))]
    assert transcript.text == "".join(window.text for window in windows)
    assert [segment.id for segment in transcript.segments] == list(range(12))
    assert [segment.start_s for segment in transcript.segments] == [float(n) for n in range(12)]
    assert [segment.seek for segment in transcript.segments] == [100 * n for n in range(12)]
    assert (transcript.task, transcript.language) == (Task.TRANSCRIBE, "en")
    assert (transcript.duration_s, transcript.n_audio_tokens) == (12.0, 600)
    tokenizer = demo_tokenizer()
    assert transcript.n_prompt_tokens == len(tokenizer.encode_text(" Kubernetes Helm"))
    assert transcript.n_output_tokens == sum(len(tokenizer.encode_text(f" w{n}")) for n in range(12))
    assert engine.max_open <= engine.n_slots
    assert_idle(transcriber, engine)


async def test_audio_tokens_are_rounded_up() -> None:
    async with pipeline(EngineDouble(numbered)).transcribe(np.zeros(1601, np.float32), Options(language="en")) as job:
        assert (await job.transcript()).n_audio_tokens == 6


@pytest.mark.parametrize(
    ("language", "task", "text"),
    [("en", Task.TRANSCRIBE, "a b"), ("ja", Task.TRANSCRIBE, "ab"), ("ja", Task.TRANSLATE, "a b")],
)
async def test_windows_are_joined_by_the_rules_of_the_language(language: str, task: Task, text: str) -> None:
    texts = ["", "a", "", "b"]
    engine = EngineDouble(lambda samples, _: said(texts[number(samples)]))
    async with pipeline(engine).transcribe(recording(4), options(language=language, task=task)) as job:
        transcript = await job.transcript()
    assert transcript.text == text
    assert len(transcript.segments) == 2


async def test_language_is_detected_once_and_window_reused() -> None:
    engine = EngineDouble(numbered)
    transcriber = pipeline(engine, VoiceDetectorDouble(lambda samples: number(samples) >= 2, spans(5)))
    async with transcriber.transcribe(recording(5), options(language=None)) as job:
        transcript = await job.transcript()
    assert transcript.language == "en"
    assert engine.n_detections == 1
    assert len(engine.requests) == 5
    english = demo_tokenizer().special.languages["en"]
    assert all(english in request.prompt_tokens for request in engine.requests)
    assert_idle(transcriber, engine)


SENTENCE = " {} the quick brown fox jumps over one lazy dog, and then all of them sleep until it is evening again."


async def test_windows_get_the_text_before_them_where_it_is_asked_for() -> None:
    """The only slot is held by the window that the language was found in, which waits for the two before it."""
    engine = EngineDouble(lambda samples, _: said(SENTENCE.format(f"w{number(samples)}")), n_slots=1)
    transcriber = pipeline(engine, VoiceDetectorDouble(lambda samples: number(samples) >= 2, spans(4)))
    wanted = options(language=None, condition_on_previous_text=True, prompt="Kubernetes")
    async with transcriber.transcribe(recording(4), wanted) as job:
        await asyncio.wait_for(job.transcript(), 20)
    tokenizer = demo_tokenizer()
    prompts = [tokenizer.detokenize(tokenizer.text_tokens(request.prompt_tokens)) for request in engine.requests]
    assert prompts[0] == " Kubernetes"
    for n, prompt in enumerate(prompts[1:], start=1):
        assert prompt.startswith(" Kubernetes")
        assert prompt.endswith("evening again.")
        assert f"w{n}" not in prompt
    assert "w2 the quick" in prompts[3]
    assert_idle(transcriber, engine)


async def test_windows_do_not_wait_for_one_another_by_default() -> None:
    engine = EngineDouble(lambda samples, _: said(SENTENCE.format(f"w{number(samples)}")))
    async with pipeline(engine).transcribe(recording(4), options()) as job:
        await job.transcript()
    assert not any(demo_tokenizer().text_tokens(request.prompt_tokens) for request in engine.requests)
    assert engine.max_open > 1


TEMPERATURES = (0.0, 1.0)
UNSURE = {"w1": -0.25, "w3": -0.25}


def unsure_of_two(again: str, avg_logprob: float) -> Callable[[Samples, DecodeRequest], Decoded]:
    """Says one sentence per window, is unsure of two, and says `again` of those, with this likelihood, where it is given earlier text."""

    def answer(samples: Samples, request: DecodeRequest) -> Decoded:
        name = f"w{number(samples)}"
        if len(request.prompt_tokens) > request.n_task_tokens:
            return said(SENTENCE.format(again) if "{" not in again else again.format("better"), avg_logprob=avg_logprob)
        return said(SENTENCE.format(name), avg_logprob=UNSURE.get(name, -0.1))

    return answer


async def test_window_that_the_model_is_unsure_of_is_decoded_again_with_the_text_before() -> None:
    engine = EngineDouble(unsure_of_two("better", -0.1))
    transcriber = pipeline(engine, temperatures=TEMPERATURES)
    async with transcriber.transcribe(recording(4), options()) as job:
        transcript = await job.transcript()
    words = [segment.text.split()[0] for segment in transcript.segments]
    assert words == ["w0", "better", "w2", "better"]
    tokenizer = demo_tokenizer()
    prompts = [tokenizer.detokenize(tokenizer.text_tokens(request.prompt_tokens)) for request in engine.requests]
    second, fourth = [prompt for prompt in prompts if prompt]
    assert second.endswith("evening again.")
    assert fourth.endswith("evening again.")
    assert "w1" in fourth, "what was heard first: a second decoding waits for no other"
    assert "w2" in fourth
    assert_idle(transcriber, engine)


@pytest.mark.parametrize(
    ("again", "avg_logprob", "wanted"),
    [
        ("worse", -0.3, {}),
        ("\ufffd" * 60, -0.1, {}),
        (" {} the quick brown fox jumps over.", -0.1, {}),
        pytest.param(" w0 the quick brown fox jumps over." + SENTENCE, -0.1, {}, id="a phrase of the window before"),
        ("better", -0.1, {"condition_on_previous_text": False}),
        ("better", -0.1, {"temperature": 0.2}),
        ("better", -0.1, {"task": Task.TRANSLATE}),
    ],
)
async def test_first_text_stays(again: str, avg_logprob: float, wanted: dict[str, Any]) -> None:
    engine = EngineDouble(unsure_of_two(again, avg_logprob))
    async with pipeline(engine, temperatures=TEMPERATURES).transcribe(recording(4), options(**wanted)) as job:
        transcript = await job.transcript()
    assert [segment.text.split()[0] for segment in transcript.segments] == ["w0", "w1", "w2", "w3"]


@pytest.mark.parametrize("n_slots", [1, 2, 4])
async def test_window_that_fails_lets_those_go_that_wait_for_its_text(n_slots: int) -> None:
    """The second channel speaks late, and its second window fails: its others held all slots, and the request and all others hung."""

    def answer(samples: Samples, _request: DecodeRequest) -> Decoded:
        if samples[0] >= 0.5 and number(samples) == 31:
            raise InternalError("not a number")
        return said(SENTENCE.format("w"), avg_logprob=-0.25)

    class Voice(VoiceDetectorDouble):
        def speech_spans(self, samples: Samples, activity: VoiceActivity = VoiceActivity()) -> Spans:  # noqa: B008
            return spans(40) if samples[0] < 0.5 else spans(40)[30:]

    engine = EngineDouble(answer, n_slots=n_slots)
    transcriber = pipeline(engine, Voice(), temperatures=TEMPERATURES)
    channels = [("a", recording(40)), ("b", recording(40, marker=0.5))]
    jobs = [(name, transcriber.transcribe(sound, options(), "owner")) for name, sound in channels]
    with pytest.raises(InternalError):
        async with MultichannelTranscription(jobs) as job, asyncio.timeout(20):
            await job.transcript()
    assert_idle(transcriber, engine)


def test_earlier_text_leaves_the_clients_prompt_whole() -> None:
    tokenizer = demo_tokenizer()
    given = tokenizer.encode_text(" Acme GmbH, Kubernetes" * 12)
    before = WindowTranscript(SENTENCE.format("w0") * 12, (), language="en")
    prompt = prompt_of(tokenizer, given, [before])
    assert prompt[: len(given)] == given
    assert len(given) + 16 <= len(prompt) <= MAX_PREVIOUS_TOKENS


async def test_window_that_holds_the_only_slot_waits_for_no_window_without_one() -> None:
    engine = EngineDouble(lambda samples, _: said(SENTENCE.format(f"w{number(samples)}"), avg_logprob=-0.25), n_slots=1)
    voice = VoiceDetectorDouble(lambda samples: number(samples) >= 2, spans(4))
    transcriber = pipeline(engine, voice, temperatures=TEMPERATURES)
    async with transcriber.transcribe(recording(4), options(language=None)) as job:
        transcript = await asyncio.wait_for(job.transcript(), 20)
    assert [segment.text.split()[0] for segment in transcript.segments] == ["w0", "w1", "w2", "w3"]
    assert_idle(transcriber, engine)


@pytest.mark.parametrize(("languages", "language"), [(("de", "es"), "de"), (("en", "de"), "en"), (("ru",), "ru")])
async def test_languages_restrict_detection(languages: tuple[str, ...], language: str) -> None:
    async with pipeline(EngineDouble(numbered)).transcribe(
        recording(1), options(language=None, languages=languages)
    ) as job:
        transcript = await job.transcript()
    assert transcript.language == language


@pytest.mark.parametrize(
    ("param", "fields"), [("language", {"language": "xx"}), ("languages", {"languages": ("en", "xx")})]
)
def test_language_unknown_to_model_is_refused_by_name(param: str, fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"does not know the language 'xx'; it knows .*en, ") as refusal:
        pipeline(EngineDouble(numbered)).transcribe(recording(1), Options(**fields))
    assert refusal.value.param == param


async def test_recording_without_speech_has_no_window_but_language() -> None:
    engine = EngineDouble(numbered)
    voice = VoiceDetectorDouble(lambda _: False)
    activity = VoiceActivity(0.8, 100, 700)
    async with pipeline(engine, voice).transcribe(recording(3), options(language=None, voice_activity=activity)) as job:
        transcript = await job.transcript()
    assert (transcript.text, transcript.segments, transcript.language) == ("", (), "en")
    assert voice.requests == [activity]
    assert engine.requests == []
    assert engine.n_open == 0


async def test_whole_recording_is_cut_without_voice_activity() -> None:
    engine = EngineDouble(numbered)
    voice = VoiceDetectorDouble()
    async with pipeline(engine, voice).transcribe(recording(3), Options(language="en")) as job:
        await job.transcript()
    assert voice.requests == []
    assert sum(len(samples) for samples in engine.decoded_windows) == 3 * RATE_HZ


class EndlessDetector(VoiceDetectorDouble):
    """A detector whose inference never finishes."""

    def __init__(self) -> None:
        super().__init__()
        self.n_steps = 0

    def speech_span_steps(self, samples: Samples, activity: VoiceActivity) -> SpeechSpanSteps:
        while True:
            time.sleep(0.001)
            self.n_steps += 1
            yield


async def test_long_voice_detection_shares_thread_and_is_cancelled() -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    engine, voice = EngineDouble(numbered), EndlessDetector()
    transcriber = pipeline(engine, voice)

    async def transcribe(requested: Options) -> str:
        async with transcriber.transcribe(recording(3), requested) as job:
            return (await job.transcript()).text

    long = asyncio.create_task(transcribe(options()))
    while voice.n_steps < 3:
        await asyncio.sleep(0.001)
    assert await asyncio.wait_for(transcribe(Options(language="en")), 20)
    long.cancel()
    await asyncio.gather(long, return_exceptions=True)
    n_steps = voice.n_steps
    await asyncio.sleep(0.1)
    assert voice.n_steps <= n_steps + 1
    assert_idle(transcriber, engine)


async def test_short_recording_does_not_wait_for_long_one() -> None:
    engine = EngineDouble(numbered)
    gate = asyncio.Event()
    engine.hold = lambda _: gate
    voice = VoiceDetectorDouble(spans=spans(60))
    transcriber = pipeline(engine, voice)

    async def transcribe(samples: Samples) -> str:
        async with transcriber.transcribe(samples, options()) as job:
            return (await job.transcript()).text

    long = asyncio.create_task(transcribe(recording(60)))
    while len(engine.requests) < engine.n_slots:
        await asyncio.sleep(0)
    voice.spans = spans(1)
    short = asyncio.create_task(transcribe(recording(1, marker=0.5)))
    while transcriber.slots.n_waiting < 60 - engine.n_slots + 1:
        await asyncio.sleep(0)
    gate.set()

    assert await short == "w0"
    assert len((await long).split()) == 60
    (turn,) = [turn for turn, samples in enumerate(engine.decoded_windows) if samples[0] >= 0.5]
    assert turn <= engine.n_slots + 1
    assert_idle(transcriber, engine)
