"""Reads of items by a hub, whose answers it gets when a test says so."""

from __future__ import annotations

import pytest

from flask_push._hub.item_reads import ItemReads
from support.held_reads import HeldBroker
from support.item_hubs import ItemScene

FEW = {f"i{n}": str(n) for n in range(3)}


def reads(scene: ItemScene) -> ItemReads:
    return scene.hub._streams.item_reads


def is_idle(scene: ItemScene) -> bool:
    return repr(reads(scene)) == "<ItemReads [0 reads, 0 readers queued]>"


@pytest.fixture
def broker() -> HeldBroker:
    return HeldBroker()
