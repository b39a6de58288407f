"""What an app sends later, with templates."""

from __future__ import annotations

import typing as t

from flask import render_template

from ._later import Held
from ._later import Later


class PushLater(Later):
    """As :class:`.Later`, for an app."""

    def publish_template(
        self,
        channel: str,
        template: str,
        /,
        *,
        type: str = "message",
        key: str | None = None,
        store: bool = True,
        exclude: str | None = None,
        **context: t.Any,
    ) -> None:
        """Render a template now, and publish the result later. As
        :meth:`.Push.publish_template`."""
        data = render_template(template, **context)
        self.publish(channel, data, type=type, key=key, store=store, exclude=exclude)


class PushHeld(PushLater, Held):
    """As :class:`.Held`, for an app."""
