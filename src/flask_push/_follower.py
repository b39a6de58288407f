"""Answers a request with a run, from where its client has it (laws R58, R63 and R65)."""

from __future__ import annotations

import collections.abc as cabc
import math
import typing as t

from flask import Flask
from flask import Request
from flask import Response

from ._arrival import Arrival
from ._checks import check_number
from ._delivery import wire
from ._delivery.connection_id import new_connection_id
from ._delivery.follow import Follow
from ._delivery.follow_start import Place
from ._delivery.follow_start import place_of
from ._delivery.follow_start import Start
from ._delivery.follow_start import start_of_channel
from ._delivery.follow_start import start_of_run
from ._delivery.last_event_id import position_of
from ._delivery.run_record import Record
from ._delivery.run_rows import NOW
from ._delivery.run_rows import RUN
from ._delivery.run_wires import WIRES
from ._delivery.stream import Stream
from ._event import ItemsPage
from ._event import Name
from ._holder.look import time_of
from ._holder.store import record_of
from ._names import channel_name
from ._names import name_of
from ._plain_response import PlainResponse
from ._plain_response import unavailable
from ._request import BadChannels
from ._response import respond
from ._response import StreamResponse
from ._runs import Run
from ._state import Services
from .brokers import NotRead

#: The name of a wire, as an app passes it.
WireName: t.TypeAlias = t.Literal["push", "ai-sdk", "ag-ui", "openai"]

# On these wires, a response without a body means that nothing runs. Clients of the others
# take it for an empty run.
_MAY_GET_NOTHING = "push", "ai-sdk"
_NOTHING = "There is no run to follow.\n"


class Follower:
    """One request for a run."""

    def __init__(
        self, app: Flask, services: Services, arrival: Arrival, request: Request
    ) -> None:
        self._app, self._services = app, services
        self._arrival, self._request = arrival, request
        query = request.args.to_dict() if request.query_string else {}
        self._word: cabc.Callable[[str], str] = lambda name: query.get(name, "")

    def answer(
        self,
        run: Run | str,
        wire_name: WireName,
        late: float,
        user: Name | None,
        session: Name | None,
    ) -> Response:
        """As :meth:`.Push.follow`."""
        channel = _channel_of(run)
        checked_late, is_plain = _check_late(late), _check_wire(wire_name)
        stream = Stream(
            channels=(channel,),
            connection="",
            user=None if user is None else name_of("user", user),
            session="" if session is None else name_of("session", session),
        )
        try:
            start, epoch = self._find(run, channel, is_plain, checked_late)
        except NotRead as error:
            return self._not_now(stream, is_plain, error)
        if start is None:
            return self._nothing(wire_name)
        follow = Follow(channel, start.tag, wire_name, epoch, start.after, start.skip)
        stream = stream._replace(follow=follow)
        if self._services.config.max_streams_per_address:
            stream = stream._replace(address=self._request.remote_addr)
        stream = self._arrival.add_seen(stream, self._request, self._services)
        return self._plain(stream) if is_plain else self._pushed(stream)

    def _find(
        self, run: Run | str, channel: str, is_plain: bool, late: float
    ) -> tuple[Start | None, str]:
        """Where the stream begins, and the store's epoch.

        :raises NotRead: If the store can't be read.
        """
        process, _ = self._services.publisher._runs()
        broker = process.store.broker
        page = broker.find(channel, [NOW], kind=RUN)
        record = record_of(page.rows)
        if record is None:
            return None, page.epoch
        if record.is_active and process.look.look(broker, channel, record):
            # Nothing holds the run, so it has ended.
            page = broker.find(channel, [NOW], kind=RUN)
            record = record_of(page.rows) or record
        place = None if is_plain else self._place(channel, page)
        if isinstance(run, Run):
            return start_of_run(record, run._now.serial, place), page.epoch
        return start_of_channel(record, place, _is_late(record, page, late)), page.epoch

    def _place(self, channel: str, page: ItemsPage) -> Place | None:
        header = self._request.environ.get("HTTP_LAST_EVENT_ID", "")
        id = position_of(header, self._word)
        return place_of(id, channel, page.epoch, page.end)

    def _pushed(self, stream: Stream) -> StreamResponse:
        stream = stream._replace(
            connection=new_connection_id(self._word("connection")),
            poll=self._word("poll") == "1",
            visible=self._word("visible") == "1",
        )
        return respond(self._app.response_class, self._services, stream, False)

    def _plain(self, stream: Stream) -> StreamResponse:
        stream = stream._replace(connection=new_connection_id(""))
        base, services = self._app.response_class, self._services
        response = respond(base, services, stream, False, PlainResponse)
        response.headers.extend(WIRES[stream.follow.wire].headers)
        return response

    def _nothing(self, wire_name: WireName) -> Response:
        if wire_name in _MAY_GET_NOTHING:
            response = self._app.response_class(status=204)
            del response.headers["Content-Type"]
        else:
            response = self._app.response_class(_NOTHING, 404, mimetype="text/plain")
        response.headers["Cache-Control"] = "no-store"
        return response

    def _not_now(self, stream: Stream, is_plain: bool, error: NotRead) -> Response:
        self._services.quiet.error(
            "Could not read which run a stream follows; its client asks again: %s", error
        )
        if is_plain:
            return unavailable(self._app.response_class)
        body = self._services.retry_later(stream)
        return self._app.response_class(body, headers=list(wire.HEADERS.items()))


def _channel_of(run: Run | str) -> str:
    """
    :raises TypeError: If it is neither a run nor a channel.
    :raises ValueError: If it can't be the name of a channel.
    """
    if isinstance(run, Run):
        return run.channel
    if not isinstance(run, str):
        raise TypeError(
            f"follow takes a run, or the name of a channel, not {run!r:.80}. If nothing"
            " runs, follow(channel) says so to the client."
        )
    try:
        return channel_name(run)
    except ValueError as error:
        # The view may have made the name from the request. Then the request is bad.
        raise BadChannels(str(error)) from None


def _check_wire(name: str) -> bool:
    """
    :return: Whether the wire is plain.
    :raises ValueError: If there is none with this name.
    """
    if not isinstance(name, str) or name not in WIRES:
        known = ", ".join(map(repr, WIRES))
        raise ValueError(f"wire is one of {known}, not {name!r:.80}.")
    return WIRES[name].is_plain


def _check_late(late: float) -> float:
    """
    :raises TypeError: If it is not a number.
    :raises ValueError: If it is not a number of seconds.
    """
    check_number(late, "late is a number of seconds, as in late=30")
    if not 0 <= late < math.inf:
        raise ValueError(f"late is a number of seconds from 0 on, not {late!r:.80}.")
    return late


def _is_late(record: Record, page: ItemsPage, late: float) -> bool:
    """Whether the newest run has ended within so many seconds."""
    return time_of(page) - record.position.number <= late * 1_000_000
