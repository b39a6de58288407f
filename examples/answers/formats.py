"""An answer in the events of the protocol that its reader knows."""

import time
import typing as t

from flask_push import ag_ui
from flask_push import ai_sdk
from flask_push import Run

Events = t.Iterator[dict[str, t.Any]]
Pieces = t.Iterable[str]


def for_ai_sdk(pieces: Pieces, run: Run, channel: str, key: str) -> Events:
    # The same id in each replay and in the row, or the page shows the answer twice.
    return ai_sdk.text(pieces, message_id=run.id)


def for_ag_ui(pieces: Pieces, run: Run, channel: str, key: str) -> Events:
    thread = channel.partition(":")[2]
    return ag_ui.text(pieces, thread_id=thread, run_id=key, message_id=run.id)


def for_openai(pieces: Pieces, run: Run, channel: str, key: str) -> Events:
    about = {"id": run.id, "object": "chat.completion.chunk", "model": "invented"}
    about["created"] = int(time.time())
    for piece in pieces:
        choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
        yield {**about, "choices": [choice]}
    yield {**about, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


FORMATS = {"ai-sdk": for_ai_sdk, "ag-ui": for_ag_ui, "openai": for_openai}
