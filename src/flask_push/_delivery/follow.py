"""Which run a stream follows, from where, and in which format.

A view says so when it grants the stream.
"""

from __future__ import annotations

import typing as t

from .known import known
from .run_wires import WIRES

#: How a response shows its client whether it is whole: not at all; by chunks, of which
#: there is a last one; or by the way in which its connection ends. Those of the wire
#: ``push`` need nothing, because an event says that the run has ended.
Framing: t.TypeAlias = t.Literal["none", "chunked", "close"]
_FRAMINGS: tuple[Framing, ...] = t.get_args(Framing)


class Follow(t.NamedTuple):
    #: The app's channel.
    channel: str = ""
    #: The run and its attempt, with which the names of their rows begin. Empty if the
    #: stream follows no run.
    tag: str = ""
    #: The name of the format: see :data:`.WIRES`.
    wire: str = "push"
    #: The epoch of the position below.
    epoch: str = ""
    #: The number of the position from which it begins.
    after: int = 0
    #: How many events of the first row it has already. They are not sent again.
    skip: int = 0
    framing: Framing = "none"

    def to_json(self) -> dict[str, t.Any]:
        """The fields that another process can't assume."""
        default = NOT_FOLLOWING._asdict()
        values = self._asdict().items()
        return {name: value for name, value in values if value != default[name]}

    @classmethod
    def from_json(cls, values: t.Any) -> Follow:
        """Read what any version has sent. Ignores unknown fields.

        :raises ValueError: If a field is of another type, or if this version does not know
            the format.
        """
        if not isinstance(values, dict):
            raise ValueError(f"'follow' of a stream is {values!r:.80}")
        read = cls(**known(cls, values))
        return NOT_FOLLOWING if read == NOT_FOLLOWING else check_follow(read)


#: That of a stream that follows no run.
NOT_FOLLOWING = Follow()


def check_follow(follow: Follow) -> Follow:
    """The same, if its fields can be used.

    :raises ValueError: If one can't. Later, in the hub, it could harm other streams.
    """
    for name, value in follow._asdict().items():
        kind = type(Follow._field_defaults[name])
        # A bool is an int, too, and would be sent as one.
        if type(value) is not kind or (kind is int and value < 0):
            raise ValueError(f"{name!r} of a follow is {value!r:.80}")
    if not (follow.tag and follow.channel):
        raise ValueError(f"A follow names no run: {follow!r:.200}")
    if follow.wire not in WIRES or follow.framing not in _FRAMINGS:
        known_ones = ", ".join(WIRES)
        raise ValueError(
            f"This version can't send the wire {follow.wire!r:.80} with the framing"
            f" {follow.framing!r:.80}. It knows {known_ones}; and {', '.join(_FRAMINGS)}."
        )
    if WIRES[follow.wire].is_plain == (follow.framing == "none" or follow.skip > 0):
        raise ValueError(
            f"A stream of the wire {follow.wire!r} can't have the framing"
            f" {follow.framing!r} and skip {follow.skip} events. Only plain wires need a"
            " framing, and only a wire with ids can skip events."
        )
    return follow
