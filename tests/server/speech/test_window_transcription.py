"""One window: temperature fallback, the speech check in case of doubt, dropped prompts, segments and words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from model_kit.demo import demo_tokenizer
from model_kit.engine_double import EngineDouble, VoiceDetectorDouble, said
from speech_kit.sounds import white_noise
from whisper_server.speech.temperature_fallback import MAX_COMPRESSION_RATIO, compression_ratio
from whisper_server.speech.window_decoding import DecodingPolicy, WindowDecoder
from whisper_server.speech.window_transcription import WindowTranscriber
from whisper_server.speech.windows import Window
from whisper_server.whisper.engine_protocol import Decoded, DecodeRequest
from whisper_server.whisper.transcript import Options, Samples, Segment, Task, WindowTranscript

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
SOUND = white_noise(10.0)
AT_20_S = Window(320_000, 480_000)
PREVIOUS = demo_tokenizer().encode_text(" Kubernetes")


@dataclass
class Run:
    """One window, transcribed by an engine that answers by temperature or in sequence."""

    result: WindowTranscript
    requests: list[DecodeRequest]
    n_fallbacks: int
    n_speech_checks: int = field(default=0)

    @property
    def temperatures(self) -> list[float]:
        return [request.temperature for request in self.requests]

    @property
    def segment(self) -> Segment:
        (segment,) = self.result.segments
        return segment


async def run(
    *answers: Decoded,
    answer: Callable[[DecodeRequest], Decoded] | None = None,
    speech: float = 1.0,
    sound: Samples = SOUND,
    previous: tuple[int, ...] = (),
    policy: Any = None,
    **options: Any,
) -> Run:
    """`answers` in sequence, the last one repeated; `speech` is the highest threshold that the detector passes."""
    remaining = list(answers)

    def in_sequence(_samples: Samples, request: DecodeRequest) -> Decoded:
        if answer is not None:
            return answer(request)
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    fallbacks: list[None] = []
    checked: list[Samples] = []

    class Voice(VoiceDetectorDouble):
        def has_speech(self, samples: Samples, *, threshold: float = 0.5) -> bool:
            checked.append(samples)
            return speech >= threshold

    engine = EngineDouble(in_sequence)
    decoder = WindowDecoder(
        tokenizer=demo_tokenizer(),
        policy=policy or DecodingPolicy(5, TEMPERATURES, 0, 448),
        voice=Voice(),
        options=Options(**options),
        language="en",
        previous=previous,
        on_fallback=lambda: fallbacks.append(None),
    )
    transcriber = WindowTranscriber(decoder, engine.open_window)
    result = await transcriber.transcribe(engine.open_window(sound), sound, AT_20_S)
    return Run(result, engine.requests, len(fallbacks), len(checked))


UNLIKELY = said(" maybe", avg_logprob=-1.5)
REPETITIVE = said(" Thank you." * 40)
LIKELY = said(" Hello world.")


async def test_accepted_text_takes_one_decoding() -> None:
    outcome = await run(LIKELY)
    assert outcome.result.text == " Hello world."
    assert outcome.result.n_output_tokens == len(LIKELY.tokens)
    assert (outcome.temperatures, outcome.n_fallbacks, outcome.n_speech_checks) == ([0.0], 0, 0)
    (request,) = outcome.requests
    assert (request.beam_size, request.logprobs, request.n_task_tokens) == (5, False, 4)


@pytest.mark.parametrize("failed", [UNLIKELY, REPETITIVE])
async def test_temperature_rises_until_text_is_accepted(failed: Decoded) -> None:
    outcome = await run(failed, failed, failed, LIKELY)
    assert outcome.temperatures == [0.0, 0.2, 0.4, pytest.approx(0.6)]
    assert (outcome.n_fallbacks, outcome.n_speech_checks) == (3, 1)
    assert outcome.segment.temperature == 0.6
    assert outcome.result.text == " Hello world."


async def test_requested_temperature_is_the_only_one() -> None:
    outcome = await run(UNLIKELY, temperature=0.3)
    assert (outcome.temperatures, outcome.n_fallbacks) == ([0.3], 0)
    assert outcome.result.text == " maybe"


async def test_exhausted_fallback_gives_best_unrepetitive_text() -> None:
    texts = {0.0: REPETITIVE, 0.4: said(" better", avg_logprob=-1.2)}
    outcome = await run(answer=lambda request: texts.get(request.temperature, UNLIKELY))
    assert outcome.temperatures == list(TEMPERATURES)
    assert outcome.n_fallbacks == 5
    assert outcome.result.text == " better"
    assert outcome.segment.temperature == 0.4


async def test_repetition_at_all_temperatures_is_kept_once() -> None:
    outcome = await run(said("<0.00> Yes," + " thank you." * 40 + "<5.00>"), logprobs=True, words=True)
    assert outcome.result.text == " Yes, thank you."
    assert outcome.segment.text == " Yes, thank you."
    assert [word.word for word in outcome.segment.words] == ["Yes,", "thank", "you."]
    assert "".join(one.token for one in outcome.result.logprobs) == " Yes, thank you."
    assert (outcome.segment.start_s, outcome.segment.end_s) == (20.0, 30.0)


MENU = " Please enter your agent number followed by the pound key." * 4


@pytest.mark.parametrize(
    ("text", "avg_logprob", "speech", "n_attempts"),
    [
        pytest.param(MENU + " Login incorrect.", -0.1, 1.0, 1, id="a menu"),
        pytest.param(MENU + " Login incorrect.", -0.6, 1.0, 6, id="unlikely"),
        pytest.param(MENU + " Login incorrect.", -0.1, 0.55, 6, id="no clear speech"),
        pytest.param(MENU, -0.1, 1.0, 6, id="a loop to its end"),
    ],
)
async def test_what_a_speaker_says_again_takes_one_decoding(
    text: str, avg_logprob: float, speech: float, n_attempts: int
) -> None:
    """Sampled again and again, until wrong letters made it pass: "Please try again." was lost, "Password incorrect" became nonsense."""
    menu = said(text, avg_logprob=avg_logprob)
    assert compression_ratio(text) > MAX_COMPRESSION_RATIO
    assert len((await run(menu, speech=speech)).temperatures) == n_attempts


@pytest.mark.parametrize("drawn", [said(""), said("<0.00><1.00>")])
async def test_empty_text_that_was_drawn_discards_none_before_it(drawn: Decoded) -> None:
    """A menu of 25 s was lost: its text is likely but repeats itself, and the next one ended at once."""
    outcome = await run(REPETITIVE, drawn)
    assert outcome.temperatures == list(TEMPERATURES)
    assert outcome.result.text == " Thank you."
    assert (await run(REPETITIVE, drawn, LIKELY)).result.text == " Hello world."


@pytest.mark.parametrize(("speech", "no_speech_prob"), [(0.55, 0.3), (1.0, 0.9)])
async def test_empty_text_after_a_loop_ends_the_window_without_clear_speech(
    speech: float, no_speech_prob: float
) -> None:
    """Drums pass the detector's usual threshold; what is drawn next may be likely."""
    drawn = said("", no_speech_prob=no_speech_prob)
    assert (await run(REPETITIVE, drawn, LIKELY, speech=speech)).result.text == ""


@pytest.mark.parametrize(
    "silence",
    [said(" you", avg_logprob=-1.5, no_speech_prob=0.9), said(""), said("  ", avg_logprob=-0.1), said("<0.00><1.00>")],
)
async def test_silence_has_no_text_and_no_segment(silence: Decoded) -> None:
    outcome = await run(silence)
    assert outcome.result == WindowTranscript("", ())
    assert outcome.temperatures == [0.0]


async def test_invented_words_without_speech_are_dropped() -> None:
    for invented in (UNLIKELY, REPETITIVE, said(" So", avg_logprob=-0.5)):
        outcome = await run(invented, speech=0.4)
        assert outcome.result == WindowTranscript("", ())
        assert (outcome.temperatures, outcome.n_speech_checks) == ([0.0], 1)


@pytest.mark.parametrize(
    ("no_speech_prob", "speech", "seconds", "text"),
    [(0.35, 0.4, 1.2, " pound"), (0.76, 0.4, 1.2, ""), (0.35, 0.2, 1.2, ""), (0.35, 0.4, 2.0, "")],
)
@pytest.mark.parametrize("avg_logprob", [-0.5, -1.5])
async def test_single_word_needs_less_evidence_of_speech(
    no_speech_prob: float, speech: float, seconds: float, text: str, avg_logprob: float
) -> None:
    word = said(" pound", avg_logprob=avg_logprob, no_speech_prob=no_speech_prob)
    assert (await run(word, speech=speech, sound=white_noise(seconds))).result.text == text


async def test_failed_text_is_kept_only_with_clear_speech() -> None:
    outcome = await run(UNLIKELY, speech=0.55)
    assert outcome.temperatures == list(TEMPERATURES)
    assert outcome.result == WindowTranscript("", ())
    assert (await run(UNLIKELY, speech=0.8)).result.text == " maybe"


async def test_likely_text_is_not_checked_for_speech() -> None:
    outcome = await run(said(" So", avg_logprob=-0.2), speech=0.4)
    assert (outcome.result.text, outcome.n_speech_checks) == (" So", 0)


async def test_likely_text_where_the_model_reports_no_speech_is_checked() -> None:
    you = said(" you", avg_logprob=-0.2, no_speech_prob=0.9)
    assert (await run(you, speech=0.55)).result.text == ""
    assert (await run(you, speech=0.6)).result.text == " you"
    assert (await run(said(" so", avg_logprob=-0.5, no_speech_prob=0.4), speech=0.55)).result.text == " so"


async def test_prompt_is_dropped_above_temperature_one_half() -> None:
    outcome = await run(UNLIKELY, previous=PREVIOUS)
    startofprev = demo_tokenizer().special.startofprev
    prompted = [request.prompt_tokens[: 1 + len(PREVIOUS)] == (startofprev, *PREVIOUS) for request in outcome.requests]
    assert prompted == [True, True, True, False, False, False]


async def test_prompt_that_the_model_continues_is_dropped() -> None:
    outcome = await run(said(" story story", hit_length_limit=True), LIKELY, previous=PREVIOUS)
    assert outcome.result.text == " Hello world."
    assert [len(request.prompt_tokens) for request in outcome.requests] == [4 + 1 + len(PREVIOUS), 4]
    assert outcome.temperatures == [0.0, 0.0]


@pytest.mark.parametrize(("speech", "text"), [(1.0, " Hello world."), (0.4, "")])
async def test_prompt_that_silences_speech_is_dropped(speech: float, text: str) -> None:
    outcome = await run(said(""), LIKELY, previous=PREVIOUS, speech=speech)
    assert outcome.result.text == text


PROMPT = "Please hold the line. Thank you."


@pytest.mark.parametrize(
    ("prompted", "unprompted", "text", "n_decodings"),
    [
        pytest.param(" Hold the line.", " Press two now.", " Press two now.", 2, id="read from the prompt"),
        pytest.param(
            " Hold the line, thank you!", " Hold a line thank you", " Hold the line, thank you!", 2, id="said"
        ),
        pytest.param(" Thank you.", " Press two now.", " Thank you.", 1, id="too short to tell"),
        pytest.param(" Hold the line, Bob.", " Press two now.", " Hold the line, Bob.", 1, id="not in the prompt"),
        pytest.param(f" {PROMPT} {PROMPT}", " Press two now.", " Press two now.", 2, id="prompt twice"),
    ],
)
async def test_prompt_that_comes_out_as_the_text_is_dropped(
    prompted: str, unprompted: str, text: str, n_decodings: int
) -> None:
    outcome = await run(said(prompted), said(unprompted), previous=PREVIOUS, prompt=PROMPT)
    assert outcome.result.text == text
    assert len(outcome.requests) == n_decodings


@pytest.mark.parametrize(
    ("max_new_tokens", "n_previous", "timestamps", "room"),
    [
        (0, 0, False, 224),
        (0, 0, True, 224),
        (0, 223, False, 220),
        (50, 0, False, 50),
        (443, 0, True, 443),
        (444, 0, True, 443),
    ],
)
async def test_new_tokens_leave_room_for_alignment(
    max_new_tokens: int, n_previous: int, timestamps: bool, room: int
) -> None:
    policy = DecodingPolicy(1, TEMPERATURES, max_new_tokens, 448)
    outcome = await run(LIKELY, previous=(5,) * n_previous, policy=policy, timestamps=timestamps)
    assert outcome.requests[0].max_new_tokens == room


def texts(segments: Sequence[Segment]) -> list[str]:
    return [segment.text for segment in segments]


async def test_segments_have_recording_times_and_their_words() -> None:
    decoded = said("<0.00> Hello world.<1.00><2.00> How are you?<4.50><4.50> Fine")
    outcome = await run(decoded, timestamps=True, words=True)
    segments = outcome.result.segments
    assert texts(segments) == [" Hello world.", " How are you?", " Fine"]
    assert outcome.result.text == "".join(texts(segments))
    assert [(one.start_s, one.end_s) for one in segments] == [(20.0, 21.0), (22.0, 24.5), (24.5, 30.0)]
    assert [one.id for one in segments] == [0, 1, 2]
    assert {one.seek for one in segments} == {2000}
    assert [[word.word for word in one.words] for one in segments] == [
        ["Hello", "world."], ["How", "are", "you?"], ["Fine"],
    ]  # fmt: skip
    assert segments[0].words[0].start_s == 20.0
    assert [token for one in segments for token in one.tokens] == list(decoded.tokens)


async def test_long_cue_without_timestamps_has_words_to_be_cut_by() -> None:
    outcome = await run(
        said(" Hello world, this is all that was said in these ten seconds of sound, and it is too long."), cues=True
    )
    assert len(outcome.segment.words) == 19
    assert (await run(said(" Hello world."), cues=False)).segment.words == ()


async def test_word_across_segments_takes_no_word_of_third() -> None:
    decoded = said("<0.00> One two<1.00><1.00>. Three<2.00><2.00> Four five<3.00>")
    outcome = await run(decoded, timestamps=True, words=True)
    assert [[word.word for word in one.words] for one in outcome.result.segments] == [
        ["One", "two."], ["Three"], ["Four", "five"],
    ]  # fmt: skip


async def test_logprobs_are_those_of_text_tokens() -> None:
    outcome = await run(said("<0.00> Hello<1.00>"), timestamps=True, logprobs=True)
    assert "".join(one.token for one in outcome.result.logprobs) == " Hello"
    assert bytes(byte for one in outcome.result.logprobs for byte in one.bytes) == b" Hello"
    assert (await run(LIKELY)).result.logprobs == ()


async def test_translation_is_split_as_english() -> None:
    outcome = await run(said(" It works."), task=Task.TRANSLATE, words=True)
    assert demo_tokenizer().special.tasks[Task.TRANSLATE] in outcome.requests[0].prompt_tokens
    assert [word.word for word in outcome.segment.words] == ["It", "works."]


async def test_segment_holds_its_words() -> None:
    """The alignment begins a word 0.2 s before its segment's timestamp, and ends one behind it."""
    outcome = await run(said("<0.20> Hello world.<0.30><0.50> How are you?<4.50>"), timestamps=True, words=True)
    for segment in outcome.result.segments:
        assert segment.start_s <= segment.words[0].start_s
        assert segment.words[-1].end_s <= segment.end_s
    first, second = outcome.result.segments
    assert first.start_s == 20.0
    assert first.end_s <= second.start_s
