"""The model's own tokenizer, and the prompt tokens of a window.

Special tokens are found by name, because their ids differ between Whisper v1/v2, v3, `.en` and other checkpoints.
Text from users never becomes a special token. The model and the logits rules are in the engines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from whisper_runtime.languages import NAME_OF_CODE
from whisper_server.errors import StartError
from whisper_server.whisper.constants import POSITION_S
from whisper_server.whisper.transcript import Task

MAX_PREVIOUS_TOKENS = 223
"""Maximum number of text tokens after `<|startofprev|>`: 448 / 2 − 1, as in openai/whisper's `decoding.py`."""


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the special tokens."""

    endoftext: int
    startoftranscript: int
    startofprev: int | None
    notimestamps: int
    nospeech: int | None
    tasks: Mapping[Task, int]
    languages: Mapping[str, int]
    """Language code → id, ordered by id."""

    @property
    def timestamp_begin(self) -> int:
        """Id of `<|0.00|>`. All models have the timestamps here, even if the tokenizer file does not list them."""
        return self.notimestamps + 1


class WhisperTokenizer:
    """Text ↔ tokens of one model."""

    def __init__(self, tokenizer: Tokenizer, *, is_multilingual: bool) -> None:
        """Raises StartError if a token is missing that every Whisper model has."""
        self._tokenizer = tokenizer
        self._text_tokenizer = _plain_text_tokenizer(tokenizer)
        self._texts: dict[int, str] = {}
        """Of single tokens, by which words are split: the tokenizer takes 5 µs for one, with 100 tokens half of all that their words
        take."""
        self._bytes: dict[int, tuple[int, ...]] = {}
        """Likewise, for the log-probabilities of each pass over a live window."""
        self.is_multilingual = is_multilingual
        self.special = _special_tokens(tokenizer)
        self._timestamp_begin = self.special.timestamp_begin  # asked of each token, several times
        if is_multilingual and not (self.special.languages and len(self.special.tasks) == len(Task)):
            raise StartError(
                "MODEL_ID: the model's tokenizer.json lacks the tokens of languages or tasks; "
                "set it to a Whisper checkpoint that has them"
            )

    @classmethod
    def from_folder(cls, folder: Path, *, is_multilingual: bool) -> WhisperTokenizer:
        """Read `tokenizer.json`. Raises StartError."""
        path = folder / "tokenizer.json"
        if not path.exists():
            raise StartError(
                f"MODEL_ID: {folder} has no tokenizer.json; put that of the original checkpoint there, "
                "or set it to another model"
            )
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            reason = " ".join(str(error).split())
            raise StartError(
                f"MODEL_ID: {path} is no tokenizer: {reason}; fetch it again, or set another model"
            ) from error
        return cls(tokenizer, is_multilingual=is_multilingual)

    def __reduce__(self) -> tuple[Any, ...]:
        """For other processes: the library's own pickle forgets `encode_special_tokens`."""
        return _from_document, (self._tokenizer.to_str(), self.is_multilingual)

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that the model supports."""
        return tuple(self.special.languages) if self.is_multilingual else ("en",)

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Tokens of plain text; `<|endoftext|>` in it is encoded as characters, not as the special token."""
        return tuple(self._text_tokenizer.encode(text, add_special_tokens=False).ids)

    def is_text(self, token: int) -> bool:
        """Whether the token is neither special nor a timestamp."""
        return token < self.special.endoftext

    def text_tokens(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The text tokens among `tokens`."""
        end = self.special.endoftext  # a local variable: this runs several times per window, on the event loop
        return tuple([token for token in tokens if token < end])

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Text of the text tokens among `tokens`."""
        if len(tokens) != 1:
            return self._decoded(tokens)
        if tokens[0] not in self._texts:
            self._texts[tokens[0]] = self._decoded(tokens)
        return self._texts[tokens[0]]

    def _decoded(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(self.text_tokens(tokens)))
        return text

    def token_bytes(self, token: int) -> tuple[int, ...]:
        """The bytes of a text token, which may be a part of a character."""
        if token not in self._bytes:
            characters = self._tokenizer.id_to_token(token) or ""
            self._bytes[token] = tuple(_BYTE_OF_CHARACTER[character] for character in characters)
        return self._bytes[token]

    def timestamp_s(self, token: int) -> float | None:
        """Seconds of a timestamp token; None for any other token."""
        steps = token - self._timestamp_begin
        return steps * POSITION_S if steps >= 0 else None

    def sot_sequence(self, language: str, task: Task) -> tuple[int, ...]:
        """`<|startoftranscript|>`, followed by language and task if the model is multilingual."""
        special = self.special
        if not self.is_multilingual:
            return (special.startoftranscript,)
        return (special.startoftranscript, special.languages[language], special.tasks[task])

    def previous_text(self, prompt: str, keywords: Sequence[str]) -> tuple[int, ...]:
        """Prompt and keywords as at most 223 text tokens; the beginning is cut off, so that the keywords remain."""
        spelled = ", ".join(keyword.strip() for keyword in keywords if keyword.strip())
        text = " ".join(part for part in (prompt.strip(), spelled) if part)
        return self.encode_text(" " + text)[-MAX_PREVIOUS_TOKENS:] if text else ()

    def prompt_tokens(
        self, language: str, task: Task, *, previous: Sequence[int], timestamps: bool
    ) -> tuple[tuple[int, ...], int]:
        """The decoder's prompt, and the number of its tokens from `<|startoftranscript|>` on."""
        task_tokens = self.sot_sequence(language, task)
        if not timestamps:
            task_tokens += (self.special.notimestamps,)
        startofprev = self.special.startofprev
        before = (startofprev, *previous) if previous and startofprev is not None else ()
        return (*before, *task_tokens), len(task_tokens)


def _from_document(document: str, is_multilingual: bool) -> WhisperTokenizer:
    return WhisperTokenizer(Tokenizer.from_str(document), is_multilingual=is_multilingual)


def _plain_text_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that finds no added token in a text, not even timestamps, which are not marked as special."""
    document = json.loads(tokenizer.to_str())
    for entry in document["added_tokens"]:
        entry["special"] = True
    copy = Tokenizer.from_str(json.dumps(document))
    copy.encode_special_tokens = True
    return copy


def _byte_of_character() -> dict[str, int]:
    """The character for each byte in byte-level BPE (openai/gpt-2's `bytes_to_unicode`)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF_CHARACTER = _byte_of_character()


def _special_tokens(tokenizer: Tokenizer) -> SpecialTokens:
    def required(name: str) -> int:
        token = tokenizer.token_to_id(name)
        if token is None:
            raise StartError(
                f"MODEL_ID: the model's tokenizer.json has no {name}, which every Whisper has; set it to another model"
            )
        return int(token)

    def optional(*names: str) -> int | None:
        found = (tokenizer.token_to_id(name) for name in names)
        return next((int(token) for token in found if token is not None), None)

    languages = {code: token for code in NAME_OF_CODE if (token := optional(f"<|{code}|>")) is not None}
    return SpecialTokens(
        endoftext=required("<|endoftext|>"),
        startoftranscript=required("<|startoftranscript|>"),
        startofprev=optional("<|startofprev|>"),
        notimestamps=required("<|notimestamps|>"),
        nospeech=optional("<|nospeech|>", "<|nocaptions|>"),
        tasks={task: token for task in Task if (token := optional(f"<|{task}|>")) is not None},
        languages=dict(sorted(languages.items(), key=lambda item: item[1])),
    )
