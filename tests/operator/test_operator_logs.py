import io
import json
import logging
from collections.abc import Iterator

import pytest

from whisper_operator.logs import QUIET, configure_logging, hush


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)
    for name in ("kopf", "kubernetes", *QUIET):
        logging.getLogger(name).setLevel(logging.NOTSET)


def lines(log_format: str, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure_logging(log_format, level, stream)
    return stream


def test_json_log_has_one_object_per_line() -> None:
    stream = lines("json")
    logging.getLogger("whisper_operator.x").info("put back\nforged", extra={"fields": {"endpoint": "a/b\u2028"}})
    (line,) = stream.getvalue().splitlines()
    said = json.loads(line)
    assert said.pop("time").endswith("+00:00")
    assert said == {
        "level": "info",
        "logger": "whisper_operator.x",
        "message": "put back\nforged",
        "endpoint": "a/b\u2028",
    }


def test_text_log_escapes_line_breaks_of_users() -> None:
    stream = lines("text")
    logging.getLogger("whisper_operator.x").warning("put\nback", extra={"fields": {"name": "\x1b[31m"}})
    (line,) = stream.getvalue().splitlines()
    assert line.endswith("WARNING whisper_operator.x put\\nback name=\\x1b[31m")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_traceback_is_logged(log_format: str) -> None:
    stream = lines(log_format)
    try:
        print(1 / 0)
    except ZeroDivisionError:
        logging.getLogger("x").exception("failed")
    assert "ZeroDivisionError: division by zero" in stream.getvalue()


def test_request_logs_of_libraries_are_muted() -> None:
    stream = lines("text", "debug")
    logging.getLogger("kopf.objects").info("Handler 'pods' succeeded.")
    logging.getLogger("kopf._cogs.clients.api").error("Request attempt #1/9 failed; will retry: GET x -> y")
    logging.getLogger("kopf._core.reactor").debug("Starting the watch-stream")
    assert stream.getvalue() == ""
    logging.getLogger("kopf._cogs.clients.api").error("Request attempt #9/9 failed; escalating: GET x -> y")
    logging.getLogger("whisper_operator.x").debug("ours")
    assert len(stream.getvalue().splitlines()) == 2


def test_libraries_are_silent_during_shutdown() -> None:
    stream = lines("text")
    hush()
    logging.getLogger("kopf.anything").error("x")
    logging.getLogger("asyncio").error("Task was destroyed but it is pending!")
    logging.getLogger("whisper_operator.controller_manager").info("shutdown complete")
    assert len(stream.getvalue().splitlines()) == 1
