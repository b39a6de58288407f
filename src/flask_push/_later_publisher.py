"""Send when a transaction has committed, with or without an app."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from ._changes import Sender
from ._later import Held
from ._later import Keep
from ._later import Later

#: The type of ``PUSH_AFTER_COMMIT_ERROR``.
AfterCommitError = cabc.Callable[[Exception, Held], object]


class SendsLater:
    """What :class:`Publisher` and :class:`Push` do with transactions."""

    @property
    def unsent(self) -> int:
        """How many changes of :meth:`after` this process could not send though their
        transaction had committed. Those that you sent again later are among them."""
        return self._sender()._unsent

    def after(self, session: t.Any) -> Later:
        """Publish, set, unset and disconnect when the session's transaction has committed,
        and not at all if it is rolled back.

        What is given to the result is checked and made JSON at once. It is sent, in order,
        right after the outermost commit, in the process and thread of the commit. What was
        given within a savepoint is dropped if that is rolled back. A session without a
        transaction begins one, as it does for a query.

        What raises in sending can't undo the commit, and is not raised: see
        ``PUSH_AFTER_COMMIT_ERROR``.

        :param session: A session of SQLAlchemy, such as ``db.session``; also a
            ``scoped_session``, and an ``AsyncSession``.
        :raises TypeError: If it is not a session.
        :raises RuntimeError: If SQLAlchemy 2 is not installed.
        """
        return Later(self._sender(), keep_in(session))

    def held(self) -> Held:
        """Publish, set, unset and disconnect when you call ``send()``.

        For transactions of another package than SQLAlchemy. Use it with ``with``: an
        exception that leaves the block drops what was gathered. So does ``drop()``. A block
        that ends with something that was neither sent nor dropped raises a `RuntimeError`.
        """
        return Held(self._sender())

    # The rest of the publisher.

    def _sender(self) -> Sender:
        """What sends the changes."""
        raise NotImplementedError


def keep_in(session: object) -> Keep:
    """What keeps changes until the session's transaction ends.

    :raises TypeError: If it is not a session.
    :raises RuntimeError: If SQLAlchemy 2 is not installed.
    """
    # A process that has no sessions needs nothing of this.
    from .sqlalchemy import _after

    return _after.keep_in(session)
