"""Special tokens are found by name, with any ids, and text from users stays text."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_kit.demo import DEMO, demo_tokenizer, tokenizer_like_demo
from whisper_server.errors import StartError
from whisper_server.whisper.tokens import MAX_PREVIOUS_TOKENS, WhisperTokenizer
from whisper_server.whisper.transcript import Task

TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)


def shift_and_reorder(document: Any) -> None:
    """Adds three text tokens and reorders the special tokens."""
    vocab = document["model"]["vocab"]
    n_text = len(vocab)
    vocab |= {f"zzz{n}": n_text + n for n in range(3)}
    added = document["added_tokens"]
    names = [entry["content"] for entry in added]
    first, second = names.index("<|transcribe|>"), names.index("<|translate|>")
    names[first], names[second] = names[second], names[first]
    de, en = names.index("<|de|>"), names.index("<|en|>")
    names[de], names[en] = names[en], names[de]
    for entry, name in zip(added, names, strict=True):
        entry["content"] = name
        entry["id"] += 3


def rename(old: str, new: str) -> Any:
    def change(document: Any) -> None:
        (entry,) = [entry for entry in document["added_tokens"] if entry["content"] == old]
        entry["content"] = new

    return change


def test_special_tokens_of_other_vocabulary_are_found() -> None:
    demo, other = demo_tokenizer(), tokenizer_like_demo(shift_and_reorder)

    assert other.special.endoftext == demo.special.endoftext + 3
    assert other.special.timestamp_begin == demo.special.timestamp_begin + 3
    assert other.special.tasks[Task.TRANSLATE] == demo.special.tasks[Task.TRANSCRIBE] + 3
    assert other.special.languages["en"] == demo.special.languages["de"] + 3
    assert set(other.languages) == set(demo.languages)
    assert other.sot_sequence("en", Task.TRANSCRIBE) == (
        demo.special.startoftranscript + 3,
        demo.special.languages["de"] + 3,
        demo.special.tasks[Task.TRANSLATE] + 3,
    )
    assert other.is_text(demo.special.endoftext)
    assert other.detokenize(other.encode_text(" Hello")) == " Hello"


def test_older_name_of_no_speech_token_is_known() -> None:
    older = tokenizer_like_demo(rename("<|nospeech|>", "<|nocaptions|>"))
    assert older.special.nospeech == demo_tokenizer().special.nospeech


def test_multilingual_prompt_has_language_and_task() -> None:
    tokenizer = demo_tokenizer()
    special = tokenizer.special
    task = (special.startoftranscript, special.languages["de"], special.tasks[Task.TRANSLATE])

    assert tokenizer.prompt_tokens("de", Task.TRANSLATE, previous=(), timestamps=True) == (task, 3)
    with_marker = (*task, special.notimestamps)
    assert tokenizer.prompt_tokens("de", Task.TRANSLATE, previous=(), timestamps=False) == (with_marker, 4)
    prompt, n_task = tokenizer.prompt_tokens("de", Task.TRANSLATE, previous=(7, 8), timestamps=False)
    assert prompt == (special.startofprev, 7, 8, *with_marker)
    assert prompt[-n_task:] == with_marker


def test_english_prompt_has_no_language_and_no_task() -> None:
    tokenizer = WhisperTokenizer.from_folder(DEMO, is_multilingual=False)

    assert tokenizer.languages == ("en",)
    sot = tokenizer.special.startoftranscript
    assert tokenizer.sot_sequence("en", Task.TRANSCRIBE) == (sot,)
    assert tokenizer.prompt_tokens("en", Task.TRANSCRIBE, previous=(), timestamps=True) == ((sot,), 1)
    assert tokenizer.prompt_tokens("en", Task.TRANSCRIBE, previous=(), timestamps=False)[1] == 2


def test_previous_text_is_omitted_without_startofprev_token() -> None:
    tokenizer = tokenizer_like_demo(rename("<|startofprev|>", "<|somethingelse|>"))
    prompt, n_task = tokenizer.prompt_tokens("de", Task.TRANSCRIBE, previous=(7, 8), timestamps=True)
    assert (len(prompt), n_task) == (3, 3)


@given(TEXTS)
def test_any_text_survives_as_text_tokens(text: str) -> None:
    tokenizer = demo_tokenizer()
    tokens = tokenizer.encode_text(text)
    assert all(tokenizer.is_text(token) for token in tokens)
    assert tokenizer.text_tokens(tokens) == tokens
    assert tokenizer.detokenize(tokens) == text
    assert bytes(chain.from_iterable(tokenizer.token_bytes(token) for token in tokens)) == text.encode()


@pytest.mark.parametrize(
    "text", ["<|endoftext|>", "a<|startoftranscript|><|en|>b", "<|0.00|>", "<|nospeech|> <|startofprev|>"]
)
def test_special_tokens_in_user_text_are_characters(text: str) -> None:
    tokenizer = demo_tokenizer()
    tokens = tokenizer.previous_text(text, [text])
    assert all(tokenizer.is_text(token) for token in tokens)
    assert tokenizer.detokenize(tokens) == f" {text} {text}"


def test_special_and_timestamp_tokens_have_no_text() -> None:
    tokenizer = demo_tokenizer()
    special = tokenizer.special
    text_tokens = tokenizer.encode_text(" Hello")
    mixed = (special.timestamp_begin, *text_tokens, special.timestamp_begin + 50, special.endoftext)
    assert tokenizer.text_tokens(mixed) == text_tokens
    assert tokenizer.detokenize(mixed) == " Hello"


def test_timestamp_step_is_20_ms() -> None:
    tokenizer = demo_tokenizer()
    begin = tokenizer.special.timestamp_begin
    assert tokenizer.timestamp_s(begin) == 0
    assert tokenizer.timestamp_s(begin + 1500) == pytest.approx(30)
    assert tokenizer.timestamp_s(begin - 1) is None
    assert tokenizer.timestamp_s(17) is None


def test_previous_text_keeps_its_end_and_keywords() -> None:
    tokenizer = demo_tokenizer()
    prompt = " ".join(f"word{n}" for n in range(400))
    tokens = tokenizer.previous_text(prompt, ["Kubernetes", " ", "  Zürich "])
    assert len(tokens) == MAX_PREVIOUS_TOKENS
    text = tokenizer.detokenize(tokens)
    assert text.endswith("word398 word399 Kubernetes, Zürich")
    assert "word0 " not in text


@pytest.mark.parametrize(("prompt", "keywords"), [("", ()), ("  \n", ("", " "))])
def test_previous_text_of_nothing_is_empty(prompt: str, keywords: tuple[str, ...]) -> None:
    assert demo_tokenizer().previous_text(prompt, keywords) == ()


@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_previous_text_is_never_too_long_nor_special(prompt: str, keywords: list[str]) -> None:
    tokenizer = demo_tokenizer()
    tokens = tokenizer.previous_text(prompt * 20, keywords)
    assert len(tokens) <= MAX_PREVIOUS_TOKENS
    assert all(tokenizer.is_text(token) for token in tokens)


@pytest.mark.parametrize("token", ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"])
def test_tokenizer_without_required_token_is_refused(token: str) -> None:
    with pytest.raises(StartError, match=r"MODEL_ID: .*set it to another model") as refusal:
        tokenizer_like_demo(rename(token, "<|gone|>"))
    assert token in str(refusal.value)


def test_only_multilingual_model_needs_task_tokens() -> None:
    with pytest.raises(StartError, match="MODEL_ID"):
        tokenizer_like_demo(rename("<|translate|>", "<|gone|>"))
    tokenizer_like_demo(rename("<|translate|>", "<|gone|>"), is_multilingual=False)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"model": 3}'])
def test_missing_or_damaged_tokenizer_file_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(StartError, match=r"^MODEL_ID: .*tokenizer\.json.*(set|put)") as refusal:
        WhisperTokenizer.from_folder(tmp_path, is_multilingual=True)
    assert "\n" not in str(refusal.value)
