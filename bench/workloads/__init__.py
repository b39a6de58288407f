"""All workloads, by the name under which the command line knows them."""

from __future__ import annotations

import collections.abc as cabc

from compare import Row
from compare import Scale

from workloads import fan_out
from workloads import idle
from workloads import publishing
from workloads import storms

WORKLOADS: dict[str, cabc.Callable[[Scale], list[Row]]] = {
    "fan_out": fan_out.fan_out,
    "fan_out_joined": fan_out.fan_out_joined,
    "fan_out_large": fan_out.fan_out_large,
    "fan_out_large_joined": fan_out.fan_out_large_joined,
    "latency": fan_out.latency,
    "many_channels": fan_out.many_channels,
    "several_channels": fan_out.several_channels,
    "slow_readers": fan_out.slow_readers,
    "busy_view": fan_out.busy_view,
    "connect": storms.connect,
    "reconnect": storms.reconnect,
    "reconnect_large": storms.reconnect_large,
    "requests_while_reconnecting": storms.requests_while_reconnecting,
    "memory": idle.memory,
    "requests_beside_streams": idle.requests_beside_streams,
    "fleet": idle.fleet,
    "publishing": publishing.publishing,
}
