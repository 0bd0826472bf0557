"""What every engine must do, whatever it computes with: `whisper_server.whisper.engine_protocol`, line by line.

The last tests end the engine.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import psutil
import pytest

from speech_kit.scores import word_errors
from speech_kit.sentences import LANGUAGES, spoken
from speech_kit.sounds import silence, white_noise
from whisper_server.errors import Unavailable
from whisper_server.whisper.engine_protocol import Decoded, DecodeRequest, Engine, EngineWindow
from whisper_server.whisper.tokens import WhisperTokenizer
from whisper_server.whisper.transcript import Task

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENGLISH = spoken("en", 0)
SAMPLES = ENGLISH.samples
MAX_INITIAL_TIMESTAMP_S = 1.0
"""openai/whisper, `DecodingOptions.max_initial_timestamp`."""
N_POSITIONS = 448
MAX_DRAWS = 100
"""Until two differ: chance may draw the same words several times."""
DIES_WITHIN_S = 60.0
"""For a busy machine. What a death costs on an idle one is measured by tests/vllm."""


def request(
    tokenizer: WhisperTokenizer,
    language: str = "en",
    *,
    previous: Sequence[int] = (),
    timestamps: bool = False,
    **changes: Any,
) -> DecodeRequest:
    prompt, n_task_tokens = tokenizer.prompt_tokens(language, Task.TRANSCRIBE, previous=previous, timestamps=timestamps)
    usual = DecodeRequest(prompt, n_task_tokens, 0.0, 1, N_POSITIONS - len(prompt), logprobs=False)
    return replace(usual, **changes)


@asynccontextmanager
async def opened(engine: Engine, samples: Any = SAMPLES) -> AsyncIterator[EngineWindow]:
    window = engine.open_window(samples)
    try:
        yield window
    finally:
        window.close()


async def decoded(engine: Engine, wanted: DecodeRequest, samples: Any = SAMPLES) -> Decoded:
    async with opened(engine, samples) as window:
        return await window.decode(wanted)


def n_errors(tokenizer: WhisperTokenizer, tokens: Sequence[int], text: str = ENGLISH.text) -> int:
    return word_errors([text], [tokenizer.detokenize(tokenizer.text_tokens(tokens))]).n_edits


# ---- facts


async def test_facts_describe_the_model(engine: Engine) -> None:
    facts = engine.facts
    assert facts.engine == os.environ.get("TEST_ENGINE", "ctranslate2")
    assert facts.is_multilingual
    assert facts.n_text_positions == N_POSITIONS
    assert facts.n_windows_in_flight >= 1
    assert facts.max_live_windows is None or facts.max_live_windows >= 1
    assert facts.dtype
    assert facts.device
    assert engine.health() is None


# ---- detect_language


@pytest.mark.parametrize("language", LANGUAGES)
async def test_language_is_detected(engine: Engine, tokenizer: WhisperTokenizer, language: str) -> None:
    async with opened(engine, spoken(language, 5).samples) as window:
        guess = await window.detect_language()
    codes = [code for code, _ in guess.probabilities]
    probabilities = [probability for _, probability in guess.probabilities]
    assert codes[0] == language
    assert set(codes) == set(tokenizer.languages)
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-3)


async def test_detection_changes_no_later_decode(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    async with opened(engine) as window:
        before = await window.decode(request(tokenizer))
        await window.detect_language()
        after = await window.decode(request(tokenizer))
    assert after.tokens == before.tokens


# ---- decode: words


@pytest.mark.parametrize("language", LANGUAGES)
async def test_words_are_right(engine: Engine, tokenizer: WhisperTokenizer, language: str) -> None:
    utterance = spoken(language, 5)
    found = await decoded(engine, request(tokenizer, language), utterance.samples)
    assert word_errors([utterance.text], [tokenizer.detokenize(found.tokens)]).rate <= 0.25
    assert not found.hit_length_limit


@pytest.mark.parametrize("previous", [False, True])
async def test_window_goes_on_from_a_prefix(engine: Engine, tokenizer: WhisperTokenizer, *, previous: bool) -> None:
    before = tokenizer.encode_text(" A word before.") if previous else ()
    wanted = request(tokenizer, previous=before, logprobs=True)
    async with opened(engine) as window:
        whole = await window.decode(wanted)
        for n_tokens in (1, len(whole.tokens) // 2):
            after = await window.decode(
                replace(
                    wanted,
                    prompt_tokens=wanted.prompt_tokens + whole.tokens[:n_tokens],
                    n_task_tokens=wanted.n_task_tokens + n_tokens,
                    n_prefix_tokens=n_tokens,
                    max_new_tokens=wanted.max_new_tokens - n_tokens,
                )
            )
            assert after.tokens == whole.tokens[n_tokens:]
            assert after.token_logprobs == pytest.approx(whole.token_logprobs[n_tokens:], abs=0.05)
            assert after.sum_logprob == pytest.approx(whole.sum_logprob - sum(whole.token_logprobs[:n_tokens]), abs=0.5)
            assert after.no_speech_prob == pytest.approx(whole.no_speech_prob, abs=0.02)
            assert not after.hit_length_limit


async def test_limit_of_tokens_counts_those_after_a_prefix(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    wanted = request(tokenizer)
    async with opened(engine) as window:
        whole = await window.decode(wanted)
        cut = await window.decode(
            replace(
                wanted,
                prompt_tokens=wanted.prompt_tokens + whole.tokens[:3],
                n_task_tokens=wanted.n_task_tokens + 3,
                n_prefix_tokens=3,
                max_new_tokens=2,
            )
        )
    assert cut.tokens == whole.tokens[3:5]
    assert cut.hit_length_limit


async def test_windows_side_by_side_decode_as_if_alone(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    pairs = [(LANGUAGES[n], n) for n in range(4)]
    wanted = [(request(tokenizer, language), spoken(language, n).samples) for language, n in pairs]
    together = await asyncio.gather(*(decoded(engine, *each) for each in wanted))
    alone = [await decoded(engine, *each) for each in wanted[:2]]
    assert [one.tokens for one in together[:2]] == [one.tokens for one in alone]


async def test_live_windows_beside_files_hear_the_words(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    windows = [engine.open_window(SAMPLES, owner=f"owner {n}", is_live=n % 2 == 0) for n in range(4)]
    heard = await asyncio.gather(*(window.decode(request(tokenizer)) for window in windows))
    assert [n_errors(tokenizer, each.tokens) for each in heard] == [0] * 4
    for window in windows:
        window.close()


@pytest.mark.parametrize("kind", [{"is_live": True}, {"timestamps": False}])
async def test_window_that_may_be_padded_to_less_is_heard_and_timed_alike(
    engine: Engine, tokenizer: WhisperTokenizer, kind: dict[str, Any]
) -> None:
    """Beside one of 30 s: the engine computes both at once."""
    windows = [engine.open_window(SAMPLES), engine.open_window(SAMPLES, **kind)]
    sot_sequence = tokenizer.sot_sequence("en", Task.TRANSCRIBE)
    found = await asyncio.gather(*(window.decode(request(tokenizer)) for window in windows))
    times = await asyncio.gather(*(window.align(sot_sequence, found[0].tokens) for window in windows))
    assert found[0].tokens == found[1].tokens
    assert times[0].token_starts_s == pytest.approx(times[1].token_starts_s, abs=0.1)
    for window in windows:
        window.close()


async def test_prompts_of_different_lengths_side_by_side(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    story = tokenizer.encode_text(" A story of trains and cities. " * 30)[-223:]
    prompts = [(), tokenizer.encode_text(" Trains"), story]
    found = await asyncio.gather(*(decoded(engine, request(tokenizer, previous=prompt)) for prompt in prompts))
    assert [n_errors(tokenizer, one.tokens) for one in found[:2]] == [0, 0]


@pytest.mark.parametrize("n_samples", [1, 1600, 480_000])
async def test_any_length_of_window_is_decoded(engine: Engine, tokenizer: WhisperTokenizer, n_samples: int) -> None:
    found = await decoded(engine, request(tokenizer, max_new_tokens=4), white_noise(30.0)[:n_samples])
    assert len(found.tokens) <= 4
    assert 0 <= found.no_speech_prob <= 1


async def test_silence_is_known_by_its_probability(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    quiet = await decoded(engine, request(tokenizer), silence(3.0))
    assert quiet.no_speech_prob > 0.6
    assert not tokenizer.detokenize(quiet.tokens).strip()
    assert (await decoded(engine, request(tokenizer))).no_speech_prob < 0.1


# ---- decode: rules


async def test_without_timestamps_tokens_are_text(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    found = await decoded(engine, request(tokenizer))
    assert found.tokens == tokenizer.text_tokens(found.tokens)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_timestamps_follow_openais_rules(engine: Engine, tokenizer: WhisperTokenizer, language: str) -> None:
    """Text between pairs of timestamps that never go back; the first is early, none is later than the window."""
    utterance = spoken(language, 3)
    found = await decoded(engine, request(tokenizer, language, timestamps=True), utterance.samples)
    times = [tokenizer.timestamp_s(token) for token in found.tokens]
    stamps_s = [time_s for time_s in times if time_s is not None]
    assert times[0] is not None
    assert 0 <= stamps_s[0] <= MAX_INITIAL_TIMESTAMP_S
    assert stamps_s == sorted(stamps_s)
    assert stamps_s[-1] <= 30
    # A timestamp stands alone only at the beginning and at the end.
    runs = [
        len(list(run)) for is_stamp, run in itertools.groupby(times, key=lambda time_s: time_s is not None) if is_stamp
    ]
    assert runs[0] == 1
    assert all(length == 2 for length in runs[1:-1])
    assert all(tokenizer.is_text(token) or tokenizer.timestamp_s(token) is not None for token in found.tokens)


@pytest.mark.parametrize("n_previous", [0, 100])
@pytest.mark.parametrize("max_new_tokens", [1, 4])
async def test_limit_of_tokens_is_exact_and_reported(
    engine: Engine, tokenizer: WhisperTokenizer, max_new_tokens: int, n_previous: int
) -> None:
    previous = tokenizer.encode_text(" He took the train to the city. We leave at nine." * 20)[:n_previous]
    found = await decoded(engine, request(tokenizer, previous=previous, max_new_tokens=max_new_tokens))
    assert len(found.tokens) == max_new_tokens
    assert found.hit_length_limit


async def test_text_that_ends_at_the_limit_hits_no_limit(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    found = await decoded(engine, request(tokenizer))
    same = await decoded(engine, request(tokenizer, max_new_tokens=len(found.tokens) + 1))
    assert same.tokens == found.tokens
    assert not same.hit_length_limit


# ---- decode: temperature and log probabilities


async def test_temperature_zero_repeats_itself(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    found = await asyncio.gather(*(decoded(engine, request(tokenizer)) for _ in range(2)))
    assert len({one.tokens for one in found}) == 1


async def test_low_temperature_hears_the_words(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    """What is sure is drawn. With and without timestamps: the temperature fallback relies on it."""
    for timestamps in (False, True):
        wanted = request(tokenizer, timestamps=timestamps, temperature=0.2)
        found = await asyncio.gather(*(decoded(engine, wanted) for _ in range(4)))
        assert [n_errors(tokenizer, one.tokens) for one in found] == [0] * 4


async def test_temperature_draws_other_words(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    """What is sure is drawn again and again; what is not, differs."""
    drawing = request(tokenizer, temperature=1.0, max_new_tokens=8)
    drawn: set[tuple[int, ...]] = set()
    for _ in range(MAX_DRAWS // 4):
        found = await asyncio.gather(*(decoded(engine, drawing, white_noise(4.0)) for _ in range(4)))
        drawn |= {one.tokens for one in found}
        if len(drawn) > 1:
            break
    assert len(drawn) > 1


async def test_temperatures_side_by_side_do_not_mix(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    surest = await decoded(engine, request(tokenizer))
    wanted = [request(tokenizer, temperature=temperature) for temperature in (0.0, 1.0, 0.0, 0.6)]
    found = await asyncio.gather(*(decoded(engine, each) for each in wanted))
    assert [found[0].tokens, found[2].tokens] == [surest.tokens] * 2


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.6])
async def test_logprobs_add_up(
    engine: Engine, tokenizer: WhisperTokenizer, timestamps: bool, temperature: float
) -> None:
    """What the sum has besides is the end token's. They are of temperature 1, whatever was drawn at."""
    wanted = request(tokenizer, timestamps=timestamps, temperature=temperature, logprobs=True)
    found = await decoded(engine, wanted)
    assert len(found.token_logprobs) == len(found.tokens)
    assert all(logprob <= 1e-6 for logprob in found.token_logprobs)
    if not found.hit_length_limit:
        assert sum(found.token_logprobs) >= found.sum_logprob - 1e-3


async def test_logprobs_come_only_where_asked_for(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    without, with_them = await asyncio.gather(
        decoded(engine, request(tokenizer)), decoded(engine, request(tokenizer, logprobs=True))
    )
    assert without.token_logprobs == ()
    assert without.tokens == with_them.tokens
    assert without.sum_logprob == pytest.approx(with_them.sum_logprob, abs=0.05)


async def test_noise_is_less_probable_than_speech(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    """What the temperature fallback rests on."""
    speech, noise = await asyncio.gather(
        decoded(engine, request(tokenizer)), decoded(engine, request(tokenizer), white_noise(5.0))
    )
    assert speech.sum_logprob / (len(speech.tokens) + 1) > -0.5
    assert noise.no_speech_prob > speech.no_speech_prob


# ---- align


async def test_words_have_the_right_times(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    sot_sequence = tokenizer.sot_sequence("en", Task.TRANSCRIBE)
    async with opened(engine) as window:
        found = await window.decode(request(tokenizer))
        alignment = await window.align(sot_sequence, found.tokens)
    starts_s = alignment.token_starts_s
    assert len(starts_s) == len(found.tokens) + 1
    assert len(alignment.token_probabilities) == len(found.tokens)
    assert all(0 <= probability <= 1 for probability in alignment.token_probabilities)
    assert list(starts_s) == sorted(starts_s)
    assert starts_s[-1] == pytest.approx(ENGLISH.duration_s, abs=0.5)
    middle_s = starts_s[len(found.tokens) // 2]
    assert 0.2 * ENGLISH.duration_s < middle_s < 0.8 * ENGLISH.duration_s


async def test_text_aligned_as_soon_as_decoded_has_the_same_times(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    """With `sot_sequence` in the request. Other texts of the window are aligned as ever: of a text that was cut off, say."""
    sot_sequence = tokenizer.sot_sequence("en", Task.TRANSCRIBE)
    found: list[Decoded] = []
    times_s: list[list[float]] = []
    for wanted in (request(tokenizer, timestamps=True), request(tokenizer, timestamps=True, sot_sequence=sot_sequence)):
        async with opened(engine) as window:
            found.append(await window.decode(wanted))
            tokens = tokenizer.text_tokens(found[-1].tokens)
            alignments = [await window.align(sot_sequence, tokens[:n_tokens]) for n_tokens in (len(tokens), 3)]
        assert [len(alignment.token_probabilities) for alignment in alignments] == [len(tokens), 3]
        times_s.append([*alignments[0].token_starts_s, *alignments[1].token_starts_s])
    assert found[0].tokens == found[1].tokens
    assert times_s[0] == pytest.approx(times_s[1], abs=0.02)


async def test_wordless_text_is_not_aligned(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    """And one that does not fit between what an alignment decodes with it is answered all the same."""
    sot_sequence = tokenizer.sot_sequence("en", Task.TRANSCRIBE)
    wanted = request(tokenizer, sot_sequence=sot_sequence)
    assert not tokenizer.detokenize((await decoded(engine, wanted, silence(1.0))).tokens).strip(" .")
    longest = await decoded(engine, replace(wanted, sot_sequence=sot_sequence * 120))
    assert n_errors(tokenizer, longest.tokens) == 0


@pytest.mark.parametrize("n_samples", [1, 1600, 480_000])
async def test_any_text_is_aligned_with_any_sound(engine: Engine, tokenizer: WhisperTokenizer, n_samples: int) -> None:
    tokens = tokenizer.encode_text(" the" * 500)
    sot_sequence = tokenizer.sot_sequence("en", Task.TRANSCRIBE)
    async with opened(engine, white_noise(30.0)[:n_samples]) as window:
        for n_tokens in (1, 443):
            starts_s = (await window.align(sot_sequence, tokens[:n_tokens])).token_starts_s
            assert len(starts_s) == n_tokens + 1
            assert list(starts_s) == sorted(starts_s)
            assert starts_s[0] >= 0
            assert starts_s[-1] <= n_samples / 16_000 + 0.02


async def test_windows_side_by_side_align_as_if_alone(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    async def starts_s(language: str, n: int) -> tuple[float, ...]:
        utterance = spoken(language, n)
        tokens = tokenizer.encode_text(f" {utterance.text}")
        async with opened(engine, utterance.samples) as window:
            return (await window.align(tokenizer.sot_sequence(language, Task.TRANSCRIBE), tokens)).token_starts_s

    pairs = [("en", 0), ("de", 1), ("es", 2), ("ru", 3)]
    together = await asyncio.gather(*(starts_s(*pair) for pair in pairs))
    assert together[1] == pytest.approx(await starts_s(*pairs[1]), abs=0.05)


# ---- cancel, close, end


async def test_cancelled_decode_leaves_others_alone(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    calls = [asyncio.create_task(decoded(engine, request(tokenizer))) for _ in range(4)]
    await asyncio.sleep(0)
    for call in calls[1:]:
        call.cancel()
    await asyncio.wait(calls)
    assert n_errors(tokenizer, calls[0].result().tokens) == 0
    assert all(call.cancelled() for call in calls[1:])
    assert engine.health() is None


async def test_cancelled_decodes_give_their_places_back(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    """As many as fit in flight are cancelled at once: were one place lost, the last of the next ones would wait for good."""
    n_windows = engine.facts.n_windows_in_flight
    wanted = request(tokenizer, sot_sequence=tokenizer.sot_sequence("en", Task.TRANSCRIBE))
    calls = [asyncio.create_task(decoded(engine, wanted)) for _ in range(n_windows)]
    await asyncio.sleep(0.1)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    windows = [engine.open_window(SAMPLES) for _ in range(n_windows)]
    found = await asyncio.gather(*(window.decode(request(tokenizer, max_new_tokens=1)) for window in windows))
    assert [len(one.tokens) for one in found] == [1] * n_windows
    # One more than fits waits until a window is closed.
    more = asyncio.create_task(decoded(engine, request(tokenizer, max_new_tokens=1)))
    for window in windows:
        window.close()
    assert len((await more).tokens) == 1


async def test_window_may_be_closed_twice_and_unused(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    unused, used = engine.open_window(SAMPLES), engine.open_window(SAMPLES)
    await used.decode(request(tokenizer, max_new_tokens=2))
    for window in (unused, used):
        window.close()
        window.close()
    assert n_errors(tokenizer, (await decoded(engine, request(tokenizer))).tokens) == 0


def engine_processes() -> list[psutil.Process]:
    """Those in which an engine computes: vLLM's have its name, the torch engine's is spawned by multiprocessing."""
    children = psutil.Process().children(recursive=True)
    return [one for one in children if one.name().startswith("VLLM::") or "spawn_main" in " ".join(one.cmdline())]


async def test_dead_process_of_the_engine_is_reported(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    processes = engine_processes()
    if not processes:
        pytest.skip("this engine computes in the server's own process, and dies with it")
    for process in processes:
        process.suspend()  # an H200 would have answered by the time that it dies
    call = asyncio.create_task(decoded(engine, request(tokenizer, previous=tokenizer.encode_text(" the" * 100))))
    await asyncio.sleep(0.05)
    for process in processes:
        process.send_signal(signal.SIGKILL)
    deadline_s = time.monotonic() + DIES_WITHIN_S
    while engine.health() is None and time.monotonic() < deadline_s:
        await asyncio.sleep(0.05)
    assert str(engine.health()).endswith("process has died")
    (outcome,) = await asyncio.gather(call, return_exceptions=True)
    for failed in (outcome, *await asyncio.gather(decoded(engine, request(tokenizer)), return_exceptions=True)):
        assert isinstance(failed, Unavailable)
        assert failed.code == "engine_dead"


async def test_stopped_engine_refuses_work(engine: Engine, tokenizer: WhisperTokenizer) -> None:
    window = engine.open_window(SAMPLES)
    await engine.stop()
    assert engine.health() == "the engine has stopped"
    with pytest.raises(Unavailable):
        await window.decode(request(tokenizer))
    window.close()
    assert not engine_processes()
