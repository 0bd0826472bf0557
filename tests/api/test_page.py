"""The page at `/` in Chromium: a file, a microphone that is a file, refusals, keyboard, phone and dark."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import soundfile
from playwright.async_api import Browser, expect

from page_kit.browsing import CHROMIUM, WAIT_MS, Visit, browser, visit
from server_kit.process import REPOSITORY, StartServer
from speech_kit.espeak import SAMPLE_RATE_HZ
from speech_kit.scores import word_errors
from speech_kit.sentences import said, spoken
from speech_kit.sounds import silence, wav

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.on_ctranslate2(because="the page does not depend on the engine"),
]
CLIP = REPOSITORY / "demo" / "clip.wav"
SAID = "The quick brown fox jumps over the lazy dog."
KEY = "key-of-the-page"
later = pytest.mark.before_release(because="each visit costs a second or two of CPU")
PHONE = {"width": 360, "height": 640}
CONTROLS = ["file", "talk", "language", "channels", "wave", "audio", "copy", "txt", "srt", "vtt", "json", "time"]
"""In the order of the Tab key, while a transcript is shown; `audio` has several of its own."""


@pytest.fixture(scope="module")
def url_with_keys(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    keys = tmp_path_factory.mktemp("keys")
    (keys / "page").write_text(KEY)
    with start_server({"API_KEYS_DIR": str(keys), "ROOT_PATH": "/speech"}) as server:
        yield server.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    microphone = tmp_path_factory.mktemp("microphone") / "speech.wav"
    # A microphone is open before somebody speaks.
    microphone.write_bytes(wav(np.concatenate([silence(0.8), said(SAID).samples, silence(60)])))
    async with browser(microphone) as started:
        yield started


async def checked(chromium: Browser, url: str) -> AsyncIterator[Visit]:
    async with visit(chromium, url) as visited:
        yield visited
        assert visited.complaints == []
        assert visited.elsewhere(url) == set()


@pytest_asyncio.fixture(loop_scope="module")
async def page(chromium: Browser, base_url: str) -> AsyncIterator[Visit]:
    """Of the shared server, which needs no key."""
    async for visited in checked(chromium, base_url):
        yield visited


@pytest_asyncio.fixture(loop_scope="module")
async def page_with_key(chromium: Browser, url_with_keys: str) -> AsyncIterator[Visit]:
    async for visited in checked(chromium, url_with_keys):
        yield visited


async def with_transcript(page: Visit) -> None:
    """The clip's transcript is on the page."""
    await page.at("#file").set_input_files(CLIP)
    await expect(page.at("#result")).to_be_visible(timeout=WAIT_MS)


async def saved(page: Visit, kind: str) -> str:
    async with page.page.expect_download() as download:
        await page.at(f"[data-download={kind}]").click()
    assert (await download.value).suggested_filename == f"clip.{kind}"
    return Path(await (await download.value).path()).read_text()


async def test_file_becomes_words_that_follow_the_sound(page: Visit) -> None:
    await with_transcript(page)
    words = await page.at("#transcript .word").all_inner_texts()
    assert " ".join(words) == SAID
    await expect(page.at("#wave")).to_be_visible()

    await page.at("#transcript .word", has_text="over").click()
    await expect(page.at("#transcript .word.here", has_text="over")).to_be_visible()
    assert 0.9 < await page.at("audio").evaluate("audio => audio.currentTime") < 2.9
    await expect(page.at("#transcript .word.here", has_text="dog")).to_be_visible()


@later
async def test_transcript_can_be_copied_and_downloaded(page: Visit) -> None:
    await with_transcript(page)
    assert await saved(page, "txt") == f"{SAID}\n"
    srt, vtt = await saved(page, "srt"), await saved(page, "vtt")
    assert srt.startswith("1\n00:00:00,")
    assert vtt.startswith("WEBVTT\n\n00:00:00.")
    assert SAID in srt
    assert SAID in vtt
    answer = json.loads(await saved(page, "json"))
    assert [word["word"] for word in answer["words"]] == SAID.split()
    await page.at("#copy").click()
    await expect(page.at("#status")).to_have_text("Copied.")
    assert await page.at("body").evaluate("() => navigator.clipboard.readText()") == f"{SAID}\n"


async def talked(page: Visit) -> None:
    """The microphone's words come, and then its recording."""
    await page.at("#talk").click()
    await expect(page.at("#transcript p")).to_contain_text("dog", timeout=WAIT_MS)
    await page.at("#talk").click()
    await expect(page.at("#wave")).to_be_visible(timeout=WAIT_MS)
    await expect(page.at("#talk")).to_have_text("Talk")
    heard = await page.at("#transcript p").all_inner_texts()
    # Chromium's own gain is on it: a word may differ.
    assert word_errors([SAID], [" ".join(heard)]).rate <= 0.25
    await expect(page.at("#error")).to_be_hidden()


async def test_microphone_becomes_words_and_a_recording(page: Visit) -> None:
    await expect(page.at("#key")).to_be_hidden()
    await talked(page)


@later
async def test_file_can_be_dropped_and_cancelled(page: Visit) -> None:
    data = await page.at("body").evaluate_handle(
        "(_, bytes) => { const data = new DataTransfer(); "
        "data.items.add(new File([new Uint8Array(bytes)], 'clip.wav', {type: 'audio/wav'})); return data }",
        list(CLIP.read_bytes()),
    )
    await page.at("#drop").dispatch_event("drop", {"dataTransfer": data})
    await page.at("#cancel").click()
    await expect(page.at("#status")).to_have_text("Cancelled.")
    await page.at("#drop").dispatch_event("drop", {"dataTransfer": data})
    await expect(page.at("#transcript .word").last).to_have_text("dog.", timeout=WAIT_MS)


@later
async def test_channels_are_speakers_with_words_of_their_own(page: Visit) -> None:
    first, second = spoken("en", 0), spoken("en", 3)
    left = np.concatenate([first.samples, silence(1), np.zeros_like(second.samples)])
    right = np.concatenate([np.zeros_like(first.samples), silence(1), second.samples])
    sound = io.BytesIO()
    soundfile.write(sound, np.stack([left, right], axis=1), SAMPLE_RATE_HZ, format="wav")
    await page.page.get_by_label("Each channel is a speaker").check()
    await page.at("#file").set_input_files({"name": "a.wav", "mimeType": "audio/wav", "buffer": sound.getvalue()})
    await expect(page.at("#transcript .speaker")).to_have_text(["channel_0", "channel_1"], timeout=WAIT_MS)
    for number, said_there in enumerate((first, second)):
        words = await page.at("#transcript li").nth(number).locator(".word").all_inner_texts()
        assert word_errors([said_there.text], [" ".join(words)]).rate <= 0.2


@later
async def test_key_opens_file_and_microphone(page_with_key: Visit) -> None:
    await page_with_key.page.get_by_label("Key").fill(KEY)
    await with_transcript(page_with_key)
    await talked(page_with_key)


@later
async def test_wrong_key_is_refused_in_the_servers_words(page_with_key: Visit) -> None:
    page = page_with_key
    await page.at("#key").fill("key-of-somebody-else")
    await page.at("#file").set_input_files(CLIP)
    await expect(page.at("#error")).to_contain_text("Incorrect API key provided", timeout=WAIT_MS)
    await page.at("#key").fill("")
    await page.at("#talk").click()
    await expect(page.at("#error")).to_contain_text("You didn't provide an API key", timeout=WAIT_MS)
    await expect(page.at("#talk")).to_be_enabled()


@later
async def test_end_of_the_server_is_said_in_its_words(chromium: Browser, start_server: StartServer) -> None:
    with start_server({}) as server:
        async with visit(chromium, server.url) as page:
            await page.at("#talk").click()
            await expect(page.at("#transcript p")).to_contain_text("dog", timeout=WAIT_MS)
            server.terminate()
            await expect(page.at("#error")).to_contain_text("The server is shutting down", timeout=WAIT_MS)
            await expect(page.at("#talk")).to_have_text("Talk")
            await expect(page.at("#transcript p")).to_contain_text("dog")
            # A second SIGTERM, while the process ends, would be its end.
            await asyncio.to_thread(server.popen.wait, WAIT_MS / 1000)


@later
async def test_key_is_kept_in_this_tab_only(page_with_key: Visit) -> None:
    page = page_with_key
    await page.at("#key").fill(KEY)
    await page.page.reload()
    await expect(page.at("#key")).to_have_value(KEY)
    assert await page.at("body").evaluate("() => localStorage.length + document.cookie.length") == 0


async def test_bad_file_is_refused_in_the_servers_words(page: Visit) -> None:
    await page.at("#file").set_input_files({"name": "a.mp3", "mimeType": "audio/mpeg", "buffer": b"no sound" * 99})
    await expect(page.at("#error")).to_contain_text("audio", timeout=WAIT_MS)
    await expect(page.at("#wave")).to_be_hidden()


async def test_keyboard_reaches_every_control(page: Visit) -> None:
    await with_transcript(page)
    reached: list[str] = []
    await page.at("h1").click()
    for _ in range(40):
        await page.page.keyboard.press("Tab")
        # Not `:focus`, which does not know the parts of the audio element.
        name, ring = await page.at("body").evaluate(
            "() => { const it = document.activeElement; return [it.id || it.dataset.download || it.className, "
            "getComputedStyle(it.id === 'file' ? it.parentElement : it).outlineStyle] }"
        )
        assert name == "audio" or ring != "none", f"{name} shows no focus"
        if name == "time":
            reached.append(name)
            break
        reached += [name] if name and name not in reached else []
    assert reached == CONTROLS
    await page.page.keyboard.press("ArrowRight")
    await page.page.keyboard.press("ArrowRight")
    await expect(page.at(":focus")).to_have_text("quick")
    await page.page.keyboard.press("Enter")
    await expect(page.at("#transcript .word.here")).to_be_visible()


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=later), "dark"])
async def test_phone_shows_everything_in_light_and_dark(chromium: Browser, base_url: str, scheme: str) -> None:
    async with visit(chromium, base_url, viewport=PHONE, color_scheme=scheme, has_touch=True) as page:
        await with_transcript(page)
        width = await page.at("html").evaluate("html => html.scrollWidth")
        assert width <= PHONE["width"]
        ground = await page.at("body").evaluate("body => getComputedStyle(body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 21, 28)"}[scheme]
        for control in await page.at("button:visible, select:visible, input:visible").all():
            box = await control.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE["width"]
