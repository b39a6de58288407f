"""What the workflow runs on macOS and Windows needs nothing that only Linux has."""

from __future__ import annotations

import re

from support.elsewhere import elsewhere as elsewhere
from support.elsewhere import inside
from support.elsewhere import run
from support.elsewhere import run_tests
from support.servers import ROOT

LIST = "tests/elsewhere/portable.txt"


def test_the_readmes_app_runs_on_the_development_server(elsewhere: str) -> None:
    assert run_tests(elsewhere, "--noconftest", inside("first_app")) == 1


def test_each_file_of_the_list_can_be_imported(elsewhere: str) -> None:
    plugins = ["-p", "support.without_linux.runner", "-p", "no:cacheprovider"]
    command = ["-m", "pytest", "--collect-only", "-q", *plugins, f"@{LIST}"]
    done = run(elsewhere, *command, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-4000:]
    found = set(re.findall(r"^(tests/\S+?\.py)::", done.stdout, re.M))
    listed = (ROOT / LIST).read_text().split()
    assert found == {word for word in listed if word.endswith(".py")}
