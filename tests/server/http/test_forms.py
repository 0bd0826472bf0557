"""The form reader over a real socket: a tiny aiohttp app that reads a form and says what it read."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import multipart
import openai
import pytest
from aiohttp import web

from audio_kit.decoding import Budget
from whisper_runtime.choices import Timestamps
from whisper_server.api.options import Policy
from whisper_server.errors import ApiError
from whisper_server.http.forms import FormLimits, read_form
from whisper_server.http.loop_throttle import LoopThrottle
from whisper_server.whisper.transcript import Task

SOUND = bytes(range(256)) * 400
BOUNDARY = "xyz"
LIMITS = FormLimits(max_upload_bytes=1_000_000, upload_timeout_s=60.0)
FormPart = tuple[str, bytes]


@dataclass
class Server:
    """The app, and what a test may set or look at."""

    url: str = ""
    port: int = 0
    limits: FormLimits = LIMITS
    policy: Policy = field(default_factory=Policy)
    reservation: Budget = field(default_factory=lambda: Budget(10_000_000))
    throttle: LoopThrottle = field(default_factory=lambda: LoopThrottle(4))
    outcomes: list[object] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        task = Task.TRANSLATE if request.path == "/translations" else Task.TRANSCRIBE
        try:
            with await read_form(
                request, task, self.limits, self.policy, self.reservation, throttle=self.throttle
            ) as form:
                self.outcomes.append(form)
                content = os.pread(form.file.fileno(), form.file.n_bytes, 0)
                return web.json_response(
                    {
                        "file": base64.b64encode(content).decode(),
                        "model": form.model,
                        "options": asdict(form.options),
                        "response_format": form.response_format,
                        "stream": form.stream,
                        "granularities": form.granularities,
                    }
                )
        except ApiError as error:
            self.outcomes.append(error)
            return web.json_response(error.body(), status=error.status)
        except BaseException as error:
            self.outcomes.append(error)
            raise


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_post("/v1/audio/transcriptions", server.answer)
    app.router.add_post("/translations", server.answer)
    runner = web.AppRunner(app, handler_cancellation=True, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    server.url = f"http://127.0.0.1:{server.port}/v1/audio/transcriptions"
    yield server
    await runner.cleanup()


@pytest.fixture(autouse=True)
def nothing_leaks(server: Server) -> Iterator[None]:
    yield
    assert n_memory_files() == 0, "an upload was not freed"


def n_memory_files() -> int:
    return sum("memfd:upload" in str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink())


def part(name: str, value: str | bytes = b"", head: str = "") -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{head}\r\n\r\n'.encode() + content + b"\r\n"


def sound_part(content: bytes = SOUND) -> bytes:
    return part("file", content, '; filename="a.wav"\r\nContent-Type: audio/wav')


def body_of(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def form_body(*fields: tuple[str, str | bytes]) -> bytes:
    return body_of(sound_part(), part("model", "whisper-1"), *(part(name, value) for name, value in fields))


async def post(server: Server, body: Any, url: str = "", content_type: str = "") -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": content_type or f"multipart/form-data; boundary={BOUNDARY}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url or server.url, data=body, headers=headers) as response,
    ):
        return response.status, await response.json()


async def ask(server: Server, *fields: tuple[str, str | bytes], url: str = "") -> dict[str, Any]:
    status, answer = await post(server, form_body(*fields), url)
    assert status == 200, answer
    return answer


async def refusal(server: Server, body: Any, *, status: int = 400, **more: str) -> dict[str, Any]:
    found, answer = await post(server, body, **more)
    assert found == status, answer
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = answer["error"]
    return error


async def test_defaults(server: Server) -> None:
    answer = await ask(server)
    assert base64.b64decode(answer["file"]) == SOUND
    assert answer["model"] == "whisper-1"
    assert answer["response_format"] == "json"
    assert answer["stream"] is False
    assert answer["granularities"] == ["segment"]
    assert answer["options"] == {
        "task": "transcribe",
        "language": None,
        "languages": [],
        "prompt": "",
        "keywords": [],
        "temperature": None,
        "timestamps": False,
        "words": False,
        "cues": False,
        "logprobs": False,
        "condition_on_previous_text": None,
        "voice_activity": None,
        "multichannel": False,
        "speaker_names": [],
    }


class CountedThrottle(LoopThrottle):
    """Knows how often somebody came by."""

    def __init__(self) -> None:
        super().__init__(1)
        self.n_steps = 0

    async def acquire(self, n_left: int = sys.maxsize) -> None:
        self.n_steps += 1
        await super().acquire(n_left)


async def test_recording_is_read_in_throttled_pieces(server: Server) -> None:
    server.throttle = throttle = CountedThrottle()
    first, second = await asyncio.gather(ask(server), ask(server))
    assert base64.b64decode(first["file"]) == base64.b64decode(second["file"]) == SOUND
    n_bytes = 2 * len(SOUND)
    assert throttle.n_steps >= n_bytes / 65_536


VAD = {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("language", "de")], {"language": "de"}),
        ([("language", " German ")], {"language": "de"}),
        ([("language", "EN-us")], {"language": "en"}),
        ([("language", "auto")], {"language": None}),
        ([("language", ""), ("language", "de"), ("language", " ")], {"language": "de"}),
        ([("languages[]", "de"), ("languages[]", "french"), ("languages", "de")], {"languages": ["de", "fr"]}),
        ([("languages[0]", "de"), ("languages[1]", "fr")], {"languages": ["de", "fr"]}),
        ([("prompt", " <|endoftext|> Ünïcode\r\n")], {"prompt": " <|endoftext|> Ünïcode\r\n"}),
        ([("keywords[]", "Zürich"), ("keywords", "O'Neill, Ann")], {"keywords": ["Zürich", "O'Neill, Ann"]}),
        ([("keywords[]", ""), ("temperature", ""), ("chunking_strategy", "")], {"keywords": [], "temperature": None}),
        ([("temperature", "0")], {"temperature": 0.0}),
        ([("temperature", "0.35")], {"temperature": 0.35}),
        ([("include[]", "logprobs")], {"logprobs": True}),
        ([("include", "logprobs"), ("stream", "true")], {"logprobs": True}),
        ([("response_format", "srt")], {"timestamps": True, "words": False}),
        ([("response_format", "vtt")], {"timestamps": True}),
        ([("response_format", "text")], {"timestamps": False}),
        ([("response_format", "verbose_json")], {"timestamps": True, "words": False}),
        (
            [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")],
            {"timestamps": True, "words": True},
        ),
        ([("chunking_strategy", "auto")], {"voice_activity": VAD}),
        ([("condition_on_previous_text", "true")], {"condition_on_previous_text": True}),
        ([("condition_on_previous_text", "false")], {"condition_on_previous_text": False}),
        ([("chunking_strategy[type]", "server_vad")], {"voice_activity": VAD}),
        (
            [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[threshold]", "0.25")],
            {"voice_activity": VAD | {"threshold": 0.25}},
        ),
        (
            [("chunking_strategy", '{"type": "server_vad", "silence_duration_ms": 900}')],
            {"voice_activity": VAD | {"silence_duration_ms": 900}},
        ),
        ([("known_speaker_names[]", "")], {}),
        ([("hotwords", "x"), ("vad_filter", "true"), ("seed", "1"), ("vad_parameters[threshold]", "1")], {}),
        ([("translate", "false"), ("task", "transcribe"), ("diarize", "0")], {}),
    ],
)
async def test_fields_become_options(
    server: Server, fields: list[tuple[str, str]], expected: dict[str, object]
) -> None:
    options = (await ask(server, *fields))["options"]
    assert {key: options[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ([("langauge", "de")], "langauge", "Unknown field 'langauge'"),
        ([("language[]", "de")], "language[]", "Unknown field"),
        ([("a b[c]d", "de")], "a b[c]d", "Unknown field"),
        ([("language", "klingon")], "language", "de, "),
        ([("language", "e<n")], "language", "unknown language"),
        ([("language", "de"), ("languages[]", "fr")], "languages", "cannot be combined"),
        ([("languages[]", "de"), ("languages[]", "xx")], "languages", "'xx'"),
        ([("languages[]", "auto")], "languages", "leave the field out"),
        ([("language", "de"), ("language", "de")], "language", "more than once"),
        ([("model", "other")], "model", "more than once"),
        ([("keywords[]", "a<b")], "keywords", "without < and >"),
        ([("keywords[]", "fine"), ("keywords[]", "two\nlines")], "keywords", "one line"),
        ([("keywords[]", "trailing\r")], "keywords", "one line"),
        ([("temperature", "abc")], "temperature", "'abc'"),
        ([("temperature", "nan")], "temperature", "finite"),
        ([("temperature", "inf")], "temperature", "inf"),
        ([("response_format", "srt"), ("max_cps", "1e999")], "max_cps", "finite"),
        (
            [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[threshold]", "nan")],
            "chunking_strategy",
            "finite",
        ),
        ([("chunking_strategy", '{"type": "server_vad", "threshold": 1e999}')], "chunking_strategy", "finite"),
        ([("temperature", "1.1")], "temperature", "less than or equal to 1"),
        ([("temperature", "-0.1")], "temperature", "greater than or equal to 0"),
        ([("response_format", "xml")], "response_format", "'verbose_json'"),
        ([("known_speaker_names[]", "agent")], "known_speaker_names", "diarize=true"),
        ([("known_speaker_references[]", "data:,")], "known_speaker_references", "diarize=true"),
        ([("multichannel", "1"), *[("known_speaker_names[]", "Ann")] * 2], "known_speaker_names", "a name twice"),
        ([("multichannel", "1"), ("known_speaker_names[]", "<v>")], "known_speaker_names", "without < and >"),
        ([("multichannel", "1"), ("known_speaker_names[]", "x" * 65)], "known_speaker_names", "at most 64"),
        ([("multichannel", "1"), *[("known_speaker_names[]", str(n)) for n in range(9)]], "known_speaker_names", "8"),
        ([("multichannel", "1"), ("include[]", "logprobs")], "include", "cannot be combined with multichannel"),
        ([("multichannel", "1"), ("response_format", "rttm")], "response_format", "speaker per channel"),
        ([("multichannel", "yes")], "multichannel", "true or false"),
        ([("include[]", "usage")], "include", "logprobs"),
        ([("include[]", "logprobs"), ("response_format", "text")], "include", "response_format=json"),
        ([("timestamp_granularities[]", "word")], "timestamp_granularities", "verbose_json"),
        (
            [("response_format", "verbose_json"), ("timestamp_granularities[]", "word,segment")],
            "timestamp_granularities",
            "'word' or 'segment'",
        ),
        ([("stream", "true"), ("response_format", "srt")], "stream", "json, text or diarized_json"),
        ([("stream", "yes")], "stream", "true or false"),
        ([("chunking_strategy", "none")], "chunking_strategy", 'object such as {"type": "server_vad"}'),
        ([("chunking_strategy", "[" * 60_000)], "chunking_strategy", "use auto"),
        ([("chunking_strategy", '{"type": "server_vad", "threshold": 2}')], "chunking_strategy", "threshold"),
        ([("chunking_strategy", '{"type": "semantic_vad"}')], "chunking_strategy", "server_vad"),
        ([("chunking_strategy", '{"type": "server_vad", "x": 2}')], "chunking_strategy", "chunking_strategy.x"),
        ([("chunking_strategy", "auto"), ("chunking_strategy[type]", "server_vad")], "chunking_strategy", "once"),
        ([("translate", "true")], "translate", "/v1/audio/translations"),
        ([("diarize", "true")], "diarize", "no place for speakers"),
        ([("tinydiarize", "true")], "tinydiarize", "diarize=true"),
        ([("language", b"\xff\xfe")], "language", "UTF-8"),
        ([("prompt", b"\xc3")], "prompt", "UTF-8"),
        ([("prompt", "x" * 65_537)], "prompt", "longer than 65536"),
    ],
)
async def test_refused_fields(server: Server, fields: list[tuple[str, str | bytes]], param: str, said: str) -> None:
    error = await refusal(server, form_body(*fields))
    assert error["param"] == param
    assert said in error["message"]
    assert len(error["message"]) < 1000
    assert error["type"] == "invalid_request_error"


async def test_translations_take_the_language_spoken(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}/translations"
    answer = await ask(server, ("language", "ru"), ("translate", "true"), ("to_language", "en"), url=url)
    assert answer["options"]["task"] == "translate"
    assert answer["options"]["language"] == "ru"
    error = await refusal(server, form_body(("to_language", "de")), url=url)
    assert "English only" in error["message"]


@pytest.mark.parametrize(
    ("mode", "format_", "expected"),
    [
        (Timestamps.NONE, "srt", False),
        (Timestamps.NONE, "verbose_json", False),
        (Timestamps.SEGMENTS, "json", True),
        (Timestamps.AUTO, "json", False),
        (Timestamps.AUTO, "srt", True),
    ],
)
async def test_timestamps_setting_overrides_the_format(
    server: Server, mode: Timestamps, format_: str, expected: bool
) -> None:
    server.policy = Policy(timestamps=mode)
    assert (await ask(server, ("response_format", format_)))["options"]["timestamps"] is expected


async def test_words_do_not_need_timestamp_tokens(server: Server) -> None:
    server.policy = Policy(timestamps=Timestamps.NONE)
    fields = [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")]
    options = (await ask(server, *fields))["options"]
    assert (options["words"], options["timestamps"]) == (True, False)


async def test_language_force_overrides_the_request(server: Server) -> None:
    server.policy = Policy(language_force="fa")
    assert (await ask(server, ("language", "de")))["options"]["language"] == "fa"
    answer = await ask(server, ("languages[]", "de"))
    assert (answer["options"]["language"], answer["options"]["languages"]) == ("fa", [])


async def test_every_parameter_of_the_openai_client_arrives(server: Server) -> None:
    client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0)
    raw = await client.audio.transcriptions.with_raw_response.create(
        file=("a.wav", SOUND),
        model="whisper-1",
        response_format="verbose_json",
        languages=["de", "en"],
        prompt="Zürich",
        keywords=["Ann", "Bob"],
        temperature=0.5,
        timestamp_granularities=["word", "segment"],
        chunking_strategy={"type": "server_vad", "threshold": 0.7, "prefix_padding_ms": 10, "silence_duration_ms": 20},
    )
    answer = json.loads(raw.text)
    assert answer["granularities"] == ["word", "segment"]
    assert answer["options"] == {
        "task": "transcribe",
        "language": None,
        "languages": ["de", "en"],
        "prompt": "Zürich",
        "keywords": ["Ann", "Bob"],
        "temperature": 0.5,
        "timestamps": True,
        "words": True,
        "cues": False,
        "logprobs": False,
        "condition_on_previous_text": None,
        "voice_activity": {"threshold": 0.7, "prefix_padding_ms": 10, "silence_duration_ms": 20},
        "multichannel": False,
        "speaker_names": [],
    }
    await client.close()


@pytest.mark.parametrize(
    "head",
    [
        "",
        "; filename=a.wav",
        '; filename="a;b;c.wav"',
        '; filename="../../etc/passwd\u202e"',
        "; filename*=utf-8''na%C3%AFve.wav",
        '; filename="C:\\\\fakepath\\\\say \\"hi\\".wav"',
    ],
)
async def test_file_names_do_not_matter(server: Server, head: str) -> None:
    status, answer = await post(server, body_of(part("model", "whisper-1"), part("file", SOUND, head)))
    assert status == 200, answer
    assert base64.b64decode(answer["file"]) == SOUND


async def test_base64_and_charset_of_parts(server: Server) -> None:
    encoded = base64.encodebytes(SOUND).replace(b"\n", b"\r\n")
    body = body_of(
        part("file", encoded, '; filename="a"\r\nContent-Transfer-Encoding: base64'),
        part("model", "whisper-1", "\r\nContent-Type: text/plain; charset=us-ascii"),
        part("prompt", "Zürich".encode("latin-1"), "\r\nContent-Type: text/plain; charset=ISO-8859-1"),
    )
    status, answer = await post(server, body)
    assert status == 200, answer
    assert base64.b64decode(answer["file"]) == SOUND
    assert answer["options"]["prompt"] == "Zürich"


@pytest.mark.parametrize("size", [1, 8_190, 65_535, 65_536, 65_537, 131_072, 300_001])
async def test_any_length_arrives_whole(server: Server, size: int) -> None:
    content = (b"\r\n--xy\r\n--" * (size // 9 + 1))[:size]  # nearly boundaries, everywhere
    status, answer = await post(server, body_of(part("model", "m"), sound_part(content)))
    assert status == 200, answer
    assert base64.b64decode(answer["file"]) == content


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]
        await asyncio.sleep(0)


@pytest.mark.parametrize("size", [1, 7, 4_096])
async def test_chunked_bodies_in_small_pieces(server: Server, size: int) -> None:
    content = SOUND[: size * 2_000]
    status, answer = await post(server, pieces(body_of(sound_part(content), part("model", "m")), size))
    assert status == 200, answer
    assert base64.b64decode(answer["file"]) == content


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        (body_of(part("model", "m")), "file", "missing or empty"),
        (body_of(part("model", "m"), sound_part(b"")), "file", "missing or empty"),
        (body_of(sound_part()), "model", "missing"),
        (body_of(sound_part(), part("model", "")), "model", "missing"),
        (body_of(), "model", "missing"),
        (body_of(sound_part(), sound_part(), part("model", "m")), "file", "more than one file"),
        (body_of(b'--xyz\r\nContent-Disposition: form-data; filename="a"\r\n\r\nx\r\n'), "file", "form-data; name="),
        (body_of(b"--xyz\r\n\r\nx\r\n"), "file", "form-data; name="),
        (body_of(part("", "x")), None, "has no name"),
        (body_of(part("mod\x1b[2Jel", "x")), "file", "control characters"),
        (body_of(part("file", "x", '; filename="a\0b"')), "file", "control characters"),
        (body_of(part("mod__", "x").replace(b"mod__", b"mod\xff\xfe")), "mod??", "Unknown field"),
        (b"", "file", "malformed"),
        (b"garbage", "file", "malformed"),
        (b"\r\n" * 1000, "file", "malformed"),
        (b"--xyz", "file", "malformed"),
        (b"--xyz\r\n", "file", "malformed"),
        (b"x" * 70_000 + b"\r\n" + form_body(), "file", "malformed"),
        (body_of(b'--xyz\r\nContent-Disposition: form-data;\r\n name="model"\r\n\r\nm\r\n'), "file", "malformed"),
        (b"--xyz\r\nContent-Disposition", "file", "malformed"),
        (b"--xyz\r\nNo colon\r\n\r\n", "file", "malformed"),
        (b"--xyz\r\n" + b"A: b\r\n" * 1000 + b"\r\n", "file", "malformed"),
        (b"--xyz\r\nA: " + b"b" * 100_000 + b"\r\n\r\n", "file", "malformed"),
        (body_of(part("model", "m"), sound_part())[:-9], "file", "malformed"),
        (body_of(part("model", "m"), sound_part())[:-900], "file", "malformed"),
        (body_of(part("model", "m")).replace(b"--xyz--", b"--xyzzz"), "file", "malformed"),
        (body_of(part("file", "A", "\r\nContent-Transfer-Encoding: base64")), "file", "malformed"),
        (body_of(part("file", "!!!", "\r\nContent-Transfer-Encoding: gzip")), "file", "content-transfer-encoding"),
        (body_of(part("prompt", "x", "\r\nContent-Type: text/plain; charset=idna")), "prompt", "UTF-8"),
        (body_of(part("prompt", "x", "\r\nContent-Type: text/plain; charset=\0")), "file", "control characters"),
        (body_of(part("_charset_", "x" * 40), part("model", "m")), "_charset_", "Unknown field"),
        (
            body_of(part("file", b"--a\r\n\r\nx\r\n--a--\r\n", "\r\nContent-Type: multipart/mixed; boundary=a")),
            "file",
            "multipart part inside",
        ),
        (body_of(*[part("keywords[]", "k")] * 1000), None, "more than 256 fields"),
        (body_of(*[part("keywords[]", "k" * 60_000)] * 10), "keywords", "longer than 262144"),
    ],
)
async def test_malformed_bodies(server: Server, body: bytes, param: str | None, said: str) -> None:
    error = await refusal(server, body)
    assert error["param"] == param
    assert said in error["message"]


async def test_parts_over_the_limit_are_not_parsed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A form of 24 MiB of small parts was parsed whole before they were counted: `/health` took 3.8 s."""
    made: list[None] = []
    begin = multipart.MultipartSegment.__init__

    def counted(self: multipart.MultipartSegment, *args: Any) -> None:
        made.append(None)
        begin(self, *args)

    monkeypatch.setattr(multipart.MultipartSegment, "__init__", counted)
    await refusal(server, body_of(*[part("keywords[]", "k")] * 5_000))
    assert len(made) == server.limits.max_parts + 1


async def test_every_truncation_is_refused(server: Server) -> None:
    body = form_body(("language", "de"))[-180:]  # the end of the file, two fields and the boundary
    body = part("file", b"x" * 10)[:-2] + body
    assert (await post(server, body))[0] == 200
    for length in range(0, len(body) - len("--\r\n"), 3):
        assert (await post(server, body[:length]))[0] == 400, body[:length]


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        ("application/json", "'application/json'"),
        ("application/x-www-form-urlencoded", "must be multipart/form-data"),
        ("multipart/mixed; boundary=xyz", "must be multipart/form-data"),
        ("multipart/form-data", "boundary"),
        ("multipart/form-data; boundary=", "boundary"),
        (f"multipart/form-data; boundary={'x' * 71}", "boundary"),
        ("nonsense", "must be multipart/form-data"),
    ],
)
async def test_other_content_types(server: Server, content_type: str, said: str) -> None:
    error = await refusal(server, form_body(), content_type=content_type)
    assert said in error["message"]


async def test_declared_length_over_limit_is_refused_unread(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000001\r\n"
        b"Content-Type: multipart/form-data; boundary=xyz\r\n\r\n"
    )
    answer = await asyncio.wait_for(reader.readuntil(b"}}"), 30)
    assert b" 413 " in answer
    assert b"MAX_UPLOAD_BYTES" in answer
    writer.close()


@pytest.mark.parametrize(("preamble", "status"), [(b"", 413), (b"no boundary here\r\n", 400)])
async def test_undeclared_length_over_limit_is_refused_in_stream(server: Server, preamble: bytes, status: int) -> None:
    n_sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal n_sent
        yield b"" if preamble else part("file")[:-2]
        while n_sent < 50_000_000:
            chunk = (preamble or b"x") * (60_000 // len(preamble or b"x"))
            n_sent += len(chunk)
            yield chunk

    with suppress(aiohttp.ClientError):  # the client may see the reset before the answer
        await post(server, endless())
    assert n_sent < 20_000_000
    assert isinstance(server.outcomes[0], ApiError)
    assert server.outcomes[0].status == status


@pytest.mark.parametrize("encoding", ["deflate", "gzip", "br", "GZIP", "identity, gzip", "nonsense"])
async def test_content_encoding_is_refused(server: Server, encoding: str) -> None:
    packed = zlib.compress(body_of(part("file", b"\0" * 5_000_000)))
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Encoding": encoding}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(server.url, data=packed, headers=headers, compress=False) as answer,
    ):
        error = (await answer.json())["error"]
    assert answer.status == 415
    assert error["code"] == "unsupported_encoding"
    assert encoding in error["message"]


async def test_identity_encoding_is_accepted(server: Server) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Encoding": "identity"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(server.url, data=form_body(), headers=headers) as answer,
    ):
        assert answer.status == 200


async def test_slow_upload_times_out(server: Server) -> None:
    server.limits = replace(LIMITS, upload_timeout_s=0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        b"Content-Type: multipart/form-data; boundary=xyz\r\n\r\n" + part("file", b"x" * 100)
    )
    for _ in range(3):
        writer.write(b"x")
        await asyncio.sleep(0.05)
    answer = await asyncio.wait_for(reader.readuntil(b"}}"), 30)
    assert b" 408 " in answer
    assert b"UPLOAD_TIMEOUT_SECONDS" in answer
    writer.close()


async def test_full_memory_budget_is_a_429(server: Server) -> None:
    server.reservation = Budget(70_000)
    error = await refusal(server, form_body(), status=429)
    assert error["code"] == "overloaded"
    assert "MEMORY_BUDGET_BYTES" in error["message"]


async def test_refused_upload_holds_no_memory_while_discarded(server: Server) -> None:
    _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n"
        b"Content-Type: multipart/form-data; boundary=xyz\r\n\r\n" + part("file", SOUND) + part("colour", b"blue")
    )
    await eventually(lambda: server.reservation.n_releases > 0)
    assert server.reservation.max_held_bytes > 0
    assert server.reservation.held_bytes == 0
    assert not server.outcomes, "still reading"
    writer.close()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_client_that_leaves_frees_its_upload(server: Server) -> None:
    _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n"
        b"Content-Type: multipart/form-data; boundary=xyz\r\n\r\n" + part("file", SOUND)
    )
    await eventually(lambda: n_memory_files() == 1)
    writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.close()
    await eventually(lambda: n_memory_files() == 0)
    await eventually(lambda: len(server.outcomes) == 1)
    assert isinstance(server.outcomes[0], asyncio.CancelledError | ApiError)


async def test_a_refused_body_is_read_to_its_end(server: Server) -> None:
    """Else a client that writes all before it reads sees a reset connection instead of the reason."""
    big = body_of(part("nonsense", "x"), sound_part(b"x" * 900_000), part("model", "m"))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"Host: x\r\nContent-Length: {len(big)}\r\nContent-Type: multipart/form-data; boundary=xyz\r\n\r\n"
    for _ in range(2):  # the connection stays usable
        writer.write(b"POST /v1/audio/transcriptions HTTP/1.1\r\n" + head.encode() + big)
        await asyncio.wait_for(writer.drain(), 30)
        answer = await asyncio.wait_for(reader.readuntil(b"}}"), 30)
        assert b" 400 " in answer
        assert b"nonsense" in answer
    writer.close()


async def test_ignored_fields_leave_one_log_line(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="whisper_server")
    await ask(server, ("hotwords", "x"), ("seed", "3"), ("seed", "4"), ("top_p", ""))
    assert [record.getMessage() for record in caplog.records] == ["Ignored fields: hotwords, seed"]
