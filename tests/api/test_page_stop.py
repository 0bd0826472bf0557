"""Stop on the page at `/` while events cross: the page shows all words that were spoken, no error, and a final status."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import expect

from page_kit.browsing import CHROMIUM, WAIT_MS, Visit, browser, visit
from page_kit.crossing import Crossing, Event
from speech_kit.scores import word_errors
from speech_kit.sentences import said
from speech_kit.sounds import silence, wav
from whisper_server.http import page as page_package

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.on_ctranslate2(because="the page does not depend on the engine"),
]
SAID = "The quick brown fox jumps over the lazy dog."
APPEND, COMMIT = "input_audio_buffer.append", "input_audio_buffer.commit"
STARTED = "input_audio_buffer.speech_started"
COMPLETED = "conversation.item.input_audio_transcription.completed"
ASSETS = Path(page_package.__file__).parent / "assets"
WORKLET_STAND = """source => {
  const told = [];
  let Worklet;
  class AudioWorkletProcessor { port = { postMessage: (data) => told.push(data && data.byteLength) }; }
  new Function("AudioWorkletProcessor", "registerProcessor", "sampleRate", source)(
    AudioWorkletProcessor, (_, made) => (Worklet = made), 24000);
  const worklet = new Worklet();
  worklet.process([[new Float32Array(3000)]]);
  worklet.port.onmessage({ data: "end" });
  worklet.port.onmessage({ data: "end" });
  return told;
}"""
NOTHING_TO_COMMIT = "input_audio_buffer_commit_empty"


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("microphone") / "speech.wav"
    path.write_bytes(wav(np.concatenate([silence(0.8), said(SAID).samples, silence(60)])))
    return path


@pytest_asyncio.fixture(loop_scope="module")
async def page(microphone: Path, base_url: str) -> AsyncIterator[Visit]:
    async with browser(microphone) as chromium, visit(chromium, base_url) as visited:
        yield visited
        assert visited.complaints == []


def turns(**rules: float) -> Event:
    """The event that has the server find turns by these rules."""
    detection = {"type": "server_vad", **rules}
    return {
        "type": "session.update",
        "session": {"type": "transcription", "audio": {"input": {"turn_detection": detection}}},
    }


async def start(page: Visit, crossing: Crossing) -> None:
    await crossing.lay(page.page)
    await page.at("#talk").click()
    await expect(page.at("#status")).to_contain_text("Listening", timeout=WAIT_MS)


async def stop(page: Visit) -> None:
    await page.at("#talk").click()
    await expect(page.at("#talk")).to_have_text("Talk", timeout=WAIT_MS)


async def shows_all_that_was_said(page: Visit) -> None:
    await expect(page.at("#error")).to_be_hidden()
    await expect(page.at("#status")).to_have_text("")
    shown = await page.at("#transcript p").all_inner_texts()
    # Chromium's own gain is on it: a word may differ.
    assert word_errors([SAID], [" ".join(shown)]).rate <= 0.25


async def test_stop_may_cross_the_end_of_the_turn(page: Visit) -> None:
    """The server ends the turn right before it gets the commit, and has nothing left to commit; the last words come later."""

    def ends_turn(event: Event) -> list[Event]:
        if event["type"] == COMMIT:
            return [turns(silence_duration_ms=500), event]
        return [event] if len(crossing.sent) > 1 else [turns(silence_duration_ms=60_000), event]

    crossing = Crossing(COMPLETED, "error", gets=ends_turn)
    await start(page, crossing)
    await expect(page.at("#transcript p")).to_contain_text("dog", timeout=WAIT_MS)
    await stop(page)
    assert [event["error"]["code"] for event in crossing.said if event["type"] == "error"] == [NOTHING_TO_COMMIT]
    await shows_all_that_was_said(page)


@pytest.mark.parametrize("heard", ["dog", "committed"], ids=["before-the-turns-end", "after-the-turns-end"])
async def test_stop_may_cross_the_beginning_of_the_turn(page: Visit, heard: str) -> None:
    """The page knows of no speech yet, however much there was."""
    crossing = Crossing(STARTED, COMMIT)
    await start(page, crossing)
    await crossing.until(lambda: any(heard in str(event.get("delta", event["type"])) for event in crossing.said))
    await stop(page)
    await shows_all_that_was_said(page)


async def test_stop_after_silence_says_that_no_speech_was_heard(page: Visit) -> None:
    def silent(event: Event) -> list[Event]:
        n_bytes = len(base64.b64decode(event["audio"])) if event["type"] == APPEND else 0
        return [event | {"audio": base64.b64encode(bytes(n_bytes)).decode()} if n_bytes else event]

    crossing = Crossing(gets=silent)
    await start(page, crossing)
    await crossing.until(lambda: len(crossing.sent) > 10)
    await stop(page)
    assert [event["transcript"] for event in crossing.said if event["type"] == COMPLETED] == [""]
    await expect(page.at("#error")).to_be_hidden()
    await expect(page.at("#status")).to_have_text("No speech was heard.")
    await expect(page.at("#result")).to_be_hidden()


async def test_words_that_the_voice_detector_misses_are_shown(page: Visit) -> None:
    """Deaf here, it begins no turn; the server hears the last sound at the commit."""

    def deafened(event: Event) -> list[Event]:
        return [event] if len(crossing.sent) > 1 else [turns(threshold=1, prefix_padding_ms=5_000), event]

    crossing = Crossing(gets=deafened)
    await start(page, crossing)
    await crossing.until(lambda: len(crossing.sent) > 45)
    await stop(page)
    assert not crossing.has(STARTED)
    await shows_all_that_was_said(page)


async def test_error_after_stop_leaves_no_status_that_waits(page: Visit) -> None:
    """A real one: the server gets an event that it does not know."""

    def with_nonsense(event: Event) -> list[Event]:
        if event["type"] == COMMIT:
            return [{"type": "nonsense"}, event]
        return [event] if len(crossing.sent) > 1 else [turns(silence_duration_ms=60_000), event]

    crossing = Crossing(gets=with_nonsense)
    await start(page, crossing)
    await expect(page.at("#transcript p")).not_to_be_empty(timeout=WAIT_MS)
    await stop(page)
    await expect(page.at("#error")).to_contain_text("nonsense")
    await expect(page.at("#status")).to_have_text("")


async def test_connection_that_breaks_after_stop_is_told(page: Visit) -> None:
    crossing = Crossing(gets=lambda event: [] if event["type"] == COMMIT else [event])
    await start(page, crossing)
    await expect(page.at("#transcript p")).not_to_be_empty(timeout=WAIT_MS)
    await page.at("#talk").click()
    await crossing.until(lambda: crossing.sent[-1]["type"] == COMMIT)
    await crossing.cut()
    await expect(page.at("#error")).to_contain_text("ended before its last words came (1011)", timeout=WAIT_MS)
    await expect(page.at("#talk")).to_have_text("Talk", timeout=WAIT_MS)


async def test_last_words_that_do_not_come_are_told(page: Visit) -> None:
    def uncommitted(event: Event) -> list[Event]:
        if event["type"] == COMMIT:
            return []
        return [event] if len(crossing.sent) > 1 else [turns(silence_duration_ms=60_000), event]

    crossing = Crossing(gets=uncommitted)
    await start(page, crossing)
    await expect(page.at("#transcript p")).not_to_be_empty(timeout=WAIT_MS)
    await page.at("#talk").click()
    await expect(page.at("#error")).to_contain_text("did not send the last words within 20 s", timeout=2 * WAIT_MS)
    await expect(page.at("#talk")).to_have_text("Talk", timeout=WAIT_MS)


async def test_stop_sends_what_is_there_of_a_piece(page: Visit) -> None:
    """The worklet with 0.125 s of sound at 24 kHz: 0.1 s goes at once, the rest at the end."""
    source = (ASSETS / "pcm_worklet.js").read_text()
    told = await page.page.evaluate(WORKLET_STAND, source)
    assert told == [4800, 1200, None, 0, None]
