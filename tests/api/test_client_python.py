"""OpenAI's Python client, unmodified, blocking and asynchronous: every parameter that it has for these routes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.audio import TranscriptionVerbose
from openai.types.audio.transcription_create_params import TranscriptionCreateParamsNonStreaming
from openai.types.audio.translation_create_params import TranslationCreateParams

from server_kit.process import ServerProcess, StartServer
from speech_kit.scores import word_errors
from speech_kit.sentences import sentences

TEXT = sentences("en")[0]
VAD = {"type": "server_vad", "threshold": 0.4, "prefix_padding_ms": 200, "silence_duration_ms": 300}
WORKS: dict[str, list[Any]] = {
    "chunking_strategy": ["auto", VAD],
    "include": [["logprobs"]],
    "keywords": [["train", "city"]],
    "language": ["en"],
    "languages": [["en", "de"]],
    "model": ["whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-transcribe"],
    "prompt": ["A timetable."],
    "response_format": ["json"],
    "stream": [False],
    "temperature": [0, 0.2],
}
"""Parameters with values that leave an answer with a text in it."""
REFUSED: dict[str, list[Any]] = {
    "known_speaker_names": [["Ann", "Bob"]],
    "known_speaker_references": [["data:audio/wav;base64,AAAA"]],
}
TESTED_APART = {"file", "timestamp_granularities"}


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def path(clip: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("client") / "clip.wav"
    path.write_bytes(clip)
    return path


def _is_said(text: str) -> bool:
    return word_errors([TEXT], [text]).n_edits <= 2


def _ask(client: openai.OpenAI, path: Path, **fields: Any) -> Any:
    return client.audio.transcriptions.create(**{"model": "whisper-1", "file": path, **fields})


def test_every_parameter_of_the_client_is_tested_here() -> None:
    accepted = set(inspect.signature(openai.resources.audio.Transcriptions.create).parameters)
    own = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
    assert accepted - own == WORKS.keys() | REFUSED.keys() | TESTED_APART
    assert set(TranscriptionCreateParamsNonStreaming.__annotations__) <= accepted
    assert set(TranslationCreateParams.__annotations__) == {"file", "model", "prompt", "response_format", "temperature"}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WORKS.items() for value in values])
def test_python_gets_the_words_with(client: openai.OpenAI, path: Path, name: str, value: Any) -> None:
    assert _is_said(_ask(client, path, **{name: value}).text)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values])
def test_python_client_gets_refusals_by_name(client: openai.OpenAI, path: Path, name: str, value: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        _ask(client, path, **{name: value})
    assert caught.value.param == name


@pytest.mark.on_both_engines
def test_python_gets_every_format(client: openai.OpenAI, path: Path) -> None:
    assert _is_said(_ask(client, path, response_format="text"))
    assert _ask(client, path, response_format="srt").startswith("1\n00:00:0")
    assert _ask(client, path, response_format="vtt").startswith("WEBVTT\n\n")
    assert _is_said(_ask(client, path, response_format="diarized_json").text)


@pytest.mark.on_both_engines
def test_python_gets_words_and_segments(client: openai.OpenAI, path: Path) -> None:
    answer = _ask(client, path, response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert isinstance(answer, TranscriptionVerbose)
    assert answer.language == "english"
    assert answer.segments is not None
    assert answer.words is not None
    assert _is_said(" ".join(segment.text for segment in answer.segments))
    assert _is_said(" ".join(word.word for word in answer.words))
    assert answer.usage is not None
    assert answer.usage.type == "duration"


def test_python_takes_files_of_every_kind(client: openai.OpenAI, path: Path, clip: bytes) -> None:
    with path.open("rb") as opened:
        assert _is_said(_ask(client, path, file=opened).text)
    assert _is_said(_ask(client, path, file=clip).text)
    assert _is_said(_ask(client, path, file=("a name.wav", clip, "audio/wav")).text)


@pytest.mark.on_both_engines
def test_python_reads_a_stream(client: openai.OpenAI, path: Path) -> None:
    *deltas, done = list(_ask(client, path, stream=True, include=["logprobs"]))
    assert {delta.type for delta in deltas} == {"transcript.text.delta"}
    assert done.type == "transcript.text.done"
    assert "".join(delta.delta for delta in deltas) == done.text
    assert _is_said(done.text)
    assert done.usage.total_tokens > 0
    assert done.logprobs


async def test_the_asynchronous_client_does_the_same(base_url: str, path: Path) -> None:
    async with openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="unused", max_retries=0) as client:
        answer = await client.audio.transcriptions.create(model="whisper-1", file=path)
        assert _is_said(answer.text)
        events = [
            event async for event in await client.audio.transcriptions.create(model="whisper-1", file=path, stream=True)
        ]
        assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
        assert (await client.models.retrieve("whisper-1")).id == "whisper-1"


@pytest.mark.filterwarnings(
    "ignore:deprecated:DeprecationWarning"
)  # the client from version 3 on says so of translations
@pytest.mark.parametrize("response_format", ["json", "text", "srt", "verbose_json", "vtt"])
def test_python_translates(client: openai.OpenAI, path: Path, response_format: Any) -> None:
    answer: Any = client.audio.translations.create(
        model="whisper-1", file=path, prompt="Trains.", response_format=response_format, temperature=0
    )
    assert isinstance(answer, str) == (response_format in {"text", "srt", "vtt"})
    if response_format == "verbose_json":
        assert answer.language == "english"


def test_python_lists_models(client: openai.OpenAI) -> None:
    assert {"whisper", "whisper-1"} <= {model.id for model in client.models.list()}


def test_python_raises_the_right_errors(client: openai.OpenAI, path: Path) -> None:
    with pytest.raises(openai.NotFoundError) as not_found:
        _ask(client, path, model="no-such-model")
    assert (not_found.value.code, not_found.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as not_audio:
        _ask(client, path, file=b"hello")
    assert (not_audio.value.code, not_audio.value.param) == ("invalid_audio", "file")
    with pytest.raises(openai.BadRequestError) as too_short:
        _ask(client, path, file=path.read_bytes()[:200])
    assert too_short.value.type == "invalid_request_error"
    assert too_short.value.request_id


@pytest.fixture(scope="module")
def locked(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that asks for a key and takes little."""
    keys = tmp_path_factory.mktemp("keys")
    (keys / "somebody").write_text("sk-right", encoding="utf-8")
    with start_server({"API_KEYS_DIR": str(keys), "MAX_UPLOAD_BYTES": "150000"}) as server:
        yield server


@pytest.mark.on_ctranslate2(because="it is refused before an engine sees it")
def test_python_raises_the_right_errors_of_a_locked_server(locked: ServerProcess, path: Path) -> None:
    stranger = openai.OpenAI(base_url=f"{locked.url}/v1", api_key="sk-wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as wrong_key:
        _ask(stranger, path)
    assert wrong_key.value.code == "invalid_api_key"
    known = openai.OpenAI(base_url=f"{locked.url}/v1", api_key="sk-right", max_retries=0)
    assert _is_said(_ask(known, path).text)
    with pytest.raises(openai.APIStatusError) as too_large:
        _ask(known, path, file=b"\0" * 200_000)
    assert too_large.value.status_code == 413
    assert too_large.value.code == "upload_too_large"
