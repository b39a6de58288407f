"""The metrics of an app's hubs in a registry of prometheus-client, for an app that has
metrics of its own there."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from ._delivery.figures import Family
from ._delivery.figures import Figures
from ._delivery.openmetrics import bounds
from ._delivery.openmetrics import PREFIX
from ._delivery.openmetrics import READ
from ._delivery.openmetrics import SHOWN
from ._delivery.openmetrics import UP
from ._extension import Push
from .brokers import NotRead

try:
    from prometheus_client.core import CounterMetricFamily
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.core import HistogramMetricFamily
    from prometheus_client.core import Metric
except ModuleNotFoundError as error:
    raise RuntimeError(
        "flask_push.metrics needs prometheus-client. Install it:"
        " pip install 'flask-push[metrics]'"
    ) from error

__all__ = ["Collector"]


class Collector:
    """Shows what :meth:`.Push.metrics` shows, in a registry: ``REGISTRY.register(
    Collector(push))``.

    It reads the store when the registry is read, not when it is registered. Each process
    shows the same, so a registry for several processes needs it once. If the store can't be
    read, it only shows that, as ``flask_push_up 0``, so that the app's other metrics are
    there. The log has the reason.

    :param push: If it has several apps, read the registry in the context of one of them.
    :raises TypeError: If it is not a Push.
    """

    def __init__(self, push: Push) -> None:
        if not isinstance(push, Push):
            raise TypeError(f"A Collector takes a Push, not {push!r:.80}.")
        self._push = push

    def __repr__(self) -> str:
        return f"<Collector {self._push!r}>"

    def describe(self) -> list[Metric]:
        """The names, for the registry. Without this it would read the store for them."""
        return [_empty(family) for family in SHOWN]

    def collect(self) -> cabc.Iterator[Metric]:
        """The values now.

        :raises RuntimeError: If ``PUSH_METRICS`` is ``False``.
        """
        services = self._push._services()
        try:
            figures = services.publisher.figures().figures + READ
        except NotRead as error:
            services.quiet.error(
                "Could not read the metrics; the registry shows flask_push_up 0: %s", error
            )
            yield _filled(UP, Figures())
            return
        for family in SHOWN:
            yield _filled(family, figures)


_KINDS: dict[str, t.Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def _empty(family: Family) -> t.Any:
    labels = [family.label] if family.label else []
    make = _KINDS[family.kind]
    return make(PREFIX + family.name, family.help, labels=labels, unit=family.unit)


def _filled(family: Family, figures: Figures) -> Metric:
    metric = _empty(family)
    if family.kind == "histogram":
        counts, total = figures.histogram(family)
        metric.add_metric([], [*zip(bounds(family), counts, strict=True)], total)
    else:
        for label in family.values or ("",):
            metric.add_metric([label] if label else [], figures.value(family, label))
    return t.cast(Metric, metric)
