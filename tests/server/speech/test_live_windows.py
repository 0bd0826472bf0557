"""One window of a live session: its slot, its prompt, and what happens where the model reads it aloud."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from http_kit.running import until
from model_kit.engine_double import EngineDouble, VoiceDetectorDouble, said
from model_kit.pipeline import assert_idle, pipeline
from whisper_server.speech.live_windows import (
    MAX_PROMPT_TOKENS,
    Context,
    LiveWindows,
    Turns,
    WindowRequest,
)
from whisper_server.speech.previous_text import STEP_TOKENS
from whisper_server.speech.repetition import shares_phrase
from whisper_server.whisper.engine_protocol import Decoded, DecodeRequest
from whisper_server.whisper.transcript import Options, Samples

SOUND = np.zeros(32_000, np.float32)
TURNS = Turns("alice", "session")
EARLIER = "Press one to hear your messages. Press the key to end at any time. "


def request(earlier_text: str = "", likely_language: str | None = None, language: str | None = "en") -> WindowRequest:
    return WindowRequest(Options(language=language), earlier_text, likely_language, is_final=False)


def test_phrase_is_shared_from_four_words_on() -> None:
    assert shares_phrase("Well, to hear your messages now", EARLIER)
    assert not shares_phrase("hear your message and press the", EARLIER)
    assert not shares_phrase("", EARLIER)


async def test_text_that_repeats_the_turn_before_is_decoded_without_it() -> None:
    def answer(_samples: Samples, asked: DecodeRequest) -> Decoded:
        read_aloud = len(asked.prompt_tokens) > asked.n_task_tokens
        return said(" Marked to hear your messages. Press" if read_aloud else " Marked as urgent.")

    engine = EngineDouble(answer)
    transcriber = pipeline(engine)
    transcript = await LiveWindows(transcriber).transcribe(SOUND, request(EARLIER * 3), TURNS)
    assert transcript.text == " Marked as urgent."
    assert transcript.is_misled
    assert_idle(transcriber, engine)


async def test_engine_has_no_more_passes_than_it_says() -> None:
    may_end = asyncio.Event()
    engine = EngineDouble(lambda _samples, _asked: said(" Yes."), max_live_windows=2, hold=lambda _samples: may_end)
    transcriber = pipeline(engine)
    windows = LiveWindows(transcriber)

    async def one(number: int) -> None:
        async with windows.slot(Turns("alice", number)) as transcribe:
            await transcribe(SOUND, request())

    passes = [asyncio.create_task(one(number)) for number in range(4)]
    await until(lambda: engine.n_open == 2)
    assert (transcriber.slots.n_held, transcriber.slots.n_waiting) == (2, 2)
    may_end.set()
    await asyncio.gather(*passes)
    assert engine.max_open == 2
    assert windows.pass_s > 0
    assert_idle(transcriber, engine)


async def test_slot_without_a_pass_says_nothing_about_the_engine() -> None:
    engine = EngineDouble(lambda _samples, _asked: said(" Yes."))
    transcriber = pipeline(engine)
    windows = LiveWindows(transcriber)
    async with windows.slot(TURNS):
        pass
    assert (windows.pass_s, windows.window_s()) == (0, 0)
    assert_idle(transcriber, engine)


async def test_pass_has_its_own_limit_of_tokens() -> None:
    engine = EngineDouble(lambda _samples, _asked: said(" Yes."))
    windows = LiveWindows(pipeline(engine))
    await windows.transcribe(SOUND, replace(request(EARLIER), max_new_tokens=48), TURNS)
    transcript = await windows.transcribe(SOUND, request(EARLIER), TURNS)
    assert [asked.max_new_tokens for asked in engine.requests] == [48, 224]
    assert not transcript.is_misled


async def test_prompts_have_few_lengths() -> None:
    engine = EngineDouble(lambda _samples, _asked: said(" Yes."))
    windows = LiveWindows(pipeline(engine))
    for n_times in range(1, 8):
        await windows.transcribe(SOUND, request(EARLIER * n_times), TURNS)
    lengths = {len(asked.prompt_tokens) - asked.n_task_tokens - 1 for asked in engine.requests}
    assert lengths <= set(range(-1, MAX_PROMPT_TOKENS + 1, 1)) & {
        n for n in range(MAX_PROMPT_TOKENS + 1) if n % STEP_TOKENS == 0
    }


async def test_pass_goes_on_from_its_context() -> None:
    engine = EngineDouble(lambda _samples, _asked: said(" Yes."))
    transcriber = pipeline(engine)
    asked = replace(request(EARLIER * 3), context=Context(16_000, " Press one."))
    transcript = await LiveWindows(transcriber).transcribe(SOUND, asked, TURNS)
    prefix = transcriber.tokenizer.encode_text(" Press one.")
    (seen,) = engine.requests
    assert seen.prompt_tokens[-len(prefix) :] == prefix
    assert (seen.n_prefix_tokens, seen.n_task_tokens) == (len(prefix), 4 + len(prefix))
    assert (len(seen.prompt_tokens) - 5) % STEP_TOKENS == 0, "with the prompt in a multiple of steps"
    assert seen.last_task_token == transcriber.tokenizer.special.notimestamps
    assert len(engine.decoded_windows[0]) == len(SOUND)
    assert (transcript.text, transcript.segments[0].start_s, transcript.segments[0].end_s) == (" Yes.", 0.0, 1.0)


async def test_context_that_is_said_again_is_decoded_without_it() -> None:
    def answer(samples: Samples, asked: DecodeRequest) -> Decoded:
        return said(" Press one to hear your messages." if asked.n_prefix_tokens else " Marked as urgent.")

    engine = EngineDouble(answer)
    transcriber = pipeline(engine)
    asked = replace(request(), context=Context(16_000, " Press one to hear your messages."))
    transcript = await LiveWindows(transcriber).transcribe(SOUND, asked, TURNS)
    assert (transcript.text, transcript.is_misled) == (" Marked as urgent.", True)
    assert [len(samples) for samples in engine.decoded_windows] == [len(SOUND), len(SOUND) - 16_000]
    assert_idle(transcriber, engine)


@pytest.mark.parametrize(
    ("text", "is_cut", "n_decoded"),
    [
        (" was of the snow.", False, 2),
        (" was of the snow.", True, 2),
        (" was snow of", False, 2),
        (" was snow of", True, 1),
    ],
)
@pytest.mark.parametrize("given", [{"earlier_text": EARLIER}, {"context": Context(16_000, " Press one.")}])
async def test_text_with_a_word_that_is_not_in_the_sound_is_decoded_alone(
    given: dict[str, Any], text: str, *, is_cut: bool, n_decoded: int
) -> None:
    def answer(_samples: Samples, asked: DecodeRequest) -> Decoded:
        n_own_tokens = 4 + asked.n_prefix_tokens
        is_alone = n_own_tokens == asked.n_task_tokens == len(asked.prompt_tokens) and not asked.n_prefix_tokens
        return said(" was late because of snow." if is_alone else text)

    engine = EngineDouble(answer)
    transcriber = pipeline(engine)
    engine.unheard_tokens = frozenset(transcriber.tokenizer.encode_text(" of"))
    asked = WindowRequest(Options(language="en", words=True), "", None, is_final=False, is_cut=is_cut)
    transcript = await LiveWindows(transcriber).transcribe(SOUND, replace(asked, **given), TURNS)
    assert len(engine.requests) == n_decoded
    assert transcript.text == (" was late because of snow." if n_decoded == 2 else text)
    assert transcript.is_misled == (n_decoded == 2)
    assert_idle(transcriber, engine)


async def test_voice_is_looked_for_behind_the_context() -> None:
    engine = EngineDouble(lambda _samples, _asked: said(" Yes.", avg_logprob=-0.5))
    heard: list[int] = []

    def is_speech(samples: Samples) -> bool:
        heard.append(len(samples))
        return False

    windows = LiveWindows(pipeline(engine, VoiceDetectorDouble(is_speech=is_speech)))
    asked = replace(request(), context=Context(16_000, " Press one."))
    assert (await windows.transcribe(np.zeros(6 * 16_000, np.float32), asked, TURNS)).text == ""
    assert set(heard) == {5 * 16_000}


async def test_words_are_timed_from_the_end_of_the_context() -> None:
    engine = EngineDouble(lambda _samples, _asked: said(" Yes. No."))
    transcriber = pipeline(engine)
    asked = replace(request(), options=Options(language="en", words=True))
    alone = await LiveWindows(transcriber).transcribe(SOUND, asked, TURNS)
    n_samples = 1_600 * len(transcriber.tokenizer.encode_text(" Press one."))  # 0.1 s per token is the double's
    asked = replace(asked, context=Context(n_samples, " Press one."))
    behind = await LiveWindows(transcriber).transcribe(np.zeros(32_000 + n_samples, np.float32), asked, TURNS)
    words = [
        [(word.word, round(word.start_s, 3), round(word.end_s, 3)) for word in one.segments[0].words]
        for one in (alone, behind)
    ]
    assert words[0] == words[1]
    assert [word for word, _, _ in words[0]] == ["Yes.", "No."]


async def test_language_of_the_session_decides_where_the_window_is_not_clear() -> None:
    engine = EngineDouble(lambda _samples, _asked: said(" Ja."))
    windows = LiveWindows(pipeline(engine))
    transcript = await windows.transcribe(SOUND, request(likely_language="de", language=None), TURNS)
    assert transcript.language == "de"
    assert (await windows.transcribe(SOUND, request(language=None), TURNS)).language == "en"


@pytest.mark.parametrize(("confidence", "text"), [(0.9, " Yes."), (0.6, ""), (None, "")])
async def test_doubtful_text_is_judged_by_what_the_detector_heard_as_it_came(
    confidence: float | None, text: str
) -> None:
    engine = EngineDouble(lambda _samples, _asked: said(" Yes.", avg_logprob=-0.5))
    windows = LiveWindows(pipeline(engine, VoiceDetectorDouble(is_speech=lambda _samples: False)))
    sound = np.zeros(6 * 16_000, np.float32)  # for a short one less is enough
    transcript = await windows.transcribe(sound, replace(request(), confidence=confidence), TURNS)
    assert transcript.text == text
