"""Every route on a socket: what comes back, in which shape, and what it costs."""

from __future__ import annotations

import aiohttp
import openai
import pytest

from http_kit.doubles import Doubles
from http_kit.running import form_body, running
from whisper_server.errors import InvalidAudio


def client_of(url: str, key: str = "-") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


async def test_openai_client_gets_the_words() -> None:
    async with running() as server, client_of(server.url) as client:
        answer = await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF"))

    assert answer.text == " Hello Kubernetes."
    assert answer.usage is not None
    assert answer.usage.to_dict() == {"type": "duration", "seconds": 3}


async def test_usage_is_tokens_for_gpt_names_in_json() -> None:
    async with running() as server, client_of(server.url) as client:
        answer = await client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", b"RIFF"))

    assert answer.usage is not None
    assert answer.usage.to_dict() == {
        "type": "tokens",
        "input_tokens": 128,
        "input_token_details": {"text_tokens": 3, "audio_tokens": 125},
        "output_tokens": 4,
        "total_tokens": 132,
    }


async def test_translations_ask_for_the_other_task() -> None:
    async with running() as server, client_of(server.url) as client:
        await client.audio.translations.create(model="whisper-1", file=("a.wav", b"RIFF"))

    assert [options.task for options in server.doubles.pipeline.options] == ["translate"]


@pytest.mark.parametrize(
    "name", ["whisper", "whisper-1", "gpt-transcribe", "gpt-4o-mini-transcribe-2025-12-15", "demo"]
)
async def test_served_by_default(name: str) -> None:
    async with running() as server, client_of(server.url) as client:
        listed = [model.id async for model in client.models.list()]
        one = await client.models.retrieve(name)

    assert name in listed
    assert (one.id, one.object) == (name, "model")


async def test_model_names_may_have_slashes_and_be_configured() -> None:
    names = "openai/whisper-large-v3,mine"
    async with running(SERVED_MODEL_NAMES=names) as server, aiohttp.ClientSession(server.url) as session:
        one = await (await session.get("/v1/models/openai/whisper-large-v3")).json()
        other = await session.get("/v1/models/whisper-1")

    assert one["id"] == "openai/whisper-large-v3"
    assert other.status == 404


@pytest.mark.parametrize("name", ["whisper-2", "whisper-large"])
async def test_unserved_model_is_refused_before_decoding(name: str) -> None:
    async with running() as server, client_of(server.url) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.audio.transcriptions.create(model=name, file=("a.wav", b"RIFF"))

    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert server.doubles.decoder.n_calls == 0


async def test_decoders_refusal_is_a_400() -> None:
    doubles = Doubles()
    doubles.decoder.error = InvalidAudio("This is no sound.")
    async with running(doubles) as server, client_of(server.url) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF"))

    assert caught.value.body == {
        "message": "This is no sound.",
        "type": "invalid_request_error",
        "param": "file",
        "code": "invalid_audio",
    }
    assert server.state.budget.used_bytes == 0


async def test_crash_is_a_500_without_details(caplog: pytest.LogCaptureFixture) -> None:
    doubles = Doubles()
    doubles.decoder.error = ZeroDivisionError("secret detail")
    async with running(doubles) as server, client_of(server.url) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF"))

    assert caught.value.code == "internal_error"
    assert "secret" not in caught.value.message
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nothing", 404, None),
        ("POST", "/", 405, "GET,HEAD"),
        ("GET", "/v1/audio/speech", 404, None),
        ("GET", "/docs/../etc/passwd", 404, None),
        ("GET", "/docs/%2e%2e%2fx", 404, None),
        ("GET", "/v1/audio/transcriptions", 405, "POST"),
        ("DELETE", "/v1/models", 405, "GET,HEAD"),
        ("OPTIONS", "/v1/models", 405, "GET,HEAD"),
        ("PATCH", "/health", 405, "GET,HEAD"),
    ],
)
async def test_wrong_path_or_method_is_refused_in_openais_shape(
    method: str, path: str, status: int, allow: str | None
) -> None:
    async with running() as server, aiohttp.ClientSession(server.url) as session:
        answer = await session.request(method, path)
        body = await answer.json()

    assert answer.status == status
    assert answer.headers.get("Allow") == allow
    assert body["error"]["type"] == "invalid_request_error"
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/metrics", "/v1/models", "/docs", "/openapi.json"])
async def test_head_is_get_without_a_body(path: str) -> None:
    async with running() as server, aiohttp.ClientSession(server.url) as session:
        head = await session.head(path)
        get = await session.get(path)

        assert (head.status, head.headers["Content-Type"]) == (200, get.headers["Content-Type"])
        assert await head.read() == b""


async def test_docs_need_the_prefix_and_probes_do_not() -> None:
    async with running(ROOT_PATH="/speech/en") as server, aiohttp.ClientSession(server.url) as session:
        status = {
            path: (await session.get(path, allow_redirects=False)).status
            for path in (
                "/speech/en/v1/models", "/speech/en/docs", "/speech/en/docs/swagger-ui.css", "/speech/en/openapi.json",
                "/speech/en/health", "/speech/en/ready", "/speech/en/metrics",
                "/health", "/ready", "/metrics",
                "/v1/models", "/docs", "/openapi.json",
            )
        }  # fmt: skip
        document = await (await session.get("/speech/en/openapi.json")).json()
        slash = await session.get("/speech/en/docs/", allow_redirects=False)

    assert [path for path, code in status.items() if code != 200] == ["/v1/models", "/docs", "/openapi.json"]
    assert document["servers"] == [{"url": "/speech/en"}]
    assert (slash.status, slash.headers["Location"]) == (308, "/speech/en/docs")


async def test_every_answer_names_its_request() -> None:
    async with running() as server, aiohttp.ClientSession(server.url) as session:
        sane = await session.get("/health", headers={"x-request-id": "abc-1.2:3"})
        forged = await session.get("/health", headers={"x-request-id": "a b\tc" * 40})
        streamed = await session.post(
            "/v1/audio/transcriptions",
            data=form_body({"stream": "true"}),
            headers={"Content-Type": "multipart/form-data; boundary=b0undary", "x-request-id": "s1"},
        )
        await streamed.read()

    assert sane.headers["x-request-id"] == "abc-1.2:3"
    assert forged.headers["x-request-id"].startswith("req_")
    assert streamed.headers["x-request-id"] == "s1"


async def test_probes_follow_loading_ready_dead_and_draining() -> None:
    doubles = Doubles()

    async def probe(session: aiohttp.ClientSession, path: str) -> tuple[int, str | None]:
        answer = await session.get(path)
        return answer.status, (await answer.json()).get("error", {}).get("code")

    async with running(doubles, loaded=False) as server, aiohttp.ClientSession(server.url) as session:
        assert await probe(session, "/health") == (200, None)
        assert await probe(session, "/ready") == (503, "loading")
        refused = await session.post("/v1/audio/transcriptions")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "10")

        server.service.load(doubles.backend())
        assert await probe(session, "/ready") == (200, None)

        doubles.engine.problem = "out of memory"
        assert await probe(session, "/health") == (503, "engine_dead")
        assert await probe(session, "/ready") == (503, "engine_dead")
        assert (await session.post("/v1/audio/transcriptions")).status == 503

        doubles.engine.problem = None
        server.service.draining = True
        assert await probe(session, "/health") == (200, None)
        assert await probe(session, "/ready") == (503, "draining")
        last = await session.get("/health")
        assert last.headers["Connection"] == "close"


async def test_text_and_json_carry_their_content_types() -> None:
    async with running() as server, aiohttp.ClientSession(server.url) as session:
        types = {}
        for name in ("json", "text"):
            answer = await session.post(
                "/v1/audio/transcriptions",
                data=form_body({"response_format": name}),
                headers={"Content-Type": "multipart/form-data; boundary=b0undary"},
            )
            types[name] = (answer.content_type, answer.charset)

    assert types["json"][0] == "application/json"
    assert types["text"] == ("text/plain", "utf-8")
