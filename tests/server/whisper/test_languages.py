"""Any code, name, alias or tag that a client sends becomes Whisper's code."""

from __future__ import annotations

import pytest

from whisper_runtime.languages import NAME_OF_CODE
from whisper_server.whisper.languages import (
    CODE_OF_ALIAS,
    WRITTEN_WITHOUT_SPACES,
    language_name,
    parse_language,
)


def test_all_100_languages_of_large_v3_are_listed() -> None:
    assert len(NAME_OF_CODE) == 100
    assert list(NAME_OF_CODE)[:5] == ["en", "zh", "de", "es", "ru"]
    assert list(NAME_OF_CODE.items())[-1] == ("yue", "cantonese")
    assert len(set(NAME_OF_CODE.values())) == 100
    assert all(name == name.lower() for name in NAME_OF_CODE.values())


@pytest.mark.parametrize("code", NAME_OF_CODE)
def test_code_and_name_give_same_language(code: str) -> None:
    assert parse_language(code) == code
    assert parse_language(code.upper()) == code
    assert parse_language(language_name(code)) == code
    assert parse_language(language_name(code).title()) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Flemish", "nl"),
        ("MANDARIN", "zh"),
        ("  haitian   creole ", "ht"),
        ("en-US", "en"),
        ("en_GB", "en"),
        ("zh-Hans", "zh"),
        ("zh-Hans-CN", "zh"),
        ("zh-yue-HK", "yue"),
        ("yue-HK", "yue"),
        ("haw-US", "haw"),
        ("iw", "he"),
        ("iw-IL", "he"),
        ("he-IL", "he"),
        ("jv", "jw"),
        ("nb-NO", "no"),
        ("nn-NO", "nn"),
        ("fil-PH", "tl"),
        ("sr-Latn", "sr"),
    ],
)
def test_aliases_and_tags_give_whisper_code(text: str, code: str) -> None:
    assert parse_language(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        "-en",
        "en-",
        "en--US",
        "xx",
        "klingon",
        "xx-US",
        "english-us",
        "e",
        "en-<|fr|>",
        "<|en|>",
        "en us",
        "İ",
    ],
)
def test_invalid_language_gives_none(text: str) -> None:
    assert parse_language(text) is None


def test_aliases_map_to_languages_and_shadow_none() -> None:
    assert set(CODE_OF_ALIAS.values()) <= set(NAME_OF_CODE)
    assert not set(CODE_OF_ALIAS) & (set(NAME_OF_CODE) | set(NAME_OF_CODE.values()))
    assert set(NAME_OF_CODE) >= WRITTEN_WITHOUT_SPACES


def test_name_of_unknown_code_is_the_code() -> None:
    assert language_name("xx") == "xx"
