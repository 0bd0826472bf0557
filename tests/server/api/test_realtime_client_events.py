"""Sound in events is read in two ways, a quick one for what nearly all clients send: both take and refuse the same."""

from __future__ import annotations

import base64
import json

import pytest

from whisper_server.api.realtime_client_events import AppendAudio, EventRefused, parse_event

SOUND = bytes(range(256))
"""In base64 it has `+`, `/` and padding."""
BASE64 = base64.b64encode(SOUND).decode()
URL_SAFE = ("AAAA----", "____AAAA", "A" * 100 + "____", base64.urlsafe_b64encode(SOUND).decode())
APPEND = "input_audio_buffer.append"


@pytest.mark.parametrize("n_bytes", [0, 1, 2, 3, 254, 255, 256])
def test_sound_of_any_length(n_bytes: int) -> None:
    text = json.dumps({"type": APPEND, "audio": base64.b64encode(SOUND[:n_bytes]).decode()})
    assert parse_event(text) == AppendAudio(SOUND[:n_bytes])


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"audio": BASE64, "type": APPEND}),
        json.dumps({"type": APPEND, "audio": BASE64, "more": {"a_b": [1]}}, separators=(",", ":")),
        json.dumps({"type": APPEND, "audio": BASE64}).replace("/", r"\/"),
        json.dumps({"type": APPEND, "audio": BASE64}).replace("+", r"\u002b"),
    ],
    ids=["other order", "more fields", "escaped slashes", "escaped plus"],
)
def test_event_written_in_another_way(text: str) -> None:
    assert parse_event(text) == AppendAudio(SOUND)


def test_event_with_an_id() -> None:
    text = json.dumps({"type": APPEND, "audio": BASE64, "event_id": "event_1"})
    assert parse_event(text) == AppendAudio(SOUND, "event_1")


@pytest.mark.parametrize(
    "audio",
    [BASE64.rstrip("="), BASE64[:-4] + "AA=A", BASE64 + "\n", "é", None, 5, *URL_SAFE],
)
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_other_alphabets_are_refused(audio: object, ensure_ascii: bool) -> None:
    with pytest.raises(EventRefused) as refused:
        parse_event(json.dumps({"type": APPEND, "audio": audio}, ensure_ascii=ensure_ascii))
    assert refused.value.error.param == "audio"


@pytest.mark.parametrize("audio", URL_SAFE)
def test_alphabet_of_urls_in_escapes_is_refused(audio: str) -> None:
    text = json.dumps({"audio": audio}).replace("-", r"\u002d").replace("_", r"\u005f")
    with pytest.raises(EventRefused, match="base64"):
        parse_event(text.replace("{", f'{{"type": "{APPEND}", '))
