"""What an app's views show to those who watch it: metrics, and whether it is healthy."""

from __future__ import annotations

import time

from flask import current_app
from flask import has_app_context
from flask import has_request_context
from flask import json
from flask import request
from flask import Response

from ._delivery import openmetrics
from ._state import Services
from .brokers import NotRead

# Seconds that the hubs may take to answer, all together.
_HUB_SECONDS = 2.0


class Monitored:
    """What :class:`Push` shows of itself."""

    def metrics(self) -> Response:
        """Answer the request with the metrics of all hubs, on all machines, for
        Prometheus. Return it from a view, which decides who may see them.

        It takes one read of the store, and asks no hub. Any process gives the same answer.
        A client that does not ask for OpenMetrics gets the older text format. If the store
        can't be read, the status is 503, and the log has the reason.

        :raises RuntimeError: If ``PUSH_METRICS`` is ``False``, or if the broker keeps no
            items.
        """
        services = self._services()
        wanted = _asks_for_openmetrics()
        try:
            figures = services.publisher.figures().figures
        except NotRead as error:
            services.quiet.error(
                "Could not read the metrics; the response is a 503: %s", error
            )
            return _respond("The store can't be read. The log has the reason.\n", 503)
        text = openmetrics.to_text(figures + openmetrics.READ, openmetrics=wanted)
        kind = openmetrics.OPENMETRICS if wanted else openmetrics.PLAIN
        response = _respond(text, 200, kind)
        response.vary.add("Accept")
        return response

    def health(self, *, store: bool = True) -> Response:
        """Answer a probe: 200 if the hub and the store answer, else 503. Return it from a
        view.

        The body is JSON. ``hub`` is ``"ok"``, ``"none"``, ``"waiting"`` if it answers and
        can't read the store, or ``"broken"`` if it does not answer. ``store`` is ``"ok"``
        or ``"broken"``: whether this process can read it. The log has the reason. No hub is
        fine: the first stream starts one. But a hub that you run yourself has to be there.

        It starts nothing, and stores nothing. The hubs of this machine have two seconds to
        answer, and the store has ``PUSH_PUBLISH_TIMEOUT``.

        :param store: Whether to ask the store, too, and the hub whether it can read it. A
            probe that restarts the app must not, because that does not mend a store. Then
            a hub that waits for its store is ``"ok"``.
        """
        services = self._services()
        found = {}
        if store:
            # First, because the call in which each request asks for the store's position
            # may just have waited in vain. Then this one does not wait again.
            found["store"] = _store(services)
        found["hub"] = _hub(services, store)
        status = 200 if {*found.values()} <= {"ok", "none"} else 503
        return _respond(json.dumps(found) + "\n", status, "application/json")

    def _services(self) -> Services:
        raise NotImplementedError


def _hub(services: Services, store: bool) -> str:
    try:
        trouble = services.hub.answers(time.monotonic() + _HUB_SECONDS)
    except OSError as error:
        services.quiet.error("The hub does not answer a probe: %s", error)
        return "broken"
    if trouble and store:
        services.quiet.error(
            "The hub answers a probe, and waits for its store: %s", trouble
        )
        return "waiting"
    return "none" if trouble is None else "ok"


def _store(services: Services) -> str:
    try:
        services.publisher.position()
    except NotRead as error:
        services.quiet.error("The store does not answer a probe: %s", error)
        return "broken"
    return "ok"


def _asks_for_openmetrics() -> bool:
    if not has_request_context():
        return True
    return any(
        name.partition(";")[0].strip() == "application/openmetrics-text" and quality
        for name, quality in request.accept_mimetypes
    )


def _respond(
    text: str, status: int, content_type: str = "text/plain; charset=utf-8"
) -> Response:
    base = current_app.response_class if has_app_context() else Response
    response = base(text, status, content_type=content_type)
    # What it says is true now, and for this client.
    response.cache_control.no_store = True
    return response
