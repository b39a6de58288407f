"""What all kinds of messages have in common."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from dataclasses import fields

from .._delivery.known import known


@dataclass(frozen=True)
class Message:
    """The value of the key is the first field. Other fields have keys of their own."""

    #: Names the kind.
    key: t.ClassVar[str]

    def to_json(self) -> dict[str, t.Any]:
        values = dict(vars(self))
        first = next(iter(values), None)
        return {self.key: 1 if first is None else values.pop(first), **values}

    @classmethod
    def from_json(cls, message: dict[str, t.Any]) -> t.Self:
        """
        :raises Exception: If a field is missing, or is of a wrong type.
        """
        names = [field.name for field in fields(cls)]
        first = {names[0]: message[cls.key]} if names else {}
        return cls(**{**known(cls, message), **first})
