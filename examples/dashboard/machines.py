"""Ten machines that do not exist. All processes of the app invent the same values."""

import math

MACHINES = "ada bohr curie dirac euler fermi gauss hertz ising joule".split()
# Of each metric, its title, its unit, its greatest value, and the seconds of its wave. More
# than nine tenths are too much.
METRICS = {
    "cpu": ("CPU", "%", 100, 40),
    "memory": ("Memory", "%", 100, 300),
    "disk": ("Disk", "%", 100, 2000),
    "requests": ("Requests", "/s", 1000, 60),
    "latency": ("Latency", "ms", 500, 90),
}


def measure(now: float) -> dict[str, tuple[float, bool]]:
    """Each value, and whether it is too high."""
    names = [f"{machine}-{metric}" for machine in MACHINES for metric in METRICS]
    # Each quarter of a minute, one machine has a problem for some seconds.
    turn, second = divmod(now, 15)
    trouble = names[int(turn) * 17 % len(names)] if 4 < second < 10 else ""
    values = {}
    for number, name in enumerate(names):
        *_, most, seconds = METRICS[name.partition("-")[2]]
        angle = 2 * math.pi * now / seconds + number * 2.4
        part = 0.42 + 0.25 * math.sin(angle) + 0.08 * math.sin(angle * 3.7)
        if name == trouble:
            part = 0.95
        part += 0.04 * (math.sin(now * 1e5 + number) * 1e5 % 1 - 0.5)
        values[name] = round(most * part, 1), part > 0.9
    return values
