"""What the workflow runs on macOS and Windows needs nothing that only Linux has."""

from __future__ import annotations

import re
import subprocess
import sys

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


#: Modules that Windows lacks, for a process that can import them nowhere: not even the
#: pretence, which has them from before they were taken away.
LACKING = """
import pytest, sys
sys.modules.update(dict.fromkeys(["fcntl", "grp", "pwd", "resource", "termios"]))
sys.path.insert(0, "tests")
sys.exit(pytest.main(sys.argv[1:]))
"""


def test_no_file_of_the_list_needs_a_module_that_windows_lacks() -> None:
    words = ["--collect-only", "-q", "-p", "no:cacheprovider", f"@{LIST}"]
    done = subprocess.run(
        [sys.executable, "-c", LACKING, *words], cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout[-4000:]
