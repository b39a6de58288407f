"""Install the oldest versions that the package allows: of what it needs, and of what Flask
needs. `make oldest` runs this in an environment of its own."""

from __future__ import annotations

import collections.abc as cabc
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

#: What the package needs, with all of its extras.
NEEDED = [*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])]


def oldest(requirements: cabc.Iterable[str]) -> dict[str, str]:
    """The lower bound of each requirement, but for those with a condition."""
    found = {}
    for requirement in requirements:
        if ";" not in requirement:
            bound = re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])? ?>=([\d.]+)", requirement)
            assert bound is not None, f"{requirement} has no lower bound"
            found[bound[1]] = bound[2]
    return found


def pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    subprocess.run([*command, *words], check=True, cwd=ROOT)


def main() -> None:
    # Older ones do not know of groups.
    pip("--upgrade", "pip")
    versions = oldest(NEEDED)
    pip("-e", ".", *(f"{name}=={version}" for name, version in versions.items()))
    versions |= oldest(metadata.requires("flask") or ())
    constraints = Path(sys.prefix, "oldest.txt")
    lines = [f"{name}=={version}\n" for name, version in versions.items()]
    constraints.write_text("".join(lines))
    # Celery, with which a test publishes, needs a redis-py that its extra names.
    more = "--group", "tests", "celery[redis]"
    pip("-e", ".", "-c", str(constraints), *more)


if __name__ == "__main__":
    main()
