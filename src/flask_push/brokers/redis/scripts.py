"""The scripts that run inside of Redis: what is stored, and under which names.

The Lua lies in files beside this one, in ``lua``. Each call is one transaction. All keys
of a store share one hash tag, and their names contain the store's *life*: if the key that
holds the store is lost, another life begins, and the keys of the last are never read
again. A caller names all keys that a script may touch, so it must know the life; a
script that is called with another life does nothing, and returns the right one.

``{push}:store``
    A hash: the life, the epoch, the last number given, the retention, and so on.
``{push}:<life>:heads``
    A sorted set: each channel that holds events, with a number that is not after its
    oldest event. It tells the store what it should have: if a channel is in it and its log
    is not there, the log was evicted, or another program has stored something of its own
    under the log's key.
``{push}:<life>:log:<channel>``
    A list of records ``number:prev:length of type:length of data:type, then data``.
``{push}:<life>:keys``
    A sorted set: ``length of channel:channel, then key`` of each event that has a key,
    with the event's number. The oldest are removed as the oldest events are. The field
    ``keys`` of the store counts their bytes.
``{push}:<life>:call:<caller>``
    The caller's last call, and its result, so that the call can be repeated. Calls of one
    caller come one after the other, for half a minute; the key lives for a minute.
``{push}:<life>:own:<log>``
    A list of records ``number:microseconds for which it is kept:data``: one of the logs of
    ``brokers/own.py``. The field ``own:<log>`` of the store has the life, the log's
    horizon, the number of its newest entry, how many entries it has, and the bytes of their
    data. The retention does not concern it, and ``prune.lua`` does not touch it.

    An entry is published on ``{push}:own:<database>:<log>``, as ``epoch:number:number of
    the entry before it:data``.

``{push}:<life>:rows:<kind>:<channel>``
    A hash: of each item, its row, which is ``number:epoch:version:since:ttl:length of
    owner:length of type:owner, type, then data``. ``since`` and ``ttl``, in microseconds,
    are of the deadline. A tombstone has the type ``push:unset``.
``{push}:<life>:order:<kind>:<channel>`` and ``{push}:<life>:unset:<kind>:<channel>``
    Sorted sets of items by number: those that are set, and the tombstones.
``{push}:<life>:items``
    A hash: ``kind:channel`` of each channel that has rows, with ``horizon:number of the
    newest row:living rows:tombstones:bytes of living rows:number of the oldest tombstone``.
    If the keys of its rows hold others than so many, they were evicted,
    and the store begins another epoch. ``kind:`` has the horizon of channels of an own kind
    that are not in it, if rows of some were forgotten.
``{push}:<life>:deadlines``
    A sorted set: ``since:kind:length of channel:channel, then item`` of each row that has a
    deadline, with the deadline.
``{push}:<life>:owners``
    A sorted set: ``kind:length of owner:owner:number:length of channel:channel, then item``
    of each row that has an owner. The number has 16 digits.

Rows are published where the events of their channel are, neighbours of one type together:
``epoch:number of the first:i`` and the number of the row before it, ``:length of
type:type``, of each row ``length of item length of data`` with commas, a colon, all items,
and all data. If the horizon of the channel has grown, ``epoch:last number:h:horizon``
follows. Older versions skip both, because the third field is not a number.

Events are published on ``{push}:<database>:<channel>``, neighbours together, as ``epoch:``
and their records, where only the first has its number; prev is empty for events that are
not stored.

Another server than the one on which the store was last seen, or a server that was
another's replica meanwhile, may have lost events that it had acknowledged. So the store
begins another epoch (law 3).

Numbers are microseconds by the server's clock, which may be set, forward or back. So a
caller that was told the store's time before, and has counted since, sends the time that it
should be. The store believes this, and keeps by how much it is ``ahead`` of the server's
clock. If the first caller after a jump knows no time, numbers still never go back; and the
numbers that a jump forward has left out, from ``from`` to ``upto``, count as no time that
has passed: they make nothing too old, unless the clock still says the same a minute later
(``doubt``).

A script may not pass more than about 8,000 values to a function at once, so it unpacks
nothing that can grow. And it must not fail after its first write, because Redis undoes
nothing: so it first tries everything that may be refused.

The cost of a script is the commands that it calls, about a microsecond each, and then the
closures that it builds. So publishing usually builds none, and looks at the rest of the
store only once a second, or if something is unusual.
"""

from __future__ import annotations

import collections.abc as cabc
import hashlib
import re
import typing as t
from importlib import resources

_LUA = resources.files(__package__ or "") / "lua"
_INCLUDE = re.compile(r"-- include (\w+\.lua)")

Arg = str | bytes | int


class Script(t.NamedTuple):
    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> Script:
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

    @classmethod
    def read(cls, name: str) -> Script:
        """The script of a file in ``lua``."""
        return cls.of("\n".join(_lines(name)))

    def in_cluster(self) -> Script:
        return self.of(self.text.replace("'PUBLISH'", "'SPUBLISH'"))

    def by_sha(self, args: cabc.Sequence[Arg]) -> list[Arg]:
        return ["EVALSHA", self.sha, *args]

    def by_text(self, args: cabc.Sequence[Arg]) -> list[Arg]:
        return ["EVAL", self.text, *args]


def _lines(name: str) -> cabc.Iterator[str]:
    """The file's lines with those that it includes, without comments and indentation,
    which Redis would keep."""
    for line in (_LUA / name).read_text(encoding="utf-8").splitlines():
        line = line.strip()
        if found := _INCLUDE.fullmatch(line):
            yield from _lines(found[1])
        elif line and not line.startswith("--"):
            yield line


PUBLISH = Script.read("publish.lua")
#: In a Cluster. A message that is published to its slot stays with the node that owns the
#: slot, so those who subscribe there receive all in order. Other messages go to all nodes.
SPUBLISH = PUBLISH.in_cluster()
READ = Script.read("read.lua")
READ_TIMED = Script.read("read_timed.lua")
PRUNE = Script.read("prune.lua")
APPEND = Script.read("append.lua")
SAPPEND = APPEND.in_cluster()
READ_OWN = Script.read("read_own.lua")
#: Those of items, and of pages that have items.
CHANGE = Script.read("change.lua")
SCHANGE = CHANGE.in_cluster()
READ_ITEMS = Script.read("read_items.lua")
READ_WITH_ITEMS = Script.read("read_with_items.lua")
READ_ROWS = Script.read("read_rows.lua")
DUE = Script.read("due.lua")
OWNED = Script.read("owned.lua")
FORGET = Script.read("forget.lua")
SFORGET = FORGET.in_cluster()
