"""Names of aiohttp, multipart, kopf, torch and vLLM that they may change without notice: private ones, and undocumented ones that we rely on.

When a test here fails, a dependency has moved or our code relies on more than before: docs/upgrading-dependencies.md says
for each name what to read and which tests prove that the new version fits.
"""

import ast
import inspect
import logging
import os
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import kopf
import multipart
import pytest
from aiohttp import ClientResponse, StreamReader, web
from multipart import PushMultipartParser

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "upgrading-dependencies.md").read_text()
PACKAGES = sorted(ROOT.glob("*/whisper_*/"))
TREES = {path: ast.parse(path.read_text()) for package in PACKAGES for path in package.rglob("*.py")}

PRIVATE_OF_AIOHTTP = {
    (web.RequestHandler, "_waiter"),
    (web.RequestHandler, "_messages"),
    (web.RequestHandler, "_request_count"),
    (web.RequestHandler, "_handle_request"),
    (web.Server, "_connections"),
    (web.AppRunner, "_make_server"),
}
PRIVATE_OF_MULTIPART = {(PushMultipartParser, "_state")}
PRIVATE_OF_TORCH = {"_scaled_mm", "_addmm_activation"}
UNDOCUMENTED_OF_AIOHTTP = {
    (web.RequestHandler, "connection_made"),
    (web.RequestHandler, "connection_lost"),
    (web.RequestHandler, "data_received"),
    (web.RequestHandler, "finish_response"),
    (web.RequestHandler, "handle_error"),
    (web.RequestHandler, "force_close"),
    (web.Server, "connection_made"),
    (web.Server, "connections"),
    (web.Server, "request_factory"),
    (web.Server, "request_handler"),
    (StreamReader, "set_exception"),
    (StreamReader, "feed_eof"),
    (StreamReader, "total_bytes"),
    (ClientResponse, "start"),
}
NAMED_TUPLE = {"_asdict", "_replace", "_fields"}
"""Documented, underscore or not."""
MODULES_OF_AIOHTTP = {
    "aiohttp.abc": {"AbstractStreamWriter"},
    "aiohttp.helpers": {"parse_mimetype"},
    "aiohttp.http": {"HttpVersion10", "HttpVersion11", "RawRequestMessage"},
    "aiohttp.http_exceptions": {"HttpProcessingError", "LineTooLong"},
}
LOGGERS_OF_KOPF = {"kopf._core.engines.activities", "kopf._core.reactor.running"}
MEMORIES_OF_KOPF = "kopf._core.reactor.inventory"
NAMES_OF_VLLM = {
    "vllm.engine.arg_utils": {"AsyncEngineArgs"},
    "vllm.inputs.engine": {"mm_input", "tokens_input"},
    "vllm.model_executor.models.whisper": {"WhisperForConditionalGeneration"},
    "vllm.multimodal.inputs": {
        "MultiModalBatchedField",
        "MultiModalFieldElem",
        "MultiModalKwargsItem",
        "MultiModalKwargsItems",
        "PlaceholderRange",
    },
    "vllm.platforms": {"current_platform"},
    "vllm.sampling_params": {"RequestOutputKind"},
    "vllm.v1.core.sched.async_scheduler": {"AsyncScheduler"},
    "vllm.v1.core.sched.scheduler": {"Scheduler"},
    "vllm.v1.engine.async_llm": {"AsyncLLM"},
    "vllm.v1.engine.exceptions": {"EngineDeadError"},
    "vllm.v1.outputs": {"LogprobsTensors"},
    "vllm.v1.sample.logits_processor": {"BatchUpdate", "LogitsProcessor", "MoveDirectionality"},
    "vllm.v1.worker.gpu.input_batch": {"get_num_sampled_and_rejected"},
    "vllm.v1.worker.gpu.model_states.encoder_decoder": {"EncoderDecoderModelState"},
    "vllm.v1.worker.gpu.sample.output": {"SamplerOutput"},
    "vllm.v1.worker.gpu.sample.sampler": {"Sampler"},
}
"""Everything but `vllm` itself, which exports its documented interface."""
MEMBERS_OF_VLLM = {
    "vllm.model_executor.models.whisper": {"forward", "compute_logits", "embed_multimodal", "encoder"},
    "vllm.v1.core.sched.scheduler": {
        "add_request",
        "finish_requests",
        "max_num_encoder_input_tokens",
        "max_num_running_reqs",
        "running",
        "schedule",
        "update_from_output",
        "waiting",
    },
    "vllm.v1.engine.async_llm": {"collective_rpc", "errored", "from_engine_args", "generate", "shutdown"},
    "vllm.v1.worker.gpu.model_states.encoder_decoder": {
        "add_request",
        "custom_sampler",
        "encoder_cache",
        "encoder_outputs",
        "get_mm_embeddings",
    },
    "vllm.v1.worker.gpu.sample.sampler": {"add_request", "req_states"},
}
"""Methods that we override or call, and attributes that we read, by the module of vLLM's class."""


def definitions() -> set[str]:
    """Private names that our own code defines as methods, class attributes, instance attributes or slots."""
    found = set()
    for node in (node for tree in TREES.values() for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return found


def private_attributes() -> Iterator[tuple[Path, str]]:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr) and node.attr not in NAMED_TUPLE:
                yield path, node.attr


def imports_of(library: str) -> dict[str, set[str]]:
    """Module of the library → names that our code imports from it."""
    found: dict[str, set[str]] = {}
    for node in (node for tree in TREES.values() for node in ast.walk(tree)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == library:
            found.setdefault(node.module or "", set()).update(alias.name for alias in node.names)
    return found


def test_private_attributes_of_others_are_listed() -> None:
    listed = {name for _, name in PRIVATE_OF_AIOHTTP | PRIVATE_OF_MULTIPART} | PRIVATE_OF_TORCH
    ours = definitions()
    assert {(path.name, name) for path, name in private_attributes() if name not in ours | listed} == set()


def test_listed_private_attributes_are_used() -> None:
    used = {name for _, name in private_attributes()}
    assert {name for _, name in PRIVATE_OF_AIOHTTP | PRIVATE_OF_MULTIPART} | PRIVATE_OF_TORCH <= used
    assert all(f"`torch.{name}`" in PAGE for name in PRIVATE_OF_TORCH)


@pytest.mark.parametrize(("owner", "name"), sorted(PRIVATE_OF_AIOHTTP | UNDOCUMENTED_OF_AIOHTTP, key=str))
def test_aiohttp_has_the_name(owner: type, name: str) -> None:
    # Instance attributes of classes without slots are in the source of __init__ only.
    there = hasattr(owner, name) or f"self.{name}" in inspect.getsource(owner)
    assert there, f"{owner.__name__}.{name} is gone: read docs/upgrading-dependencies.md, aiohttp"


def test_multipart_parser_says_when_it_is_complete() -> None:
    parser = PushMultipartParser("b", strict=True)
    states = []
    for piece in (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n', b"--b--\r\n"):
        list(parser.parse(piece))
        states.append(parser._state is multipart._COMPLETE)
    assert states == [False, True], "read docs/upgrading-dependencies.md, multipart"


def test_modules_of_aiohttp_are_listed_and_there() -> None:
    used = {module: names for module, names in imports_of("aiohttp").items() if module != "aiohttp"}
    assert {module: names for module, names in used.items() if module != "aiohttp.typedefs"} == MODULES_OF_AIOHTTP
    for module, names in MODULES_OF_AIOHTTP.items():
        assert names <= set(vars(import_module(module))), module


def test_aiohttp_reads_a_server_made_by_the_runner() -> None:
    parameters = inspect.signature(web.Server).parameters
    assert {"handler_cancellation", "request_factory"} <= set(parameters)
    options = set(inspect.signature(web.RequestHandler).parameters)
    assert {"keepalive_timeout", "lingering_time", "access_log", "loop"} <= options


def test_private_modules_are_named_where_listed_only() -> None:
    named = {
        name
        for path in TREES
        for name in re.findall(r"\b(?:aiohttp|kopf|kubernetes|vllm)(?:\.\w+)*\._[a-z][\w.]*", path.read_text())
    }
    assert named == LOGGERS_OF_KOPF | {MEMORIES_OF_KOPF}


def test_kopf_keeps_no_memory_that_is_ephemeral() -> None:
    parameters = inspect.signature(import_module(MEMORIES_OF_KOPF).ResourceMemories.recall).parameters
    assert {"raw_body", "memobase", "noticed_by_listing", "ephemeral"} <= set(parameters)
    assert "memories" in inspect.signature(kopf.spawn_tasks).parameters


@pytest.mark.parametrize("name", sorted(LOGGERS_OF_KOPF))
def test_kopf_logs_under_the_name(name: str) -> None:
    loggers = [value.name for value in vars(import_module(name)).values() if isinstance(value, logging.Logger)]
    assert name in loggers, f"kopf logs under other names: read docs/upgrading-dependencies.md, kopf: {loggers}"


def test_names_of_vllm_are_listed() -> None:
    assert {module: names for module, names in imports_of("vllm").items() if module != "vllm"} == NAMES_OF_VLLM


@pytest.fixture
def vllm_folder() -> Path:
    """Of vLLM's CPU build, in the environment that `make vllm` installs. It holds the GPU's modules, too."""
    cache = Path(os.environ.get("WHISPER_VLLM_CACHE") or Path.home() / ".cache" / "whisper-vllm")
    folders = [path for path in cache.glob("*/lib/python3*/site-packages/vllm") if "unfinished" not in path.parts]
    if not folders:
        pytest.skip(f"vLLM's CPU build is not in {cache}: `make vllm` installs it")
    return folders[0]


# Read, not imported: importing vLLM takes half a minute, and its GPU modules need a GPU's libraries.
def source_of(folder: Path, module: str) -> str:
    path = folder.joinpath(*module.split(".")[1:])
    found = [path for path in (path.with_suffix(".py"), path / "__init__.py") if path.exists()]
    assert found, f"{module} is gone: read docs/upgrading-dependencies.md, vLLM"
    return found[0].read_text()


@pytest.mark.parametrize("module", sorted(NAMES_OF_VLLM))
def test_vllm_has_the_names(vllm_folder: Path, module: str) -> None:
    source = source_of(vllm_folder, module)
    missing = {name for name in NAMES_OF_VLLM[module] if not re.search(rf"\b{name}\b", source)}
    assert missing == set(), f"{module} has changed: read docs/upgrading-dependencies.md, vLLM"


@pytest.mark.parametrize("module", sorted(MEMBERS_OF_VLLM))
def test_vllm_has_the_members(vllm_folder: Path, module: str) -> None:
    source = source_of(vllm_folder, module)
    if module.endswith("encoder_decoder"):  # what it inherits
        source += source_of(vllm_folder, "vllm.v1.worker.gpu.model_states.interface")
    missing = {name for name in MEMBERS_OF_VLLM[module] if not re.search(rf"\b{name}\b", source)}
    assert missing == set(), f"{module} has changed: read docs/upgrading-dependencies.md, vLLM"


def test_the_page_has_every_name() -> None:
    names = {f"{owner.__name__}.{name}" for owner, name in PRIVATE_OF_AIOHTTP | UNDOCUMENTED_OF_AIOHTTP}
    names |= LOGGERS_OF_KOPF | {MEMORIES_OF_KOPF} | set(MODULES_OF_AIOHTTP) | set(NAMES_OF_VLLM)
    assert {name for name in names if f"`{name}`" not in PAGE} == set()
