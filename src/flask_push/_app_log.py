"""Where the log goes if the app has not said so: to where Flask's own goes."""

from __future__ import annotations

import logging

from flask.logging import default_handler


class _Default(logging.Handler):
    """Python's own last resort writes neither the time nor the level. This one does, and
    is silent where the app has a handler, also one that it adds later."""

    def handle(self, record: logging.LogRecord) -> bool:
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return False
            logger = logger.parent if logger.propagate else None
        return bool(default_handler.handle(record))


_default = _Default()


def add_default_handler() -> None:
    """As Flask does it for ``app.logger``. Once for all apps of this process."""
    logging.getLogger("flask_push").addHandler(_default)
