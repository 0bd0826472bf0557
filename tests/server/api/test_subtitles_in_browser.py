"""Readable subtitles as a browser's `<track>` reads them: every cue, with its voice and its marked word."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from whisper_server.api.formats import to_vtt
from whisper_server.api.subtitles.limits import CueShape
from whisper_server.whisper.transcript import Segment, Task, Transcript, Word

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGE = """<!doctype html><video><track default></video><pre></pre><script>
const track = document.querySelector("track");
track.onload = () => {
  document.querySelector("pre").textContent = JSON.stringify([...track.track.cues].map((cue) =>
    [Math.round(cue.startTime * 1000), Math.round(cue.endTime * 1000), cue.getCueAsHTML().textContent,
     new XMLSerializer().serializeToString(cue.getCueAsHTML())]));
};
track.onerror = () => { document.querySelector("pre").textContent = "error"; };
track.track.mode = "hidden";
track.src = URL.createObjectURL(new Blob([SUBTITLES], {type: "text/vtt"}));
</script>"""
TEXTS = {
    "Ann & <Co>": "Hello & good morning, this is <Ann> from New York --> and we have 20 000 apples for you to buy today.",
    "channel_1": "今日はコンピューターを買いました、 とても高かったです。",
}


def transcript() -> Transcript:
    segments = []
    for number, (speaker, text) in enumerate(TEXTS.items()):
        words = tuple(
            Word(word, 10 * number + 0.4 * index, 10 * number + 0.4 * (index + 1), 0.9)
            for index, word in enumerate(text.split())
        )
        segments.append(
            Segment(number, 0, words[0].start_s, words[-1].end_s, f" {text}", (), 0, -0.2, 1.1, 0.01, words, speaker)
        )
    return Transcript(Task.TRANSCRIBE, ("en",), 20.0, "", tuple(segments))


@pytest.mark.before_release(because="a browser takes seconds of CPU, and ffmpeg reads the same files in every run")
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("shape", [None, CueShape(max_line_count=2), CueShape(highlight_words=True)])
def test_browser_has_every_cue(tmp_path: Path, shape: CueShape | None) -> None:
    assert CHROMIUM is not None
    written = to_vtt(transcript(), shape)
    page = tmp_path / "page.html"
    subtitles = json.dumps(written).replace("<", "\\u003c")
    page.write_text(PAGE.replace("SUBTITLES", subtitles), encoding="utf-8")
    shown = subprocess.run(
        [
            *[CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"],
            *["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=20000"],
            *[f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        ],
        capture_output=True,
        check=True,
        timeout=120,
    ).stdout.decode()
    match = re.search("<pre>(.*?)</pre>", shown, re.DOTALL)
    assert match is not None
    cues = json.loads(html.unescape(match[1]))
    blocks = [block.split("\n", 1) for block in written.removeprefix("WEBVTT\n\n").split("\n\n")[:-1]]
    assert len(cues) == len(blocks)
    for (_, _, text, markup), (_, block) in zip(cues, blocks, strict=True):
        assert text == html.unescape(re.sub(r"</?u>|<v [^>]*>", "", block))
        assert ("<u>" in block) == ("<u" in markup)
        assert html.unescape(block.split(">")[0].removeprefix("<v ")) in TEXTS
    assert [start for start, *_ in cues] == sorted(start for start, *_ in cues)
