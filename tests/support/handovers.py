"""The state of a hub, as its successor gets it."""

from __future__ import annotations

import json

from flask_push._delivery.channel import Chunk
from flask_push._delivery.channel import frame_of
from flask_push._delivery.snapshot import HubState
from flask_push._delivery.snapshot import LogState
from flask_push._delivery.snapshot import ReaderState


def sent(state: HubState, older: bool = False) -> HubState:
    """The state as another process gets it.

    :param older: Whether one of them knows no items.
    """
    log = json.loads(json.dumps(state.log))
    readers = []
    for reader, fd in state.readers:
        frames: dict[int, Chunk] = {}
        numbers: dict[int, int] = {}
        if isinstance(reader.rest, memoryview):
            frames[0], numbers[id(frame_of(reader.rest))] = frame_of(reader.rest), 0
        values = json.loads(json.dumps(reader.to_json(numbers)))
        if older:
            del values[-1]
        readers.append((ReaderState.from_json(values, frames), fd))
    if older:
        del log[-1]
    return HubState(LogState.from_json(log), readers, state.drains)
