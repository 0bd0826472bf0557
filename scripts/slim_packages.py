"""Run in an image's build stage: takes out of an environment what nothing at run time reads, and compiles the rest.

`slim_packages.py VENV [--zip PACKAGE]…`; with `--gpu`, where packages compile kernels at run time, it only compiles. No
package loses a module that it imports itself: tests, headers, debug data and libraries for other programs only. What to
install is said elsewhere. Nothing but Python and binutils is needed.
"""

from __future__ import annotations

import argparse
import compileall
import py_compile
import re
import shutil
import struct
import subprocess
import warnings
import zipfile
from pathlib import Path

NOT_READ = re.compile(
    r"(^|/)tests/"
    r"|^joblib/test/"
    r"|\.(h|hpp|hh|a|c|cpp|pxd|pyx)$"  # what only compilers read (lazy_loader reads .pyi)
    r"|^onnxruntime/capi/libonnxruntime\.so"  # for programs in C: the module beside it has all of it inside
)
NOT_COMPILED = re.compile(r"/(numba/cuda|huggingface_hub/(inference|cli))/")
"""Neither server nor operator imports these; a program that does waits for the compiler once."""
SEGMENT = "<IIQQQQQQ"
LOADED = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environment", type=Path)
    parser.add_argument("--zip", action="append", default=[], metavar="PACKAGE")
    parser.add_argument("--gpu", action="store_true")
    args = parser.parse_args()
    (packages,) = args.environment.glob("lib/python3*/site-packages")
    if not args.gpu:
        _remove(packages)
    for package in args.zip:
        _zip(packages, package)
    _compile(packages, skipped=NOT_COMPILED)


def _remove(packages: Path) -> None:
    for path in sorted(packages.rglob("*")):
        if path.is_file() and NOT_READ.search(path.relative_to(packages).as_posix()):
            path.unlink()
    for path in packages.rglob("*.so*"):
        if path.is_file() and not path.is_symlink():
            _strip(path)


def _strip(library: Path) -> None:
    """Without debug data, unless that would move what is loaded to where the loader refuses it (patchelf's work may)."""
    stripped = library.with_name(f"{library.name}.stripped")
    command = ["strip", "--strip-unneeded", "-o", stripped, library]
    done = subprocess.run(command, check=False, capture_output=True)  # noqa: S603 - binutils of the build stage
    if done.returncode == 0 and _loads(stripped.read_bytes()) and stripped.stat().st_size < library.stat().st_size:
        shutil.copymode(library, stripped)
        stripped.replace(library)
    else:
        stripped.unlink(missing_ok=True)


def _loads(elf: bytes) -> bool:
    """Whether offset and address of each segment agree modulo its alignment."""
    (table,) = struct.unpack_from("<Q", elf, 32)
    size, n_segments = struct.unpack_from("<HH", elf, 54)
    segments = (struct.unpack_from(SEGMENT, elf, table + i * size) for i in range(n_segments))
    return all((offset - address) % align == 0 for kind, _, offset, address, *_, align in segments if kind == LOADED)


def _zip(packages: Path, package: str) -> None:
    """Python imports from a zip as from a folder: for a package of thousands of generated modules, few of them used."""
    folder, archive = packages / package, packages / f"{package}.zip"
    compileall.compile_dir(
        folder, quiet=1, legacy=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*.py*")):
            if path.parent.name != "__pycache__":
                file.write(path, path.relative_to(packages))
    shutil.rmtree(folder)
    (packages / f"{package}.pth").write_text(f"{archive.name}\n", encoding="utf-8")


def _compile(packages: Path, *, skipped: re.Pattern[str]) -> None:
    """The root file system is read-only at run time: what is not compiled now is compiled at every start."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    warnings.simplefilter("ignore")  # of other people's code
    compileall.compile_dir(packages, quiet=1, rx=skipped, workers=1, invalidation_mode=mode)


if __name__ == "__main__":
    main()
