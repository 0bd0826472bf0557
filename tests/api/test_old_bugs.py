"""The ten defects of the project that this one succeeds: each has its test, under its number.

The list is in `docs/architecture.md`'s terms: the old server was one handler over vLLM 0.8.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from server_kit.api import Api, form, in_flight
from server_kit.process import StartServer, environment, free_port
from speech_kit.recordings import Recording, fitted, join
from speech_kit.scores import normalised, word_errors
from speech_kit.sentences import spoken
from speech_kit.sounds import silence, wav, with_noise

OLD_DEFAULTS = {
    "DTYPE": "auto",
    "VLLM_KV_CACHE_DTYPE": "fp16",
    "VLLM_ATTENTION_BACKEND": "XFORMERS",
    "VLLM_USE_FLASHINFER": "0",
    "WHISPER_SAMPLING_RATE": "16000",
    "WHISPER_SEGMENT_DURATION_SEC": "30",
}
"""What the old project's documentation tells to set."""


@pytest.fixture(scope="module")
def old_settings(start_server: StartServer) -> Iterator[Api]:
    """A server set up by the old project's documentation, with a limit and without timestamps."""
    with start_server({**OLD_DEFAULTS, "MAX_AUDIO_SECONDS": "40", "TIMESTAMPS": "none"}) as process:
        api = Api(process.url)
        yield api
        api.close()


def test_bug_1_the_documented_defaults_start_and_transcribe(old_settings: Api) -> None:
    utterance = spoken("en", 1)
    assert word_errors([utterance.text], [old_settings.text(wav(utterance.samples))]).n_edits <= 1


def test_bug_2_a_recording_over_max_audio_seconds_is_a_400_of_openais_shape(old_settings: Api) -> None:
    answer = old_settings.post(wav(np.concatenate([spoken("en", 1).samples, silence(40)])))
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["code"], error["type"], error["param"]) == ("audio_too_long", "invalid_request_error", "file")
    assert "40" in error["message"]
    assert "MAX_AUDIO_SECONDS" in error["message"]


def test_bug_2_a_recording_just_under_max_audio_seconds_is_transcribed_whole(old_settings: Api) -> None:
    utterance = spoken("en", 1)
    samples = np.concatenate([silence(39.9 - utterance.duration_s), utterance.samples])
    assert word_errors([utterance.text], [old_settings.text(wav(samples))]).n_edits <= 1


def test_bug_3_token_ids_are_the_models_own(api: Api) -> None:
    """The demo model's ids are not OpenAI's: numbers from there would be text or nothing."""
    answer = api.verbose(wav(spoken("en", 2).samples))
    vocabulary = _vocabulary()
    for segment in answer["segments"]:
        first, last = vocabulary[segment["tokens"][0]], vocabulary[segment["tokens"][-1]]
        assert float(first.strip("<|>")) == pytest.approx(segment["start"] - segment["seek"] / 100, abs=0.011)
        assert float(last.strip("<|>")) == pytest.approx(segment["end"] - segment["seek"] / 100, abs=0.011)
    assert normalised(answer["text"])[:2] == normalised(spoken("en", 2).text)[:2]


def _vocabulary() -> dict[int, str]:
    path = Path(__file__).parents[2] / "models" / "whisper-demo" / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    added = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    return {index: token for token, index in tokenizer["model"]["vocab"].items()} | added


def test_bug_4_the_language_is_detected_not_assumed_to_be_english(api: Api) -> None:
    languages = {"de": "german", "es": "spanish", "ru": "russian", "en": "english"}
    answers = in_flight(lambda code: api.verbose(wav(spoken(code, 7).samples)), list(languages))
    assert [answer["language"] for answer in answers] == list(languages.values())


def test_bug_4_an_unknown_language_is_refused(api: Api, clip: bytes) -> None:
    answer = api.post(clip, language="tlh")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "language")


def test_bug_4_translations_are_served(api: Api) -> None:
    answer = api.verbose(wav(spoken("es", 3).samples), route="translations")
    assert (answer["task"], answer["language"]) == ("translate", "english")


def test_bug_5_a_prompt_reaches_the_model(api: Api, clip: bytes) -> None:
    def logprobs(prompt: str) -> list[float]:
        answer = api.json(clip, include=["logprobs"], prompt=prompt, temperature=0)
        return [each["logprob"] for each in answer["logprobs"]]

    without, with_prompt = logprobs(""), logprobs("Trains, cities and stations.")
    assert any(abs(a - b) > 0.001 for a, b in zip(without, with_prompt, strict=False))


def test_bug_5_a_window_that_fails_is_decoded_again_at_a_higher_temperature(api: Api) -> None:
    backwards = spoken("ru", 3, "heldout").samples[::-1]
    hard = wav(with_noise(np.ascontiguousarray(backwards), snr_db=3))
    answers = in_flight(lambda _: api.verbose(hard), range(4))
    temperatures = {segment["temperature"] for answer in answers for segment in answer["segments"]}
    n_fallbacks = _metric(api, "whisper_ladder_fallbacks_total")
    assert n_fallbacks > 0
    assert temperatures - {0}


def _metric(api: Api, name: str) -> float:
    lines = api.http.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.split(" ")[0].split("{")[0] == name)


@pytest.mark.parametrize("duration_s", [30, 60, 90])
def test_bug_6_exact_multiples_of_30_s_have_no_silent_window_at_the_end(api: Api, duration_s: int) -> None:
    n_sentences = {30: 5, 60: 10, 90: 15}[duration_s]
    recording = fitted(join([spoken("en", i) for i in range(n_sentences)], pause_s=(0.3, 1.0), seed=6), duration_s)
    answer = api.verbose(wav(recording.samples))
    assert word_errors([recording.text], [answer["text"]]).rate <= 0.06
    assert answer["duration"] == pytest.approx(duration_s, abs=0.001)
    last_said_s = max(word.start_s for word in recording.words if word.start_s is not None)
    assert all(segment["start"] <= last_said_s + 0.5 for segment in answer["segments"])
    assert len(normalised(answer["text"])) <= len(normalised(recording.text)) + 1


def test_bug_6_thirty_seconds_are_one_window(api: Api) -> None:
    recording = fitted(join([spoken("en", i) for i in range(5)], pause_s=(0.3, 1.0), seed=6), 30)
    answer = api.verbose(wav(recording.samples))
    assert {segment["seek"] for segment in answer["segments"]} == {0}


def test_bug_6_windows_are_not_cut_in_mid_word(api: Api) -> None:
    """Someone speaks over each of the places where a hard cut would be."""
    sentences = [spoken("en", i) for i in range(24)]
    recording = join(sentences, pause_s=(0.3, 0.35), lead_in_s=0.1, seed=0)
    answer = api.verbose(wav(recording.samples))
    cuts_s = {segment["seek"] / 100 for segment in answer["segments"]} - {0.0}
    assert len(cuts_s) >= 2
    pauses_s = [(start_s - 0.36, start_s + 0.02) for start_s in recording.starts_s]
    assert all(any(begin <= cut_s <= end for begin, end in pauses_s) for cut_s in cuts_s), (cuts_s, pauses_s)


def test_bug_7_a_last_segment_without_an_end_is_kept(api: Api) -> None:
    """Sound that stops in mid-sentence gives the model no end to tell."""
    utterance = spoken("en", 17)
    words = utterance.words
    start_s = words[-2].start_s
    assert start_s is not None
    answer = api.verbose(wav(utterance.samples[: int(start_s * 16_000)]))
    said_text = " ".join(word.text for word in words[:-2])
    assert word_errors([said_text], [answer["text"]]).rate <= 0.25
    assert normalised(" ".join(segment["text"] for segment in answer["segments"])) == normalised(answer["text"])


def test_bug_7_segments_have_running_ids_and_real_figures(api: Api, minute_and_a_half: Recording) -> None:
    answer = api.verbose(wav(minute_and_a_half.samples))
    segments = answer["segments"]
    assert [segment["id"] for segment in segments] == list(range(len(segments)))
    windows = {segment["seek"]: segment for segment in segments}
    assert len(windows) >= 3
    assert all(seek / 100 < minute_and_a_half.duration_s for seek in windows)
    for name in ("avg_logprob", "no_speech_prob", "compression_ratio"):
        values = [segment[name] for segment in windows.values()]
        assert len(set(values)) == len(values), f"{name} is the same in different windows: {values}"
        assert all(math.isfinite(value) for value in values)


def test_bug_7_without_timestamps_segments_span_their_windows_and_have_text(old_settings: Api) -> None:
    recording = join([spoken("en", index) for index in range(8)], seed=8)
    assert 32 < recording.duration_s < 40
    answer = old_settings.verbose(wav(recording.samples))
    assert all(segment["text"].strip() for segment in answer["segments"])
    starts_s = [segment["start"] for segment in answer["segments"]]
    assert starts_s == [segment["seek"] / 100 for segment in answer["segments"]]
    assert len(starts_s) == 2
    assert word_errors([recording.text], [answer["text"]]).rate <= 0.08


def test_bug_8_health_answers_while_a_long_file_is_decoded(api: Api) -> None:
    long = wav(np.tile(spoken("en", 0).samples, 200)[: 16_000 * 400])
    with ThreadPoolExecutor(2) as pool:
        pending = pool.submit(api.post, long, response_format="json")
        delays_s: list[float] = []
        while not pending.done() and len(delays_s) < 200:
            begin_s = time.monotonic()
            assert api.http.get("/health").status_code == 200
            delays_s.append(time.monotonic() - begin_s)
            time.sleep(0.02)
        assert pending.result().status_code == 200
    assert len(delays_s) >= 50
    assert float(np.quantile(delays_s, 0.95)) < 0.25


def test_bug_8_a_client_that_leaves_takes_its_work_with_it(api: Api, minute_and_a_half: Recording) -> None:
    long = wav(np.tile(minute_and_a_half.samples, 6))
    with pytest.raises(httpx.ReadTimeout):
        api.http.post(
            "/v1/audio/transcriptions", files={"file": ("long.wav", long)}, data=form(), timeout=httpx.Timeout(4)
        )
    begin_s = time.monotonic()
    while _metric(api, "whisper_queue_audio_seconds") > 0:
        assert time.monotonic() - begin_s < 10, "the work of a client that left goes on"
        time.sleep(0.1)
    assert _metric(api, "whisper_requests_running") == 0
    # What remains at most is the batch that was being computed.
    while _metric(api, "whisper_windows_running") + _metric(api, "whisper_windows_waiting") > 0:
        assert time.monotonic() - begin_s < 30
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"DTYPE": "bf17"}, "DTYPE"),
        ({"VLLM_KV_CACHE_DTYPE": "float8"}, "VLLM_KV_CACHE_DTYPE"),
        ({"MAX_AUDIO_SECOND": "10"}, "MAX_AUDIO_SECOND"),
        ({"WHISPER_SAMPLING_RATE": "22050"}, "WHISPER_SAMPLING_RATE"),
        ({"ENGINE": "torch"}, "ENGINE"),
        ({"MODEL_ID": "/nowhere/at/all"}, "MODEL_ID"),
    ],
    ids=str,
)
def test_bug_9_no_setting_is_without_effect_in_silence(settings: dict[str, str], name: str, tmp_path: Path) -> None:
    """The old server asked for an option that its engine dropped without a word."""
    ended = subprocess.run(
        [sys.executable, "-m", "whisper_server"],
        env=environment({"MODEL_CACHE_DIR": str(tmp_path), **settings}, free_port(), tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    assert name in ended.stderr
    assert "Traceback" not in ended.stderr


def test_bug_10_every_number_in_every_answer_is_finite(api: Api, clip: bytes) -> None:
    """NaN is no JSON, and a test that compares with it cannot fail."""
    sounds = [clip, wav(silence(1)), wav(spoken("de", 3, "heldout").samples)]
    granularities = ["word", "segment"]
    for sound in sounds:
        answer = api.post(sound, response_format="verbose_json", timestamp_granularities=granularities)
        numbers = list(_numbers(json.loads(answer.text, parse_constant=_refuse)))
        assert numbers
        assert all(math.isfinite(number) for number in numbers)
    json.loads(api.post(clip, include=["logprobs"]).text, parse_constant=_refuse)


def _refuse(constant: str) -> float:
    raise AssertionError(f"{constant} in an answer")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, int | float):
        yield value
