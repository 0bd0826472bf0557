"""The images are small and without tools, and run as any user on a read-only root."""

import os
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest

import whisper_operator
import whisper_server
from e2e_kit.containers import Container, Image, running
from server_kit.process import REPOSITORY, free_port

MB = 1_000_000
HIGHEST_SIZE_MB = {"server": 450, "operator": 120}
LONGEST_START_S = 10.0
START_LIMIT_S = 120.0
DEMO = {"MODEL_ID": "demo", "DRAIN_SECONDS": "0"}
COMPILERS = re.compile(r"^(.*-)?(gcc|g\+\+|cc|c\+\+|cpp|clang|tcc|ld|as|make|nvcc)(-\d+)?$")
ANSWERS_HEALTHZ = """
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[1]) if self.path == "/healthz" else 404)
        self.end_headers()

with http.server.HTTPServer(("", 8080), Handler) as server:
    print("at work", flush=True)
    server.serve_forever()
"""
INSTALLERS = re.compile(r"^(pip|uv|uvx|easy_install|conda)[\d.]*$")


@pytest.fixture(params=["server", "operator"])
def image(images: dict[str, Image], request: pytest.FixtureRequest) -> Image:
    return images[request.param]


def part_of(image: Image) -> str:
    return "server" if "whisper-server:" in image.name else "operator"


def files(image: Image) -> Iterator[Path]:
    for folder, _, names in os.walk(image.root):
        for name in names:
            yield Path(folder, name).relative_to(image.root)


def programs(image: Image) -> set[str]:
    folders = [image.root / folder for folder in ("usr/bin", "usr/sbin", "usr/local/bin", "opt/whisper/bin")]
    return {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}


def output(image: Image, *arguments: str, **environment: str) -> tuple[int, str]:
    with running(image, environment, *arguments) as container:
        said, _ = container.popen.communicate(timeout=60)
        return container.popen.returncode, said


def seconds_to_ready(url: str, container: Container) -> float:
    started_s = time.monotonic()
    while time.monotonic() - started_s < START_LIMIT_S:
        try:
            if httpx.get(f"{url}/ready").is_success:
                return time.monotonic() - started_s
        except httpx.TransportError:
            pass
        assert container.popen.poll() is None, container.popen.stdout and container.popen.stdout.read()
        time.sleep(0.05)
    raise TimeoutError(f"not ready after {START_LIMIT_S} s")


def test_they_are_small(image: Image) -> None:
    size_mb = image.on_top_bytes / MB
    print(f"{image.name}: {size_mb:.1f} MB on top of a base of {image.layer_bytes[0] / MB:.1f} MB")
    assert size_mb <= HIGHEST_SIZE_MB[part_of(image)]


def test_they_are_named_as_the_charts_ask_for_them(images: dict[str, Image]) -> None:
    assert {image.name for image in images.values()} == {
        f"ghcr.io/whisper-operator/whisper-server:{whisper_server.__version__}-cpu",
        f"ghcr.io/whisper-operator/whisper-operator:{whisper_operator.__version__}",
    }


def test_labels_say_what_they_are(image: Image) -> None:
    prefix = "org.opencontainers.image."
    labels = {name.removeprefix(prefix): text for name, text in image.config["Labels"].items() if prefix in name}
    assert labels.keys() >= {"title", "description", "version", "revision", "created", "source", "licenses"}
    assert labels["title"].startswith(f"whisper-{part_of(image)}")
    assert labels["version"] == whisper_server.__version__
    assert labels["licenses"] == "Apache-2.0"
    assert labels["source"].startswith("https://")
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels["revision"])
    assert datetime.fromisoformat(labels["created"]).tzinfo is not None


def test_user_is_a_number_and_not_root(image: Image) -> None:
    # Kubernetes' runAsNonRoot cannot judge a name.
    assert re.fullmatch(r"[1-9]\d{3,}:0", image.config["User"])


def test_no_compiler_and_no_installer_is_inside(image: Image) -> None:
    assert {name for name in programs(image) if COMPILERS.match(name) or INSTALLERS.match(name)} == set()
    distributions = {path.name for path in (image.root / "opt/whisper/lib/python3.11/site-packages").iterdir()}
    assert not {name for name in distributions if re.match(r"(pip|uv|setuptools|wheel|hatchling)(-|$)", name)}


def test_nothing_of_the_build_is_left(image: Image) -> None:
    left = {
        folder for folder in ("tools", "source", "wheel", "root/.cache", "var/lib/apt/lists") if rest(image, folder)
    }
    assert left == set()
    assert not [path for path in files(image) if path.suffix in {".whl", ".deb"}]
    assert not any(path.name == "certificates" or "secrets" in path.parts for path in files(image))


def rest(image: Image, folder: str) -> list[Path]:
    return [path for path in (image.root / folder).rglob("*") if path.is_file()]


def test_no_secret_of_this_machine_is_in_the_configuration(image: Image) -> None:
    assert not {name for name in image.environment if re.search(r"TOKEN|KEY|PASS|SECRET|PROXY", name, re.IGNORECASE)}
    assert not any("/run/secrets" in name for name in image.environment.values())


def test_modules_are_compiled(image: Image) -> None:
    package = image.root / f"opt/whisper/lib/python3.11/site-packages/whisper_{part_of(image)}"
    sources = {path.relative_to(package).with_suffix("") for path in package.rglob("*.py")}
    compiled = {
        (path.parent.parent / path.name.split(".")[0]).relative_to(package)
        for path in package.rglob("*.cpython-311.pyc")
    }
    assert sources == compiled


def test_the_demo_model_is_where_the_server_looks_for_it(server: Image) -> None:
    inside = {path.name for path in (server.root / "models/whisper-demo").iterdir()}
    assert inside >= {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json", "README.md"}
    assert "recipe" not in inside


def test_help_is_given_as_any_user_on_a_read_only_root(image: Image) -> None:
    code, said = output(image, "--help")
    assert code == 0, said
    assert f"usage: whisper-{part_of(image)}" in said
    assert "Settings are environment variables" in said


def test_a_missing_model_is_refused_by_name(server: Image) -> None:
    code, said = output(server)
    assert (code, "MODEL_ID" in said) == (1, True), said


def test_a_folder_that_is_not_there_is_refused_by_name(server: Image) -> None:
    code, said = output(server, MODEL_ID="/repository", PORT=str(free_port()))
    assert (code, "MODEL_ID: /repository" in said) == (1, True), said


def test_a_misspelt_setting_is_refused_by_name(server: Image) -> None:
    code, said = output(server, MODEL_ID="demo", MAX_QUEUE_SECOND="3")
    assert (code, "MAX_QUEUE_SECONDS" in said) == (1, True), said


def test_the_operator_without_a_cluster_says_so(images: dict[str, Image]) -> None:
    environment = {"SERVER_IMAGE_GPU": "a/b:1", "SERVER_IMAGE_CPU": "a/b:2", "OPERATOR_NAMESPACE": "x", "PORT": "0"}
    code, said = output(images["operator"], **environment)
    assert code != 0
    assert "kubeconfig" in said.lower(), said
    assert "Traceback" not in said


def _start_s(server: Image, url: str, port: int) -> float:
    with running(server, {**DEMO, "PORT": str(port)}) as container:
        return seconds_to_ready(url, container)


def test_a_container_is_ready_within_seconds_and_transcribes(server: Image) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    starts_s = [_start_s(server, url, port) for _ in range(2)]  # that of a burst of other work does not count
    with running(server, {**DEMO, "PORT": str(port)}) as container:
        starts_s.append(seconds_to_ready(url, container))
        load = os.getloadavg()[0]
        print(f"from start to /ready: {starts_s} s, read-only root, load {load:.1f} on {os.cpu_count()} cores")
        assert min(starts_s) <= LONGEST_START_S * max(1.0, load / (os.cpu_count() or 1))
        clip = (REPOSITORY / "demo" / "clip.wav").read_bytes()
        answer = httpx.post(
            f"{url}/v1/audio/transcriptions",
            data={"model": "whisper-1"},
            files={"file": ("clip.wav", clip)},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        assert "the" in answer.json()["text"].lower()
        assert Path(f"/proc/{container.pid}").stat().st_uid == 12345


def test_health_check_uses_port_80_by_default(server: Image) -> None:
    assert (server.environment["PORT"], server.environment["INTERFACE"]) == ("80", "0.0.0.0")
    assert server.config["ExposedPorts"] == {"80/tcp": {}}
    with running(server, DEMO, network="own") as container:
        answers = []
        for _ in range(200):
            answers.append(container.execute(server.health_check))
            if answers[-1].returncode == 0:
                break
            time.sleep(0.1)
        assert answers[-1].returncode == 0, answers[-1].stderr
        listening = container.execute(["cat", "/proc/net/tcp"]).stdout
        assert "00000000:0050 " in listening


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_health_check_of_the_operator_asks_healthz_on_8080(images: dict[str, Image], status: int, code: int) -> None:
    assert images["operator"].config["ExposedPorts"] == {"8080/tcp": {}}
    command = ["python", "-c", ANSWERS_HEALTHZ, str(status)]
    with running(images["operator"], {}, network="own", command=command) as container:
        container.wait_for_line("at work")
        done = container.execute(images["operator"].health_check)
        assert (done.returncode, done.stderr) == (code, "")


def test_health_check_fails_where_nothing_listens(image: Image) -> None:
    # Other errors would fail as well: what is asked is that the check runs, and is refused.
    with running(image, {}, network="own", command=["sh", "-c", "echo at work; exec sleep 60"]) as container:
        container.wait_for_line("at work")
        done = container.execute(image.health_check)
        refused = "ConnectionRefusedError: [Errno 111] Connection refused"
        assert (done.returncode, done.stderr.splitlines()[-1:]) == (1, [refused])
