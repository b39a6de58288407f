"""The hub's end of the door: a process that holds the streams of all workers.

It knows nothing of the app. The first worker says which store it is, and how streams are
treated; if later ones say other things, the one counts that began last. The hub ends a
while after the last process of the app has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import time
import typing as t
from pathlib import Path

from .._delivery.options import Options
from .._delivery.snapshot import HubState
from .._delivery.snapshot import stream_from_json
from .._delivery.stream import check_stream
from .._delivery.stream import Stream
from .._delivery.tickets import ReturnTickets
from .._ipc.agreement import Agreement
from .._ipc.files import HubFiles
from .._ipc.messages import Messages
from .._ipc.version import is_newer
from .._ipc.version import version
from .._system.descriptors import is_scarce
from .._system.descriptors import limit
from .._system.logs import log_failures
from .._system.logs import QuietLogger
from .._system.unix import peer_uid
from ..brokers import Broker
from .bridges import Bridges
from .holding import Hold
from .hub import Hub
from .nginx import AccelListener
from .peer import Visitor
from .peer import Visitors
from .takeover import end_all
from .takeover import give
from .takeover import Handover

logger = logging.getLogger("flask_push")

# Seconds between two looks at its files, and whether a process is tied still.
_PAUSE = 1.0
# Seconds for which a hub that is to be frozen waits to be whole, and then is not replaced.
_WHOLE = 2.0
_SCARCE = "It may have only %d file descriptors (ulimit -n), and has none left for this."


class HubProcess:
    """Everything that one hub process is: its door, who is in it, and its hub.

    :param stays: Whether it goes on when nobody is tied, having been run by hand.
    """

    def __init__(
        self, files: HubFiles, door: socket.socket, lock: int, stays: bool
    ) -> None:
        self.files = files
        self.loop = asyncio.new_event_loop()
        self.hub: Hub | None = None
        self._hold = Hold(files, door, lock, keeps=not stays)
        self._stays = stays
        self._quiet = QuietLogger()
        log_failures(self.loop, self._quiet)
        self.visitors = Visitors()
        self._agreed: Agreement | None = None
        self._broker: Broker | None = None
        self._bridges: Bridges | None = None
        self._accel: AccelListener | None = None
        self._no_accel = ""
        self._alone_since = time.monotonic()
        self._since = time.time()
        door.setblocking(False)

    def run(self) -> None:
        """Until nobody needs it, or it is told to end."""
        for number in signal.SIGTERM, signal.SIGINT:
            self.loop.add_signal_handler(number, self.end, "it was told to")
        self._read_door()
        self.loop.call_later(_PAUSE, self._look_around)
        try:
            self.loop.run_forever()
        finally:
            self._close_accel()
            self._close_bridges()
            if self.hub is not None:
                self.hub.stop()
            for visitor in list(self.visitors):
                visitor.leave()
            self._hold.close()
            self.loop.close()

    def end(self, why: str) -> None:
        """Let everybody know, and stop: browsers come back after their ``retry``."""
        logger.info("The hub ends, since %s.", why)
        for visitor in self.visitors:
            visitor.say({"bye": why})
        if not self._stays:
            # The door of a hub that is run by hand may be systemd's, which goes on to
            # listen.
            self._hold.leave()
        self.loop.stop()

    # Who comes.

    def _read_door(self) -> None:
        door = self._hold.door
        self.loop.add_reader(door, self._open_door, door)

    def _open_door(self, door: socket.socket) -> bool:
        """Let one process in. False if none waits."""
        try:
            sock, _ = door.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            self._quiet.error("Could not accept a connection to the hub: %s", error)
            self.loop.remove_reader(door)
            self.loop.call_later(1, self._read_door)
            return False
        uid = peer_uid(sock)
        if uid not in (os.geteuid(), 0):
            self._quiet.error(
                "User %d tried to connect to the hub of user %d.", uid, os.geteuid()
            )
            sock.close()
        elif is_scarce(sock.fileno(), 0.25):
            self._quiet.error("Closed a connection to the hub: %s", _SCARCE % limit())
            sock.close()
        else:
            self.admit(Messages(sock))
        return True

    def admit(self, messages: Messages, agreement: Agreement | None = None) -> None:
        visitor = Visitor(messages, self._take, self._forget, agreement, self._quiet)
        self.visitors.add(visitor)
        self.loop.add_reader(messages, visitor.ready)

    def _forget(self, visitor: Visitor) -> None:
        self.loop.remove_reader(visitor.messages)
        self.visitors.discard(visitor)
        if visitor.welcome:
            self._choose_keys()

    def _look_around(self) -> None:
        self.loop.call_later(_PAUSE, self._look_around)
        now = time.monotonic()
        needed = bool(self._stays or self.visitors or self._hold.tied)
        if needed:
            self._alone_since = now
        elif now - self._alone_since >= (self._agreed.linger if self._agreed else 10):
            self.end("nobody needs it")
        self._keep_files(needed)

    def _keep_files(self, needed: bool) -> None:
        door = self._hold.door
        if not self._hold.look(needed):
            self.end("another hub has taken its place")
        elif self._hold.door is not door:
            self.loop.remove_reader(door)
            while self._open_door(door):
                pass
            door.close()
            self._read_door()

    # What they want.

    def _take(self, visitor: Visitor, message: dict[str, t.Any], fds: list[int]) -> None:
        if "adopt" in message:
            stream = check_stream(stream_from_json(message["adopt"]))
            self.adopt(stream, fds, visitor.welcome)
        elif "expect" in message:
            if visitor.welcome:
                stream = check_stream(stream_from_json(message["expect"]))
                self._expect(str(message["ticket"]), stream)
        elif "hello" in message:
            problem = self.hello(message["hello"], visitor)
            welcome = {"welcome": 1, "version": version(), "no_accel": self._no_accel}
            visitor.say({"refused": problem} if problem else welcome)
        elif "status" in message:
            visitor.say({"status": self.status()})
        elif "stop" in message:
            self.end("it was told to")
        elif "replace" in message:
            self.replace(message["replace"], visitor)

    def hello(self, values: dict[str, t.Any], visitor: Visitor) -> str:
        """Come to an agreement with a worker. The reason, if there can be none."""
        if is_scarce(visitor.messages.fileno(), 0.5):
            return _SCARCE % limit()
        try:
            wanted = Agreement.from_json(values, self._agreed)
        except ValueError as error:
            return f"It can't read what the process sent. {error}"
        if self._agreed is not None and self._agreed.url != wanted.url:
            if self.visitors.agreements:
                return (
                    f"The hub at {self.files.sock} serves another store than this app's"
                    " PUSH_BROKER_URL names. Set PUSH_RUN_DIR to a directory of its own"
                    " for each app, or stop the hub: 'flask push stop'."
                )
            self.end("the app has another store now")
            return "It ends, for the app has another store now."
        if self.hub is None:
            try:
                self._broker = wanted.open_broker()
                self.hub = Hub(self._broker, wanted.options, self.loop)
            except Exception as error:
                return f"Its store can't be opened: {error}"
        visitor.agreement = wanted
        if wanted.began >= max(said.began for said in self.visitors.agreements):
            self._agree(wanted)
        return ""

    def _agree(self, agreed: Agreement) -> None:
        assert self._broker is not None and self.hub is not None
        self._agreed = agreed
        self.hub.options = agreed.options
        self._run_bridges()
        if self._accel is None and agreed.accel is not None:
            self._listen(agreed.accel)
        self._choose_keys()

    def _choose_keys(self) -> None:
        """Know the keys of return tickets for as long as a worker is there that has them:
        in the next, after a restart, they may have been replaced."""
        if self._accel is not None and self._agreed is not None:
            keys = self._agreed.return_keys
            known = any(said.return_keys == keys for said in self.visitors.agreements)
            self._accel.returns = ReturnTickets(keys if known else [])

    def _run_bridges(self) -> None:
        assert self._broker is not None and self.hub is not None and self._agreed
        if self._bridges is None:
            self._bridges = Bridges(self._broker, self.loop)
        self._bridges.agree(self._agreed.bridges, self._agreed.options.max_event)

    def _close_bridges(self) -> None:
        if self._bridges is not None:
            self._bridges.close()

    def _listen(self, path: Path, door: socket.socket | None = None) -> None:
        """Let nginx in, too."""
        assert self.hub is not None
        try:
            self._accel = AccelListener(
                self.loop, path, self.hub.adopt, self.hub.options, door
            )
            self._no_accel = ""
        except RuntimeError as error:
            self._no_accel = str(error)

    def _close_accel(self) -> None:
        if self._accel is not None:
            self._accel.close()
            self._accel = None

    def status(self) -> dict[str, t.Any]:
        """What ``flask push status`` shows."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "pid": os.getpid(),
            "version": version(),
            "seconds": round(time.time() - self._since),
            "socket": str(self.files.sock),
            "processes": len(self.visitors.agreements),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
            **(self.hub.status() if self.hub is not None else {}),
        }

    def adopt(self, stream: Stream, fds: list[int], welcome: bool) -> None:
        """
        :param fds: The browser's, and perhaps its server's. What is kept is removed.
        """
        if len(fds) not in (1, 2):
            raise ValueError(f"A stream has one or two descriptors, not {len(fds)}.")
        if self.hub is not None and welcome:
            kept, fds[:] = fds[:], []
            self.hub.adopt(stream, *kept)
            return
        # The worker sent it before it could know, so the browser has to reconnect.
        with contextlib.suppress(OSError):
            os.set_blocking(fds[0], False)
            os.write(fds[0], stream.first_bytes(Options().jittered_retry()))

    def _expect(self, ticket: str, stream: Stream) -> None:
        if self._accel is None:
            return
        try:
            self._accel.expect(ticket, stream)
        except RuntimeError as error:
            self._quiet.warning(
                "Dropped a ticket for nginx; its browser will reconnect: %s", error
            )

    # Its own replacement.

    def replace(self, theirs: dict[str, t.Any], visitor: Visitor) -> None:
        """Give everything to the process that has come for it, and leave (law 10)."""
        if theirs["forced"] or is_newer(theirs["version"], version()):
            self._replace(visitor, self.loop.time())
        else:
            visitor.say({"refused": f"The hub is of version {version()} already."})

    def _replace(self, visitor: Visitor, since: float) -> None:
        if visitor not in self.visitors:
            return  # It has left, while it waited for the hub to be whole.
        if self.hub is not None and not self.hub.whole:
            if self.loop.time() < since + _WHOLE:
                # Where events never cease it is so just for a moment, now and then.
                self.loop.call_later(0.0002, self._replace, visitor, since)
            else:
                visitor.say({"refused": "Its store can't be reached now. Try again later."})
            return
        self._forget(visitor)
        frozen = HubState.nothing()
        try:
            self._close_bridges()
            frozen = self.hub.freeze() if self.hub is not None else frozen
            others = [(other.messages, other.welcome) for other in self.visitors]
            for other in self.visitors:
                self.loop.remove_reader(other.messages)
            self.loop.remove_reader(self._hold.door)
            accel = [self._accel.release().fileno()] if self._accel is not None else []
            fds = [self._hold.door.fileno(), self._hold.lock, *accel]
            hello = self._agreed.values if self._agreed is not None else {}
            if not give(visitor.messages, Handover(hello, frozen, fds, others)):
                self._go_on(frozen)
                return
        except BaseException:
            end_all(frozen)
            logger.exception("All streams come back.")
        # Without another word to anybody: it is all the successor's.
        os._exit(0)

    def _go_on(self, frozen: HubState) -> None:
        """The successor has failed before it had the right to write: nothing happened."""
        logger.error("The hub was not replaced: the one that came for it has failed.")
        if self._agreed is not None:
            self._go_on_with(self._agreed, frozen)
            if self._accel is not None and self._agreed.accel is not None:
                door, self._accel = self._accel.release(), None
                self._listen(self._agreed.accel, door)
            self._agree(self._agreed)
        for visitor in self.visitors:
            self.loop.add_reader(visitor.messages, visitor.ready)
        self._read_door()

    def _go_on_with(self, agreed: Agreement, frozen: HubState) -> None:
        if self._broker is None:
            self._broker = agreed.open_broker()
        self.hub = Hub(self._broker, agreed.options, self.loop, frozen)

    def take_over(self, things: Handover) -> None:
        """Go on with what another process had, from now on the only one to write."""
        agreed = Agreement.from_json(things.hello, None) if things.hello else None
        for messages, welcome in things.visitors:
            self.admit(messages, agreed if welcome else None)
        if agreed is not None:
            self._go_on_with(agreed, things.frozen)
            if agreed.accel is not None:
                for fd in things.fds[2:]:
                    self._listen(agreed.accel, socket.socket(fileno=fd))
            self._agree(agreed)
