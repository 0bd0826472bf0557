"""Where a line or a cue may end: good places (ends of sentences, before conjunctions), bad ones, and those inside a number or a name.

Rules of thumb on the text alone, for any language; a place that they get wrong is no more than a break that reads less well.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from whisper_server.api.subtitles.pieces import Piece
from whisper_server.whisper.languages import WRITTEN_WITHOUT_SPACES

GLUED = 1000.0
"""Cost of a break that is made only where a line has no room."""
ANYWHERE = 8.0
_BEFORE_CONJUNCTION = 3.0
_AT_CLAUSE_END = 2.0
_AT_SEGMENT_END = 3.0
_AT_SENTENCE_END = 0.0

_SENTENCE_ENDS = ".!?。！？…؟।"
_CLAUSE_ENDS = ",;:、，；：،—–"
_CLOSING = "\"'”’»)]}」』）】》〉"
_OPENING = "\"'“‘«([{¿¡「『（【《〈„"
_NEVER_FIRST = _CLOSING + _SENTENCE_ENDS + _CLAUSE_ENDS + "・ーゝゞヽヾ々ぁぃぅぇぉっゃゅょァィゥェォッャュョ％"
"""The Japanese part: kinsoku, JIS X 4051."""
_CURRENCIES = "$€£¥₽₹¢"
_UNITS, _BEFORE_NUMBERS, _TITLES, _PARTICLES = (
    frozenset(words.split())
    for words in (
        "% ‰ ° °C °F km cm mm m kg g mg t l ml h min s ms kWh W kW MHz GHz MB GB am pm a.m. p.m.",
        "no. nr. nº n° № p. pp. § chapter page",
        "dr. mr. mrs. ms. prof. st. sr. sra. herr frau mme. m. г-н",
        "van von der den de del della di da dos du la le el al bin ibn ter ten zu of",
    )
)
_CONJUNCTIONS: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "and or but so because that which who when while where if though although than as until unless since",
        "de": "und oder aber denn weil dass daß ob wenn als während sondern damit obwohl bevor nachdem bis da",
        "es": "y e o u pero porque que cuando si aunque mientras sino como donde pues",
        "fr": "et ou mais car que qui quand si lorsque parce puisque comme donc où",
        "it": "e ed o ma perché che quando se mentre come dove anche però quindi",
        "pt": "e ou mas porque que quando se enquanto como onde embora pois",
        "nl": "en of maar want omdat dat als toen terwijl hoewel zodat voordat nadat",
        "pl": "i lub ale bo że kiedy gdy jeśli ponieważ oraz który która które",
        "ru": "и или но а что чтобы потому когда если хотя как где который которая которое",
        "uk": "і й та або але що щоб бо коли якщо хоча як де який яка яке",
        "ko": "그리고 그러나 하지만 그래서 또는 그런데",
    }.items()
}
_INITIAL = re.compile(r"\w\.(\w\.)*")
_NAME_START = re.compile(r"[^\W\d_]{2,}")


def cost_of_break(left: Piece, right: Piece, after: Piece | None, language: str) -> float:
    """How bad it is to end a line between `left` and `right`, before `after`: 0 is best, GLUED inside a number or a name."""
    if right.is_rest or _is_one_word(left, right, language):
        return GLUED
    if _is_one_number(left.text, right.text, has_space=right.has_space):
        return GLUED
    if _is_one_name(left.text, right.text, after.text if after else ""):
        return GLUED
    return _cost_by_marks(left, right, language)


def _cost_by_marks(left: Piece, right: Piece, language: str) -> float:
    end = left.text.rstrip(_CLOSING)[-1:]
    if end and end in _SENTENCE_ENDS:
        return _AT_SENTENCE_END
    if end and end in _CLAUSE_ENDS:
        return _AT_CLAUSE_END
    if left.ends_segment:
        return _AT_SEGMENT_END
    is_conjunction = right.text.lower() in _CONJUNCTIONS.get(language, ())
    return _BEFORE_CONJUNCTION if is_conjunction else ANYWHERE


def _is_one_word(left: Piece, right: Piece, language: str) -> bool:
    """No space between them, and no script that does without."""
    if right.has_space:
        return False
    return right.text[0] in _NEVER_FIRST or not _may_part(left.text[-1], right.text[0], language)


def _may_part(left: str, right: str, language: str) -> bool:
    """Whether a line may end between two characters without a space: in scripts that write none, outside of a foreign word."""
    if left in _OPENING or unicodedata.category(right).startswith("M"):
        return False
    kinds = {_kind(left), _kind(right)}
    if kinds & {"ideograph", "kana"}:
        return True
    return language in WRITTEN_WITHOUT_SPACES and kinds not in ({"katakana"}, {"foreign"})


def _kind(character: str) -> str:
    """The script, as far as it says where a line may end; letters and digits inside Chinese or Japanese are "foreign"."""
    name = unicodedata.name(character, "")
    if name.startswith(("CJK UNIFIED", "CJK COMPATIBILITY", "IDEOGRAPHIC")):
        return "ideograph"
    if name.startswith("KATAKANA"):
        return "katakana"
    if name.startswith("HIRAGANA"):
        return "kana"
    return "foreign" if character.isdigit() or name.startswith(("LATIN", "FULLWIDTH", "CYRILLIC")) else "other"


def _is_one_number(left: str, right: str, *, has_space: bool) -> bool:
    """Digits on both sides, or a number and what it counts in (in Chinese and Japanese, the character after it)."""
    inner = right.lstrip(_OPENING + "+-−")
    if left[-1].isdigit() and (inner[:1].isdigit() or _bare(right) in _UNITS or right[0] in _CURRENCIES + "%％"):
        return True
    if not has_space and left[-1].isdigit() and _kind(right[0]) == "ideograph":
        return True
    if not has_space and left[-1] in ".,:" and left[-2:-1].isdigit() and right[0].isdigit():
        return True
    return inner[:1].isdigit() and (left[-1] in _CURRENCIES or left.lower() in _BEFORE_NUMBERS)


def _is_one_name(left: str, right: str, after: str) -> bool:
    """Two words with capitals and no mark between them, a title or an initial and a name, or a particle inside a name."""
    if left.lstrip(_OPENING).lower() in _TITLES or _INITIAL.fullmatch(left.lstrip(_OPENING)):
        if _is_capital(right) or _INITIAL.fullmatch(right):
            return True
    elif left[-1] in _SENTENCE_ENDS + _CLAUSE_ENDS + _CLOSING:
        return False
    if _is_capital(left):
        return _is_capital(right) or (_bare(right) in _PARTICLES and _is_capital(after))
    return left in _PARTICLES and _is_capital(right)


def _is_capital(text: str) -> bool:
    match = _NAME_START.match(text.lstrip(_OPENING))
    return match is not None and match[0][0].isupper()


def _bare(text: str) -> str:
    return text.rstrip(_CLOSING + ",;:!?")
