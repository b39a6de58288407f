"""Measure Flask-Push and other servers, side by side in one run.

    python bench/run.py              everything, in less than half an hour
    python bench/run.py --quick      the most important rows, in two minutes
    python bench/run.py fan_out --servers nchan node
    python bench/run.py redis_publish gzip_time    what parts of Flask-Push cost
    python bench/run.py scale --streams 100000     many streams on six hubs, in six minutes

It prints the results, and writes them to docs/bench with --write.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import sys
import time
import typing as t
from pathlib import Path

import report
from compare import Row
from compare import Scale
from costs import COSTS
from loader import build
from processes import CPUS
from processes import HERE
from workloads import WORKLOADS

_QUICK = "fan_out", "fan_out_joined", "many_channels", "latency", "connect"
_QUICK_SERVERS = "Flask-Push, hub alone", "Flask-Push", "nchan", "node"
_OURS = "Flask-Push, hub alone", "Flask-Push", "Flask-Push on Redis", "C, joined"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python bench/run.py")
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        help=f"{', '.join(WORKLOADS)}; of parts: {', '.join(COSTS)}",
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="a few readers, for the tests")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of a server's turn")
    parser.add_argument("--small", type=int, help="readers, instead of 1,000")
    parser.add_argument("--large", type=int, help="readers, instead of 10,000")
    parser.add_argument("--streams", type=int, help="of scale, instead of 100,000")
    parser.add_argument("--servers", nargs="*", help="beside the server in C")
    parser.add_argument("--without", nargs="*", help="servers to leave out")
    parser.add_argument("--before", help="the src of another version to compare with")
    parser.add_argument("--ours", action="store_true", help="only Flask-Push, and C")
    parser.add_argument(
        "--write", type=Path, nargs="?", const=HERE.parent / "docs" / "bench"
    )
    given = parser.parse_args(arguments)
    names = given.workloads or (_QUICK if given.quick else list(WORKLOADS))
    known = {**WORKLOADS, **COSTS}
    if unknown := set(names) - set(known):
        parser.error(f"there is no workload {', '.join(sorted(unknown))}")
    build()
    started, scale = time.monotonic(), scale_of(given)
    rows: list[Row] = []
    for name in names:
        print(f"{name} ...", end="", flush=True, file=sys.stderr)
        begun = time.monotonic()
        found = known[name](scale)
        print(f" {time.monotonic() - begun:.0f} s", file=sys.stderr)
        rows += found
        print((report.wide if name == "scale" else report.table)(found), flush=True)
        if given.write:
            # After each workload, so that an interrupted run leaves results.
            report.write(given.write, about(time.monotonic() - started), rows)
    return 1 if any(row.faults for row in rows) else 0


def scale_of(given: argparse.Namespace) -> Scale:
    scale: dict[str, t.Any] = {"rounds": 7, "seconds": 0.5}
    if given.quick:
        scale.update(rounds=3, seconds=0.4, servers=_QUICK_SERVERS)
    if given.tiny:
        scale.update(rounds=1, seconds=0.1, small=20, large=50, fleet=50, streams=60)
        scale["servers"] = ("Flask-Push, hub alone", "Flask-Push")
    for name in "rounds", "seconds", "small", "large", "streams", "before", "without":
        if getattr(given, name) is not None:
            scale[name] = getattr(given, name)
    if given.servers or given.ours:
        scale["servers"] = tuple(given.servers or _OURS)
    return Scale(**scale)


def about(seconds: float) -> dict[str, t.Any]:
    """How, when and where it was run."""
    return {
        "command": shlex.join(["python", "bench/run.py", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "seconds": round(seconds),
        "cpus": len(CPUS),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main())
