"""The hub as a process: it holds the streams of all workers.

It loads nothing of the app. The first worker's hello names the store, and says how to treat
streams; if the hellos of later workers differ, the one counts of the worker that started
last. The hub ends a while after the last process of the app has ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
import typing as t

from .._delivery.snapshot import HubState
from .._ipc.agreement import Agreement
from .._ipc.client import Client
from .._ipc.files import HubFiles
from .._ipc.protocol import Adopt
from .._ipc.protocol import ContainerEnds
from .._ipc.protocol import Expect
from .._ipc.protocol import ExpectFollow
from .._ipc.protocol import Follow
from .._ipc.protocol import Hello
from .._ipc.protocol import Refused
from .._ipc.protocol import Replace
from .._ipc.protocol import Status
from .._ipc.protocol import StatusRequest
from .._ipc.protocol import Stop
from .._ipc.version import is_newer
from .._ipc.version import version
from .._system.descriptors import is_scarce
from .._system.descriptors import limit
from .._system.logs import log_failures
from .._system.logs import QuietLogger
from .._system.namespace import namespace
from .._system.process import call_on_signals
from .._system.process import cpu_seconds
from ..brokers import Broker
from .handover import end_all
from .holding import HeldFiles
from .holding import open_hub
from .listing import lists
from .loop import HubLoop
from .loop import refuse
from .loop import welcome
from .peer import Handlers
from .peer import Peer
from .peer import Peers
from .peer import SCARCE
from .takeover import give
from .takeover import Handover

logger = logging.getLogger("flask_push")

# Seconds between two looks at the hub's files, and at the processes of the app.
_LOOK_SECONDS = 1.0
# Seconds after which a hub that has had no hello ends, if no process needs it.
_LINGER_SECONDS = 10.0
# Seconds that a hub waits to be whole before it gives up to be replaced.
_WHOLE_SECONDS = 2.0


class HubProcess:
    """
    :param stays: Whether it goes on without any process of the app, because it was started
        by hand.
    """

    def __init__(
        self, files: HubFiles, listener: socket.socket, lock: int, stays: bool
    ) -> None:
        self.files = files
        self.loop = asyncio.new_event_loop()
        #: There is none before the first hello.
        self.hub: HubLoop | None = None
        self._held = HeldFiles(files, listener, lock, keeps=not stays)
        self._stays = stays
        self._quiet = QuietLogger()
        log_failures(self.loop, self._quiet)
        handlers: Handlers = {
            Hello: self._greet,
            Adopt: self._adopt,
            Expect: self._expect,
            Follow: self._adopt,
            ExpectFollow: self._expect,
            StatusRequest: self._send_status,
            Stop: lambda *_: self.end("it was stopped"),
            ContainerEnds: self._container_ends,
            **lists(lambda: None if self.hub is None else self.hub.hub.listing),
            Replace: self._be_replaced,
        }
        self.peers = Peers(self.loop, handlers, self._choose_keys, self._quiet)
        self._agreed: Agreement | None = None
        self._alone_since = time.monotonic()
        self._since = time.time()
        listener.setblocking(False)

    def __repr__(self) -> str:
        return f"<HubProcess {self.files.sock}: {self.hub or 'no hello yet'}, {self.peers}>"

    def run(self) -> None:
        """Run until no process needs it, or until it is stopped."""
        call_on_signals(self.loop, self.end, "it was stopped")
        self.peers.listen(self._held.listener)
        self.loop.call_later(_LOOK_SECONDS, self._look_around)
        try:
            self.loop.run_forever()
        finally:
            if self.hub is not None:
                self.hub.close()
            for peer in list(self.peers):
                peer.close()
            self._held.close()
            self.loop.close()

    def end(self, why: str) -> None:
        """Notify all processes, and stop. Browsers reconnect after their ``retry``."""
        logger.info("The hub ends, because %s.", why)
        self.peers.say_bye(why)
        if not self._stays:
            # A hub that was started by hand may have its listener from systemd, which goes
            # on to listen.
            self._held.remove_socket()
        self.loop.stop()

    def _look_around(self) -> None:
        self.loop.call_later(_LOOK_SECONDS, self._look_around)
        now = time.monotonic()
        linger = self._agreed.linger if self._agreed else _LINGER_SECONDS
        needed = bool(self._stays or self.peers or self._held.tied)
        if needed:
            self._alone_since = now
        elif now - self._alone_since >= linger:
            self.end("no process needs it")
        self._keep_files(needed)

    def _keep_files(self, needed: bool) -> None:
        listener = self._held.listener
        if not self._held.renew(needed):
            self.end("another hub has the lock")
        elif self._held.listener is not listener:
            self.loop.remove_reader(listener)
            self.peers.accept_all(listener)
            listener.close()
            self.peers.listen(self._held.listener)

    # The handlers of messages.

    def _greet(self, hello: Hello, peer: Peer, _: list[int]) -> None:
        if reason := self._agree_with(hello, peer):
            peer.send(Refused(reason))
        else:
            peer.send(welcome(self.hub))

    def _adopt(self, message: Adopt, peer: Peer, fds: list[int]) -> None:
        if len(fds) not in (1, 2):
            raise ValueError(f"A stream has one or two descriptors, not {len(fds)}.")
        if self.hub is not None and peer.welcome:
            fd, *drain = fds
            fds.clear()
            client = Client(fd, drain[0] if drain else None)
            self.hub.hub.adopt(message.stream, client)
            return
        # The worker sent it before it knew that the hub refuses it.
        refuse(message.stream, fds[0])

    def _expect(self, message: Expect, peer: Peer, _: list[int]) -> None:
        if self.hub is None or self.hub.nginx is None or not peer.welcome:
            return
        try:
            self.hub.nginx.tokens.expect(message.token, message.stream)
        except RuntimeError as error:
            self._quiet.warning(
                "Dropped a token for nginx; its browser will reconnect: %s", error
            )

    def _send_status(self, _: StatusRequest, peer: Peer, __: list[int]) -> None:
        peer.send(Status(self.status()))

    def _container_ends(self, message: ContainerEnds, peer: Peer, _: list[int]) -> None:
        if message.namespace == namespace():
            self.end("its container ends")
        else:
            peer.send(Refused("The hub is not in that container."))

    def _be_replaced(self, message: Replace, peer: Peer, _: list[int]) -> None:
        if message.forced or is_newer(message.version, version()):
            self._replace(peer, self.loop.time())
        else:
            peer.send(Refused(f"The hub has version {version()} already."))

    def _agree_with(self, hello: Hello, peer: Peer) -> str:
        """Accept a worker's hello. The reason, if it can't be accepted."""
        if is_scarce(peer.messages.fileno(), 0.5):
            return SCARCE % limit()
        try:
            wanted = Agreement.of(hello.values, self._agreed)
        except ValueError as error:
            return f"It can't read this process's hello. {error}"
        if self._agreed is not None and self._agreed.url != wanted.url:
            if self.peers.agreements:
                return (
                    f"The hub at {self.files.sock} serves another store than this app's"
                    " PUSH_BROKER_URL names. Set PUSH_RUN_DIR to a directory of its own"
                    " for each app, or stop the hub: 'flask push stop'."
                )
            self.end("the app uses another store now")
            return "The hub ends, because the app uses another store now."
        if self.hub is None:
            try:
                self.hub = open_hub(self.loop, self._held, wanted)
            except Exception as error:
                return f"Its store can't be opened: {error}"
        peer.agreement = wanted
        if wanted.began >= max(said.began for said in self.peers.agreements):
            self._agree(self.hub, wanted)
        return ""

    def _agree(self, hub: HubLoop, agreed: Agreement) -> None:
        self._agreed = agreed
        hub.change(agreed.options, agreed.bridges)
        if agreed.accel is not None:
            hub.try_to_listen(agreed.accel)
        self._choose_keys()

    def _choose_keys(self) -> None:
        """Accept return tickets by the keys of the app, while a worker that has these keys
        is connected: after a restart, the app may have others."""
        if self.hub is not None and self._agreed is not None:
            keys = self._agreed.return_keys
            known = any(agreed.return_keys == keys for agreed in self.peers.agreements)
            self.hub.accept_keys(keys if known else ())

    def status(self) -> dict[str, t.Any]:
        """What ``flask push status`` shows."""
        return {
            "pid": os.getpid(),
            "version": version(),
            "seconds": round(time.time() - self._since),
            "socket": str(self.files.sock),
            "processes": len(self.peers.agreements),
            "cpu_seconds": round(cpu_seconds(), 2),
            **(self.hub.hub.status() if self.hub is not None else {}),
        }

    # Its own replacement.

    def _replace(self, peer: Peer, since: float) -> None:
        if peer not in self.peers:
            return  # It left while the hub was not whole.
        if self.hub is not None and not self.hub.hub.whole:
            if self.loop.time() < since + _WHOLE_SECONDS:
                # While events keep coming, the hub is whole only now and then.
                self.loop.call_later(0.0002, self._replace, peer, since)
            else:
                peer.send(Refused("Its store can't be reached now. Try again later."))
            return
        self.peers.disconnect(peer)
        state = HubState.nothing()
        try:
            state = self.hub.freeze() if self.hub is not None else state
            peers = [(other.messages, other.welcome) for other in self.peers]
            self.peers.pause()
            self.loop.remove_reader(self._held.listener)
            nginx = self.hub.release_nginx() if self.hub is not None else []
            socks = [self._held.listener.fileno(), self._held.lock]
            fds = [*socks, *(sock.fileno() for sock in nginx)]
            hello = self._agreed.values if self._agreed is not None else {}
            if not give(peer.messages, Handover(hello, state, fds, peers)):
                self._go_on(state, nginx)
                return
        except BaseException:
            end_all(state)
            logger.exception(
                "A takeover may be incomplete; closed all streams, and browsers reconnect."
            )
        # Without a message to any process: everything belongs to the successor.
        os._exit(0)

    def _go_on(self, state: HubState, nginx: list[socket.socket]) -> None:
        """Go on as before. The successor has failed before it was allowed to write."""
        logger.error(
            "The hub was not replaced, because its successor failed; it keeps all streams."
        )
        if self.hub is not None and self._agreed is not None:
            self._begin(self._agreed, self.hub.broker, state, nginx)
        self.peers.resume()
        self.peers.listen(self._held.listener)

    def take_over(self, things: Handover) -> None:
        """Go on with everything that another process had. Only this one writes now."""
        agreed = Agreement.of(things.hello, None) if things.hello else None
        for messages, accepted in things.peers:
            self.peers.connect(messages, agreed if accepted else None)
        if agreed is not None:
            nginx = [socket.socket(fileno=fd) for fd in things.fds[2:]]
            self._begin(agreed, agreed.open_broker(), things.state, nginx)
        self.peers.greet(welcome(self.hub))

    def _begin(
        self,
        agreed: Agreement,
        broker: Broker,
        state: HubState,
        nginx: list[socket.socket],
    ) -> None:
        self.hub = open_hub(self.loop, self._held, agreed, broker, state)
        if agreed.accel is not None:
            for sock in nginx:
                self.hub.try_to_listen(agreed.accel, sock)
        self._agree(self.hub, agreed)
