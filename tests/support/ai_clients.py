"""Clients of AI protocols, which read the runs of a server."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import openai

from support.servers import TESTS
from support.servers import until

# The interpreter of the tests' environment.
NODE = str(Path(sys.executable).with_name("node"))


class Reading:
    """What a client has delivered of one answer."""

    def __init__(self) -> None:
        #: What the library gave, in this order.
        self.given: list[dict[str, t.Any]] = []
        #: How it ended: ``end``, ``nothing``, or an error.
        self.end = ""

    @property
    def chunks(self) -> list[dict[str, t.Any]]:
        """Those of the AI SDK."""
        return [given["chunk"] for given in self.given if "chunk" in given]

    @property
    def events(self) -> list[str]:
        """Those of AG-UI that are about the run."""
        return [given["event"] for given in self.given if "event" in given]

    @property
    def text(self) -> str:
        pieces = [*self.given, *self.chunks]
        return "".join(p.get("text") or p.get("delta") or "" for p in pieces)

    @property
    def answers(self) -> list[str]:
        """The answers that a user of the library sees now."""
        shown = [given["answers"] for given in self.given if "answers" in given]
        return list(shown[-1]) if shown else []

    @property
    def status(self) -> str:
        """The newest status of the AI SDK's chat."""
        found = [given["status"] for given in self.given if "status" in given]
        return str(found[-1]) if found else ""

    def begun(self) -> t.Self:
        """Wait for its first words."""
        until(lambda: self.text or "".join(self.answers) or self.end, what="it begins")
        assert not self.end, self.end
        return self

    def ended(self) -> t.Self:
        until(lambda: self.end, 60, what="it ends")
        return self


class NodeClients:
    """The libraries of JavaScript, in one process."""

    def __init__(self, url: str) -> None:
        self._numbers = itertools.count()
        self._readings: dict[int, Reading] = {}
        self._process = subprocess.Popen(
            [NODE, "ai.mjs", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=TESTS / "clients",
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def act(self, act: str, **about: t.Any) -> Reading:
        number = next(self._numbers)
        self._readings[number] = reading = Reading()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"n": number, "act": act, **about}) + "\n")
        self._process.stdin.flush()
        return reading

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            given = json.loads(line)
            reading = self._readings[given.pop("n")]
            if "end" in given:
                reading.end = given["end"]
            else:
                reading.given.append(given)

    def close(self) -> None:
        # Node is a process of its own.
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)
        self._reader.join(30)
        for pipe in self._process.stdin, self._process.stdout:
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class PythonOpenAI:
    """The library ``openai`` of Python."""

    def __init__(self, url: str) -> None:
        self._client = openai.OpenAI(
            api_key="none", base_url=f"{url}/v1", max_retries=0, timeout=60
        )
        self._threads: list[threading.Thread] = []

    def complete(self, text: str) -> Reading:
        reading = Reading()
        self._threads.append(threading.Thread(target=self._read, args=(reading, text)))
        self._threads[-1].start()
        return reading

    def _read(self, reading: Reading, text: str) -> None:
        try:
            chunks = self._client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": text}], stream=True
            )
            for chunk in chunks:
                reading.given.append({"text": chunk.choices[0].delta.content or ""})
            reading.end = "end"
        except Exception as error:
            reading.end = f"{type(error).__name__}: {error}"

    def close(self) -> None:
        for thread in self._threads:
            thread.join(60)
        self._client.close()


@contextlib.contextmanager
def node_clients(url: str) -> cabc.Iterator[NodeClients]:
    with contextlib.closing(NodeClients(url)) as clients:
        yield clients
