"""How a hub is asked for lists, and which answers are refused."""

from __future__ import annotations

import contextlib
import threading
import typing as t
from pathlib import Path

import pytest

from flask_push._ipc.files import HubFiles
from flask_push._ipc.listing_protocol import ChannelPage
from flask_push._ipc.listing_protocol import ListChannels
from flask_push._ipc.listing_protocol import ListStreams
from flask_push._ipc.messages import Messages
from flask_push._ipc.status import channels_of
from flask_push._ipc.status import streams_of
from flask_push._ipc.status import TooOld

STATUS = {"status": {"pid": 1, "version": "0", "streams": 0, "position": ""}}


@contextlib.contextmanager
def hub(path: Path, known: dict[str, dict[str, t.Any]]) -> t.Iterator[HubFiles]:
    """Answers the kinds that it knows, and ignores the others, as each hub does."""
    files = HubFiles(path)

    def run() -> None:
        sock, _ = listener.accept()
        with contextlib.closing(Messages(sock)) as messages:
            with contextlib.suppress(EOFError, OSError):
                while True:
                    for message, _ in messages.receive():
                        for kind in message.keys() & known.keys():
                            messages.send(known[kind])

    with files.listen() as listener:
        thread = threading.Thread(target=run)
        thread.start()
        yield files
        thread.join()


def test_a_hub_of_an_older_version_can_not_list_and_does_not_hang(tmp_path: Path) -> None:
    with hub(tmp_path / "hub.sock", {"status": STATUS}) as files:
        with pytest.raises(TooOld, match="older version, which can't list its streams"):
            streams_of(files, ListStreams())


def test_a_page_is_read_though_the_status_comes_after_it(tmp_path: Path) -> None:
    page: dict[str, t.Any] = {"channel_page": {"channels": [["a", 3]], "next": None}}
    known = {"status": STATUS, "list_channels": page}
    with hub(tmp_path / "hub.sock", known) as files:
        found = channels_of(files, ListChannels())
        assert found == ChannelPage([["a", 3]], None)  # type: ignore[list-item]


@pytest.mark.parametrize(
    "answer", [{}, {"stream_page": []}, {"stream_page": {"streams": []}}, {"bye": "x"}]
)
def test_an_answer_that_is_not_a_hubs_page_is_an_error(
    answer: dict[str, t.Any], tmp_path: Path
) -> None:
    with hub(tmp_path / "hub.sock", {"list_streams": answer}) as files:
        with pytest.raises(ConnectionError, match="not a hub of Flask-Push"):
            streams_of(files, ListStreams())
