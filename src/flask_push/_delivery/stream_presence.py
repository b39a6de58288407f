"""Where a stream's user is shown as present, and whose presence its page receives.

A view says so when it grants the stream.
"""

from __future__ import annotations

import typing as t


class StreamPresence(t.NamedTuple):
    #: The channels in whose presence the stream's user is listed, each with JSON that is
    #: shown with the user.
    present: tuple[tuple[str, str], ...] = ()
    #: The channels of whose presence the page receives all changes.
    watch: tuple[str, ...] = ()
    #: The channels in whose presence the user is counted, and not listed.
    counted: tuple[str, ...] = ()

    @property
    def shown(self) -> bool:
        """Whether the stream's user is present anywhere."""
        return bool(self.present or self.counted)

    @property
    def channels(self) -> tuple[str, ...]:
        """All that it names."""
        return (*(channel for channel, _ in self.present), *self.watch, *self.counted)

    def to_json(self) -> dict[str, t.Any]:
        """The fields that are not empty."""
        return {name: value for name, value in self._asdict().items() if value}

    @classmethod
    def from_json(cls, values: t.Any) -> StreamPresence:
        """Read what any version has sent. Ignores unknown fields.

        :raises ValueError: If a field is of another type.
        """
        if not isinstance(values, dict):
            raise ValueError(f"'presence' is {values!r:.80}")
        present = tuple(map(_pair, _list(values, "present")))
        watch, counted = (tuple(_list(values, name)) for name in ("watch", "counted"))
        if not all(isinstance(name, str) for name in (*watch, *counted)):
            raise ValueError(f"'watch' or 'counted' of 'presence' is {values!r:.80}")
        read = cls(present, watch, counted)
        return read if any(read) else NOTHING


#: That of a stream without presence.
NOTHING = StreamPresence()


def _list(values: dict[str, t.Any], name: str) -> list[t.Any] | tuple[t.Any, ...]:
    value = values.get(name, ())
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name!r} of 'presence' is {value!r:.80}")
    return value


def _pair(pair: t.Any) -> tuple[str, str]:
    if isinstance(pair, (list, tuple)) and len(pair) == 2:
        channel, info = pair
        if isinstance(channel, str) and isinstance(info, str):
            return channel, info
    raise ValueError(f"'present' of 'presence' has {pair!r:.80}")
