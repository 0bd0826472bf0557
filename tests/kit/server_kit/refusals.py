"""Whether an answer from a bare socket is what it should be: an error of OpenAI's shape, or the clip's words."""

from __future__ import annotations

import json

from server_kit.raw import RawAnswer, exchange, head
from speech_kit.scores import word_errors
from speech_kit.sentences import sentences


def post(port: int, body: bytes) -> RawAnswer:
    """A whole form to the transcriptions."""
    return exchange(port, head(len(body)) + body)


def check_error(answer: RawAnswer, status: int, *, param: str | None = None, code: str | None = None) -> None:
    error = answer.error
    assert answer.status == status, error
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-request-id"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    if param is not None:
        assert error["param"] == param
    if code is not None:
        assert error["code"] == code


def check_heard(answer: RawAnswer) -> None:
    """The words of the fixture `clip`."""
    assert answer.status == 200, answer.body
    assert word_errors([sentences("en")[0]], [json.loads(answer.body)["text"]]).n_edits <= 1
