"""Makes this Python lack what another system lacks, before any other code runs.

    PRETEND=windows PYTHONPATH=tests/support/without_linux flask run

Python imports this module at its start, because its folder is on ``PYTHONPATH``. So do all
Python processes that this one starts.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

try:
    match os.environ.get("PRETEND"):
        case "windows":
            from support.without_linux import windows as windows
        case "macos":
            from support.without_linux import macos as macos
        case other:
            raise RuntimeError(f"PRETEND has to be windows or macos, not {other!r}.")
except BaseException:
    # Python itself would go on, as on Linux.
    traceback.print_exc()
    os._exit(70)
