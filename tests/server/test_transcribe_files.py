"""`whisper-server transcribe` as a process of its own, on the demo model: what it writes, says and leaves behind."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from server_kit.process import DEMO_MODEL, REPOSITORY
from speech_kit.recordings import join
from speech_kit.scores import word_errors
from speech_kit.sentences import spoken
from speech_kit.sounds import silence, wav
from whisper_server.transcribe_files.output import write_whole
from whisper_server.transcribe_files.plan import output_paths

ENGLISH = join([spoken("en", index) for index in range(6)], seed=1)
GERMAN = join([spoken("de", index) for index in range(3)], seed=2)
RIGHT_TEXT = 0.2
"""Shows which recording a text belongs to; how good the words are is measured through the API, on many more."""


@dataclass(frozen=True)
class Ended:
    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    python_path = os.pathsep.join(
        [*(str(REPOSITORY / part) for part in ("runtime", "server")), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    cache = tmp_path_factory.mktemp("models")
    return os.environ | {"PYTHONPATH": python_path, "MODEL_ID": str(DEMO_MODEL), "MODEL_CACHE_DIR": str(cache)}


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """a/talk.wav in English, b/talk.wav in German, silence.wav, and one that is no recording."""
    for name, samples in {
        "a/talk.wav": ENGLISH.samples,
        "b/talk.wav": GERMAN.samples,
        "silence.wav": silence(3),
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(wav(samples))
    (tmp_path / "broken.mp3").write_bytes(b"this is no recording" * 100)
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "whisper_server", "transcribe", *arguments]


def transcribe(environ: dict[str, str], folder: Path, *arguments: str) -> Ended:
    ended = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def files_under(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_subtitles_of_all_files_but_the_bad_ones(environ: dict[str, str], recordings: Path) -> None:
    before = files_under(recordings)
    ended = transcribe(
        environ, recordings, "a/talk.wav", "missing.wav", "broken.mp3", "b/talk.wav", "silence.wav", "a",
        "--format", "srt", "--output-dir", "new/out",
    )  # fmt: skip
    assert ended.exit_code == 1
    assert ended.stdout == ""
    assert "missing.wav: No such file" in ended.stderr
    assert "broken.mp3: The file is not audio" in ended.stderr
    assert re.search(r"a: .*directory", ended.stderr)
    assert "Traceback" not in ended.stderr
    assert files_under(recordings) - before == {"new/out/talk.srt", "new/out/talk-2.srt", "new/out/silence.srt"}
    for name, recording in (("talk.srt", ENGLISH), ("talk-2.srt", GERMAN)):
        lines = (recordings / "new/out" / name).read_text(encoding="utf-8").splitlines()
        assert word_errors([recording.text], [" ".join(lines[2::4])]).rate <= RIGHT_TEXT
    assert (recordings / "new/out/silence.srt").read_text() == ""


def test_stdout_has_only_the_transcripts_in_order_of_files(environ: dict[str, str], recordings: Path) -> None:
    ended = transcribe(environ, recordings, "a/talk.wav", "silence.wav", "b/talk.wav")
    assert (ended.exit_code, ended.stderr) == (0, "")
    english, nothing, german, end = ended.stdout.split("\n")
    assert (nothing, end) == ("", "")
    assert word_errors([ENGLISH.text], [english]).rate <= RIGHT_TEXT
    assert word_errors([GERMAN.text], [german]).rate <= RIGHT_TEXT


def test_command_line_options_are_those_of_a_form(environ: dict[str, str], recordings: Path) -> None:
    ended = transcribe(
        environ, recordings, "b/talk.wav", "--format", "verbose_json", "--word-timestamps", "--language", "German",
        "--voice-activity", "--prompt", "Moral", "--keyword", "Kant", "--temperature", "0",
    )  # fmt: skip
    assert ended.exit_code == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert answer["language"] == "german"
    assert answer["segments"]
    assert len(answer["words"]) == pytest.approx(len(GERMAN.text.split()), abs=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a/talk.wav", "--language", "klingon"], "language: unknown language"),
        (["a/talk.wav", "--temperature", "2"], "temperature"),
        (["a/talk.wav", "--keyword", "<|endoftext|>"], "keyword"),
        (["a/talk.wav", "--format", "srt", "--word-timestamps"], "--word-timestamps needs --format verbose_json"),
        (["a/talk.wav", "b/talk.wav", "--format", "vtt"], "need --output-dir"),
        (["a/talk.wav", "--format", "docx"], "invalid choice"),
        (["a/talk.wav", "--output-dir", "/proc/none"], "--output-dir /proc/none cannot be written to"),
        (["a/talk.wav", "--output-dir", "broken.mp3"], "--output-dir broken.mp3 cannot be written to"),
        ([], "FILE"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(
    environ: dict[str, str], recordings: Path, arguments: list[str], message: str
) -> None:
    ended = transcribe(environ, recordings, *arguments)
    assert ended.exit_code == 2
    assert message in ended.stderr
    assert ended.stdout == ""


def test_an_input_is_never_overwritten(environ: dict[str, str], recordings: Path) -> None:
    named_like_output = recordings / "talk.txt"
    named_like_output.write_bytes(wav(GERMAN.samples))
    ended = transcribe(environ, recordings, "a/talk.wav", "talk.txt", "--output-dir", ".")
    assert ended.exit_code == 1
    assert "a/talk.wav: its transcript would overwrite the input talk.txt" in ended.stderr
    assert named_like_output.read_bytes() == wav(GERMAN.samples)
    assert word_errors([GERMAN.text], [(recordings / "talk-2.txt").read_text(encoding="utf-8")]).rate <= RIGHT_TEXT


def test_unwritable_output_is_named(environ: dict[str, str], recordings: Path) -> None:
    (recordings / "talk.txt").mkdir()
    ended = transcribe(environ, recordings, "a/talk.wav", "--output-dir", ".")
    assert ended.exit_code == 1
    assert "a/talk.wav: its transcript cannot be written to talk.txt: Is a directory" in ended.stderr


def test_a_bar_counts_the_seconds_of_all_files(environ: dict[str, str], recordings: Path) -> None:
    """On a terminal only: the other tests see that stderr stays empty without one."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    ended = subprocess.run(
        command("a/talk.wav", "b/talk.wav"),
        cwd=recordings,
        env=environ,
        stderr=theirs,
        stdout=subprocess.PIPE,
        check=True,
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:
        pass  # Linux says so at the end of a terminal
    os.close(ours)
    seconds = round(ENGLISH.duration_s + GERMAN.duration_s)
    assert "100%|" in shown.decode()
    assert f"{seconds}/{seconds} s of sound" in shown.decode()
    assert ended.stdout.count(b"\n") == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_leaves_no_half_file(
    environ: dict[str, str], recordings: Path, number: signal.Signals
) -> None:
    long = wav(join([spoken("en", index % 40) for index in range(300)], seed=3).samples)
    (recordings / "long.wav").write_bytes(long)
    before = files_under(recordings)
    process = subprocess.Popen(
        command("silence.wav", "long.wav", "--output-dir", "out"),
        cwd=recordings, env=environ, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    deadline_s = time.monotonic() + 120
    while not (recordings / "out/silence.txt").exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    os.killpg(process.pid, number)  # as a terminal does: to the decoding processes too
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert b"Traceback" not in stderr
    assert files_under(recordings) - before == {"out/silence.txt"}
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_output_names_do_not_collide() -> None:
    sources = [Path(name) for name in ("a/x.wav", "b/x.mp3", "x-2.wav", "X.wav", "y", ".hidden", "z.tar.gz")]
    outputs = output_paths(sources, Path("out"), ".srt")
    assert [str(output) for output in outputs] == [
        "out/x.srt", "out/x-2.srt", "out/x-2-2.srt", "out/X-3.srt", "out/y.srt", "out/.hidden.srt", "out/z.tar.srt",
    ]  # fmt: skip
    assert output_paths(sources, None, ".srt") == [None] * len(sources)


def test_a_file_is_replaced_completely_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.srt"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    (tmp_path / "folder.srt").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "folder.srt", b"three")
    assert files_under(tmp_path) == {"new/x.srt"}
