"""Real PostgreSQL and MariaDB servers, started and stopped, and databases on them.

A test asks for one of the fixtures at the end: ``postgresql``, ``mariadb``, ``sqlite``, or
``database``, which is each of them in turn. A test process starts a server when a test
first needs it, and all its tests share it. A test may kill it: the next one that asks for a
database starts it again.
"""

from __future__ import annotations

import abc
import collections.abc as cabc
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import typing as t
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.servers import free_port
from support.servers import until
from support.without_linux import real
from support.without_linux.real import fcntl
from support.without_linux.real import pwd

#: Who we are. PostgreSQL refuses to run as root.
_USER: str = pwd.getpwuid(real.os.getuid()).pw_name


class DatabaseServer(abc.ABC):
    """A server whose data is in a directory of its own, on a port of this machine."""

    #: The dialect and driver of its addresses.
    scheme: t.ClassVar[str]
    #: The user whose processes may be a server.
    system_user: str

    #: The user of its databases, who may do everything without a password.
    user: t.ClassVar[str]
    #: The database that it has from the start.
    own: t.ClassVar[str]

    def __init__(self, template: Path) -> None:
        """
        :param template: Where an empty server's data is, or will be, for all to copy.
        """
        # Not in pytest's own directories, which other users can't enter.
        self.directory = Path(tempfile.mkdtemp(prefix="push-database-"))
        self.data = self.directory / "data"
        self.port = free_port()
        self.log_path = self.directory / "server.log"
        self._count = 0
        with (template.parent / f"{template.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not template.exists():
                self._give(self.directory)
                self.run(*self.installation())
                shutil.move(self.data, template)
        shutil.copytree(template, self.data)
        self._give(self.directory)

    @classmethod
    @contextlib.contextmanager
    def started(cls, template: Path) -> cabc.Iterator[t.Self]:
        server = cls(template)
        try:
            server.start()
            try:
                yield server
            finally:
                server.kill()
        finally:
            shutil.rmtree(server.directory)

    @abc.abstractmethod
    def installation(self) -> list[str]:
        """The command that makes an empty server's data."""

    @abc.abstractmethod
    def command(self) -> list[str]: ...

    def _give(self, directory: Path) -> None:
        """Let the server's user own all files, if we are not that user."""
        if self.system_user != _USER:
            for path in [directory, *directory.rglob("*")]:
                shutil.chown(path, self.system_user, self.system_user)

    @property
    def _as_user(self) -> dict[str, t.Any]:
        if self.system_user == _USER:
            return {}
        return {"user": self.system_user, "group": self.system_user, "extra_groups": []}

    def run(self, *command: str) -> None:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.directory,
            **self._as_user,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)

    def start(self) -> None:
        """Start it with the data that it had, on the same port."""
        until(self._starts, 60, f"{self.command()[0]} starts")

    def _starts(self) -> bool:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
                **self._as_user,
            )
        try:
            until(self._answers_or_ended, 60)
        except BaseException:
            self.kill()
            raise
        # Processes of a killed one may still have its files.
        return self.process.poll() is None

    def _answers_or_ended(self) -> bool:
        if self.process.poll() is not None:
            return True
        with contextlib.suppress(sa.exc.OperationalError):
            self.do("SELECT 1")
            return True
        return False

    def ensure(self) -> None:
        """Start it if a test left it killed, and let it go on if one left it stopped."""
        if self.process.poll() is not None:
            self.start()
        self.go_on()

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def processes(self) -> list[int]:
        """The server, and the processes that it has started."""
        pid = self.process.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            return [pid, *map(int, children.split())]
        return [pid]

    def _signal(self, which: signal.Signals) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, which)

    def stop(self) -> None:
        """Freeze the server until it goes on or is killed."""
        # Itself first: from then on it starts no more processes.
        self.process.send_signal(signal.SIGSTOP)
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill all its processes at once. What it said was committed is in its files."""
        if self.process.poll() is None:
            self.stop()
            self._signal(signal.SIGKILL)
            self.process.wait(30)

    def url(self, name: str, scheme: str = "") -> str:
        return f"{scheme or self.scheme}://{self.user}@127.0.0.1:{self.port}/{name}"

    def do(self, statement: str) -> list[t.Any]:
        """Run a statement as the one who may do everything, and return its rows."""
        engine = sa.create_engine(
            self.url(self.own), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
        )
        with engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return list(result) if result.returns_rows else []

    def create(self) -> str:
        """A new database, and its name."""
        self._count += 1
        name = f"push{self._count}"
        self.do(f"CREATE DATABASE {name}")
        return name

    @abc.abstractmethod
    def drop(self, name: str) -> None:
        """Drop a database, even if something is connected to it."""


class PostgreSQL(DatabaseServer):
    scheme = "postgresql+psycopg"
    system_user = "postgres" if _USER == "root" else _USER
    user = "postgres"
    own = "postgres"

    @property
    def programs(self) -> Path:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        assert found, "PostgreSQL is missing: tests/install postgresql"
        return found[-1].parent

    def installation(self) -> list[str]:
        given = ["--pgdata", str(self.data), "--username", self.user, "--auth", "trust"]
        given += ["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        return [str(self.programs / "initdb"), *given]

    def command(self) -> list[str]:
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            # What it has committed is not lost with its process, but with the machine.
            "fsync": "off",
            "max_connections": 100,
            "max_prepared_transactions": 10,
            "shared_buffers": "16MB",
            # Nothing remains of a killed one outside of its directory.
            "dynamic_shared_memory_type": "mmap",
        }
        given = [f"--{name}={value}" for name, value in options.items()]
        return [str(self.programs / "postgres"), "-D", str(self.data), *given]

    def drop(self, name: str) -> None:
        self.do(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class MariaDB(DatabaseServer):
    scheme = "mysql+pymysql"
    system_user = _USER
    user = "root"
    own = "mysql"

    def program(self, name: str) -> str:
        found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
        assert found, "MariaDB is missing: tests/install mariadb-server"
        return found

    def installation(self) -> list[str]:
        return [
            *(self.program("mariadb-install-db"), "--no-defaults"),
            *(f"--datadir={self.data}", f"--user={self.system_user}"),
            *("--skip-test-db", "--auth-root-authentication-method=normal"),
            "--innodb-log-file-size=8M",
        ]

    def command(self) -> list[str]:
        options = {
            "datadir": self.data,
            "user": self.system_user,
            "port": self.port,
            "bind-address": "127.0.0.1",
            "socket": self.directory / "mariadb.sock",
            "pid-file": self.directory / "mariadb.pid",
            "skip-name-resolve": 1,
            "character-set-server": "utf8mb4",
            # What it has committed is not lost with its process, but with the machine.
            "innodb-flush-log-at-trx-commit": 2,
            "innodb-buffer-pool-size": "16M",
            "innodb-log-file-size": "8M",
        }
        given = [f"--{name}={value}" for name, value in options.items()]
        return [self.program("mariadbd"), "--no-defaults", *given]

    def drop(self, name: str) -> None:
        # A transaction that was left open would keep its tables locked.
        for (found,) in self.do(
            f"SELECT id FROM information_schema.processlist WHERE db = '{name}'"
        ):
            with contextlib.suppress(sa.exc.DBAPIError):
                self.do(f"KILL {found}")
        self.do(f"DROP DATABASE IF EXISTS {name}")


class Database:
    """An empty database, and an engine for it."""

    def __init__(self, url: str, server: DatabaseServer | None = None) -> None:
        self.url = url
        #: None, if the database is a file.
        self.server = server
        self.engine = sa.create_engine(url)

    @property
    def dialect(self) -> str:
        """``sqlite``, ``postgresql`` or ``mysql``."""
        return self.engine.dialect.name

    def with_driver(self, scheme: str) -> str:
        """Its address for another driver, such as ``postgresql+psycopg2``."""
        return f"{scheme}:{self.url.partition(':')[2]}"


@pytest.fixture(scope="session")
def database_templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that all processes of one run of the tests share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def postgresql_server(database_templates: Path) -> cabc.Iterator[PostgreSQL]:
    with PostgreSQL.started(database_templates / "postgresql") as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server(database_templates: Path) -> cabc.Iterator[MariaDB]:
    with MariaDB.started(database_templates / "mariadb") as server:
        yield server


@pytest.fixture
def postgresql(postgresql_server: PostgreSQL) -> cabc.Iterator[Database]:
    with _database_on(postgresql_server) as database:
        yield database


@pytest.fixture
def mariadb(mariadb_server: MariaDB) -> cabc.Iterator[Database]:
    with _database_on(mariadb_server) as database:
        yield database


@pytest.fixture
def sqlite(tmp_path: Path) -> cabc.Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/app.db")
    yield database
    database.engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(request.param)
    return found


@contextlib.contextmanager
def _database_on(server: DatabaseServer) -> cabc.Iterator[Database]:
    server.ensure()
    name = server.create()
    database = Database(server.url(name), server)
    try:
        yield database
    finally:
        database.engine.dispose()
        server.ensure()
        server.drop(name)
