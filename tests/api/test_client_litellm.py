"""LiteLLM, unmodified: the parameters that its transcription call has."""

from __future__ import annotations

import asyncio
import importlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from speech_kit.scores import word_errors
from speech_kit.sentences import sentences

TEXT = sentences("en")[0]
Ask = Callable[..., Any]

pytestmark = pytest.mark.filterwarnings("ignore")  # its own deprecations are no concern of ours


@pytest.fixture(scope="module")
def litellm() -> Iterator[Any]:
    """Its import takes 7 CPU s, so not at collection, and asks GitHub for prices unless it is not to."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        warnings.simplefilter("ignore")
        yield importlib.import_module("litellm")


@pytest.fixture(scope="module")
def path(clip: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("litellm") / "clip.wav"
    path.write_bytes(clip)
    return path


@pytest.fixture
def ask(litellm: Any, base_url: str) -> Ask:
    def transcription(path: Path, *, model: str = "openai/whisper-1", **fields: Any) -> Any:
        with path.open("rb") as file:
            return litellm.transcription(
                model=model, file=file, api_base=f"{base_url}/v1", api_key="unused", max_retries=0, **fields
            )

    return transcription


def _is_said(text: str) -> bool:
    return word_errors([TEXT], [text]).n_edits <= 2


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"language": "en"},
        {"prompt": "A timetable."},
        {"temperature": 0},
        {"response_format": "json"},
        {"response_format": "text"},
        {"response_format": "verbose_json"},
        {"response_format": "verbose_json", "timestamp_granularities": ["word"]},
        {"user": "somebody"},
    ],
    ids=str,
)
def test_litellm_gets_the_words_with(ask: Ask, path: Path, fields: dict[str, Any]) -> None:
    answer = ask(path, **fields)
    assert _is_said(answer.text), answer
    if "timestamp_granularities" in fields:
        assert _is_said(" ".join(word["word"] for word in answer["words"]))


@pytest.mark.parametrize(("response_format", "beginning"), [("srt", "1\n00:00:0"), ("vtt", "WEBVTT")])
def test_litellm_gets_subtitles(ask: Ask, path: Path, response_format: str, beginning: str) -> None:
    assert ask(path, response_format=response_format).text.startswith(beginning)


def test_litellm_knows_gpt_names(ask: Ask, path: Path) -> None:
    assert _is_said(ask(path, model="openai/gpt-4o-transcribe", include=["logprobs"]).text)


def test_litellm_asks_asynchronously(litellm: Any, base_url: str, path: Path) -> None:
    async def ask() -> Any:
        with path.open("rb") as file:
            return await litellm.atranscription(
                model="openai/whisper-1", file=file, api_base=f"{base_url}/v1", api_key="unused"
            )

    assert _is_said(asyncio.run(ask()).text)


def test_litellm_raises_the_right_errors(ask: Ask, path: Path, tmp_path: Path) -> None:
    """Its blocking call passes OpenAI's exceptions on, and its own are subclasses of those."""
    with pytest.raises(openai.BadRequestError):
        ask(path, temperature=3)
    with pytest.raises(openai.NotFoundError):
        ask(path, model="openai/no-such-model")
    junk = tmp_path / "junk.wav"
    junk.write_bytes(b"hello")
    with pytest.raises(openai.BadRequestError):
        ask(junk)
