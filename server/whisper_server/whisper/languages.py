"""The languages of Whisper: code, full name, and the aliases that clients use.

Inside the server a language is always a Whisper code ("en", "yue"). Names appear only at the edges: in requests,
and as `language` in verbose_json. The tokenizer knows which languages a model supports.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from whisper_runtime.languages import NAME_OF_CODE

CODE_OF_ALIAS: Mapping[str, str] = MappingProxyType(
    {
        "burmese": "my",
        "valencian": "ca",
        "flemish": "nl",
        "haitian": "ht",
        "letzeburgesch": "lb",
        "pushto": "ps",
        "panjabi": "pa",
        "moldavian": "ro",
        "moldovan": "ro",
        "sinhalese": "si",
        "castilian": "es",
        "mandarin": "zh",
        # Not in openai/whisper: names and codes that BCP-47 tags and operating systems use for the same languages.
        "filipino": "tl",
        "farsi": "fa",
        "bokmål": "no",
        "cmn": "zh",
        "fil": "tl",
        "in": "id",
        "iw": "he",
        "ji": "yi",
        "jv": "jw",
        "mo": "ro",
        "nb": "no",
    }
)
"""Other names and codes of the same languages."""

WRITTEN_WITHOUT_SPACES: frozenset[str] = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Their words are not separated by spaces (the list of openai/whisper)."""

_CODE_OF_NAME: Mapping[str, str] = MappingProxyType({name: code for code, name in NAME_OF_CODE.items()})


def parse_language(text: str) -> str | None:
    """The Whisper code of `text`, or None if it is not a language of Whisper.

    Accepts a code ("en"), a name ("Haitian Creole"), an alias ("Flemish") or a BCP-47 tag, whose script and
    region are ignored ("en-US", "zh_Hans"). Case does not matter.
    """
    name = " ".join(text.split()).lower()
    tag = name.replace("_", "-")
    if tag == "zh-yue" or tag.startswith("zh-yue-"):  # an older BCP-47 tag of Cantonese
        return "yue"
    primary, has_subtags, subtags = tag.partition("-")
    if not has_subtags:
        return _known(name)
    if len(primary) > 3 or not all(_is_subtag(subtag) for subtag in subtags.split("-")):
        return None  # "english-us" is neither a name nor a tag
    return _known(primary)


def language_name(code: str) -> str:
    """The full lower-case name, as in verbose_json; an unknown code is returned unchanged."""
    return NAME_OF_CODE.get(code, code)


def after_text(text: str, language: str) -> str:
    """`text`, to be appended to other text: it starts with a space if `language` separates its words with spaces."""
    needs_space = text and language not in WRITTEN_WITHOUT_SPACES and not text.startswith(" ")
    return f" {text}" if needs_space else text


def _known(text: str) -> str | None:
    if text in NAME_OF_CODE:
        return text
    return _CODE_OF_NAME.get(text) or CODE_OF_ALIAS.get(text)


def _is_subtag(text: str) -> bool:
    return 1 <= len(text) <= 8 and text.isascii() and text.isalnum()
