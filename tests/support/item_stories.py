"""Stories of what happens to a store with items, to its hubs and to their readers: how they
are searched, written in short, and played in :mod:`items_world`."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

import pytest
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import Phase
from hypothesis import settings
from hypothesis import strategies as st

from support.items_store import ITEMS
from support.items_store import ItemsStore
from support.items_store import LOG
from support.items_world import ItemsClient
from support.items_world import ItemsHub
from support.items_world import Rules
from support.items_world import settle
from support.mutants import mutated

Step = tuple[t.Any, ...]
Play = cabc.Callable[[cabc.Sequence[Step], Rules, bool], None]


class World:
    """A store, hubs and clients, to which the steps of a story happen."""

    store: ItemsStore
    hubs: cabc.Sequence[ItemsHub]

    def __init__(self, rules: Rules, pushes: bool, hubs: int = 1) -> None:
        self.store = ItemsStore()
        self.hubs = [ItemsHub(self.store, rules, pushes) for _ in range(hubs)]
        self.clients: list[ItemsClient] = []

    def add_client(self, *, claims: bool, every: float = 0) -> None:
        self.clients.append(ItemsClient(self.store, claims=claims, every=every))

    def happen(self, verb: str, *args: t.Any) -> None:
        """Let one step happen. A hub and a client are given by their number."""
        match verb, args:
            case "set", (item, value):
                self.store.store(item, str(value))
            case "unset", (item,):
                self.store.store(item, None)
            case "fail", (lost,):
                self.store.fail_over(lost)
                for hub in self.hubs:
                    hub.joined = False
            case "link", (hub,):
                self.hubs[hub].cut()
            case "replace", (hub,):
                self.hubs[hub].take_over()
            case (("turn" | "pace" | "evict" | "lose" | "restart"), (hub, *more)):
                getattr(self.hubs[hub], verb)(*more)
            case "connect", (client, hub):
                self.clients[client].connect(self.hubs[hub])
            case (("cut" | "deliver"), (client, *more)):
                getattr(self.clients[client], verb)(*more)
            case "grant", (client, both):
                self.clients[client].cut()
                self.clients[client].channels = {LOG, ITEMS} if both else {LOG}
            case "eager", (client, eager):
                self.clients[client].eager = eager
            case _:
                getattr(self.store, verb)(*args)

    def settle(self) -> None:
        """Let everything arrive, and check it."""
        settle(self.store, self.hubs, self.clients)


def steps(*words: st.SearchStrategy[t.Any] | str) -> st.SearchStrategy[Step]:
    return st.tuples(*(st.just(word) if isinstance(word, str) else word for word in words))


def search(play: Play, happens: st.SearchStrategy[Step], examples: int) -> None:
    """Play stories of these steps until one fails, and show the shortest one that does."""

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=set(Phase) - {Phase.explain},
        report_multiple_bugs=False,
    )
    @given(st.lists(happens, min_size=12, max_size=60), st.booleans())
    def run(story: list[Step], pushes: bool) -> None:
        play(story, Rules(), pushes)

    run()


def tell(play: Play, story: str, rules: Rules, pushes: bool = True) -> None:
    """Play a story that is written in short."""
    words = [step.split() for step in story.split("; ")]
    play(
        [tuple(int(w) if w.isdigit() else w for w in step) for step in words], rules, pushes
    )


class Mutant(t.NamedTuple):
    """A rule that is removed from the source, and a story that fails without it."""

    law: str
    story: str
    old: str
    new: str
    pushes: bool = True


def is_missed(play: Play, mutant: Mutant) -> None:
    """The story of a mutant fails without the rule, and only then."""
    tell(play, mutant.story, Rules(), mutant.pushes)
    rules = Rules.of(mutated(mutant.old, mutant.new))
    with pytest.raises(AssertionError):
        tell(play, mutant.story, rules, mutant.pushes)
