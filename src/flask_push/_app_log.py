"""Writes the log to where Flask writes its own, if the app has not configured logging."""

from __future__ import annotations

import logging

from flask.logging import default_handler


class _Default(logging.Handler):
    """Python's handler of last resort writes neither the time nor the level. This handler
    writes both, and nothing if the app has a handler, even one that it adds later."""

    def handle(self, record: logging.LogRecord) -> bool:
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return False
            logger = logger.parent if logger.propagate else None
        return bool(default_handler.handle(record))


_default = _Default()


def add_default_handler() -> None:
    """Add the handler, once for all apps of this process. Flask does the same for
    ``app.logger``."""
    logging.getLogger("flask_push").addHandler(_default)
