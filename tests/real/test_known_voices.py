"""Known speakers by human voices: a call by telephone, and references that are no single voice."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from real_kit.speech import wav
from real_kit.voices import RATE_HZ, Sound, conversation, reference
from server_kit.api import Api

VOICES = ("it", "fr")


def known(names_and_sounds: Sequence[tuple[str, Sound]]) -> dict[str, Any]:
    urls = ["data:audio/wav;base64," + base64.b64encode(wav(sound, RATE_HZ)).decode() for _, sound in names_and_sounds]
    return {"known_speaker_names": [name for name, _ in names_and_sounds], "known_speaker_references": urls}


def test_voice_is_known_by_telephone_and_another_is_not(api: Api) -> None:
    talk = conversation(VOICES, 30, seed=5, phone=True)
    fields = known([("Carlo", reference("it", 1)), ("Absent", reference("menardi", 1))])
    answer = api.json(wav(talk.sound, RATE_HZ), response_format="diarized_json", language="it", **fields)
    assert {segment["speaker"] for segment in answer["segments"]} == {"Carlo", "A"}


@pytest.mark.parametrize("seed", [0, 1])
def test_reference_of_two_voices_is_refused_by_name(api: Api, seed: int) -> None:
    both = np.concatenate([reference(voice, seed)[: int(4.5 * RATE_HZ)] for voice in VOICES])
    talk = wav(reference("it", seed), RATE_HZ)
    fields = known([("Carlo", reference("it", seed)), ("Ann", both)])
    refused = api.post(talk, response_format="diarized_json", language="it", **fields)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "known_speaker_references")
    assert "'Ann' has 2 voices" in refused.json()["error"]["message"]
