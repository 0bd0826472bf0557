"""Forms that clients should not send, byte for byte: each gets its answer, and nothing of it stays."""

from __future__ import annotations

import pytest

from server_kit.api import Api
from server_kit.process import ServerProcess
from server_kit.raw import body_of, clip_form, exchange, head, part
from server_kit.refusals import check_error, check_heard, post

MAX_UPLOAD_BYTES = 2_000_000

pytestmark = [
    pytest.mark.usefixtures("nothing_stays"),
    pytest.mark.on_ctranslate2(because="it is refused before an engine sees it"),
]


def test_a_handwritten_form_is_transcribed(strict: ServerProcess, clip: bytes) -> None:
    check_heard(post(strict.port, clip_form(clip)))


def test_no_multipart(strict: ServerProcess) -> None:
    body = b'{"model": "whisper-1"}'
    request = head(None, more=["Content-Type: application/json", f"Content-Length: {len(body)}"]) + body
    check_error(exchange(strict.port, request), 400)


def test_no_boundary(strict: ServerProcess) -> None:
    request = head(None, more=["Content-Type: multipart/form-data", "Content-Length: 4"]) + b"abcd"
    check_error(exchange(strict.port, request), 400)


def test_no_file(strict: ServerProcess) -> None:
    check_error(post(strict.port, body_of(part("model", b"whisper-1"))), 400, param="file")


def test_an_empty_file(strict: ServerProcess) -> None:
    check_error(post(strict.port, clip_form(b"")), 400, param="file")


def test_two_files(strict: ServerProcess, clip: bytes) -> None:
    check_error(post(strict.port, clip_form(clip, part("file", clip, file_name="b.wav"))), 400, param="file")


@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\a\\b.wav", "x" * 4000, "\u202efile.wav", "a;b=c.wav"])
def test_a_file_name_changes_nothing(strict: ServerProcess, clip: bytes, name: str) -> None:
    check_heard(post(strict.port, body_of(part("model", b"whisper-1"), part("file", clip, file_name=name))))
    assert "etc/passwd" not in strict.log()


@pytest.mark.parametrize("name", ["a\x00b.wav", "a\x1b[31mb.wav", "a\rb.wav"])
def test_a_file_name_with_control_characters_is_malformed(strict: ServerProcess, clip: bytes, name: str) -> None:
    body = body_of(part("model", b"whisper-1"), part("file", clip, file_name=name))
    check_error(post(strict.port, body), 400, param="file")
    assert "\x1b[31m" not in strict.log()


def test_invalid_utf_8_in_a_field(strict: ServerProcess, clip: bytes) -> None:
    check_error(post(strict.port, clip_form(clip, part("prompt", b"\xff\xfe caf\xe9"))), 400, param="prompt")


def test_invalid_utf_8_in_a_field_name(strict: ServerProcess, clip: bytes) -> None:
    name = part("mod__", b"x").replace(b"mod__", b"mod\xff\xfe")
    check_error(post(strict.port, clip_form(clip, name)), 400, param="mod??")  # no lone surrogates


def test_a_thousand_fields(strict: ServerProcess, clip: bytes) -> None:
    fields = [part(f"field{index}", b"1") for index in range(1000)]
    check_error(post(strict.port, clip_form(clip, *fields)), 400)


def test_a_thousand_keywords(strict: ServerProcess, clip: bytes) -> None:
    fields = [part("keywords[]", f"word{index}".encode()) for index in range(1000)]
    answer = post(strict.port, clip_form(clip, *fields))
    assert answer.status in {200, 400}
    if answer.status == 400:
        check_error(answer, 400)


def test_a_field_of_ten_megabytes(strict_api: Api, clip: bytes) -> None:
    answer = strict_api.post(clip, prompt="a" * 10_000_000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "upload_too_large")


def test_a_field_of_one_megabyte(strict: ServerProcess, clip: bytes) -> None:
    check_error(post(strict.port, clip_form(clip, part("prompt", b"a" * 1_000_000))), 400, param="prompt")


def test_a_field_name_with_control_characters(strict: ServerProcess, clip: bytes) -> None:
    check_error(post(strict.port, clip_form(clip, part("mod\x1b[2Jel", b"x"))), 400)
    assert "\x1b[2J" not in strict.log()


def test_a_body_that_is_no_form_at_all(strict: ServerProcess) -> None:
    check_error(post(strict.port, b"\x00\xff" * 5000), 400)
