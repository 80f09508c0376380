"""Database servers of a test's own: PostgreSQL, MariaDB and Redis, where they are installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_DEBIAN = Path("/usr/lib/postgresql")  # its package keeps the server's programs off PATH


class Postgres:
    """A PostgreSQL server that can be stopped and started.

    Args:
        folder: Everything of it; every user must be able to traverse the folders above.
    """

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._user = _unprivileged()
        self._folder = folder
        self.port = free_port()
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._run("initdb", "--auth=trust", "--username=archspec", "--no-sync", "-D", self._data)

    def url(self, database: str) -> str:
        """Make a database and return the URL of Optuna's storage in it."""
        import psycopg

        server = f"host=127.0.0.1 port={self.port} user=archspec"
        with psycopg.connect(f"{server} dbname=postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"'.encode())
        return f"postgresql+psycopg://archspec@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = self._folder / "log"
        self._run("pg_ctl", "-D", self._data, "-l", log, "-o", options, "-w", "start")

    def stop(self) -> None:
        """Stop it as a machine that goes down does: connections are cut."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Have it down for a while."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def _run(self, program: str, *arguments: str | Path) -> None:
        found = _postgres_program(program)
        assert found is not None, "why_no_postgres() was asked before"
        done = subprocess.run(
            [found, *arguments],
            user=self._user,
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed with {done.returncode}:\n{done.stdout}")


class MariaDB:
    """A MariaDB server that runs; anybody who reaches its port may do anything.

    Args:
        port: Where it listens.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, database: str) -> str:
        """Make a database and return the URL of Optuna's storage in it."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{database}`")
        return f"mysql+pymysql://archspec@127.0.0.1:{self.port}/{database}"

    def connect(self) -> Any:
        """Return a connection of PyMySQL's."""
        import pymysql

        return pymysql.connect(host="127.0.0.1", port=self.port, user="archspec")


def why_no_postgres() -> str | None:
    """Say why no PostgreSQL server can be had here, None if one can."""
    if _postgres_program("initdb") is None:
        return "there is no PostgreSQL server here; apt-get install postgresql"
    if os.geteuid() == 0 and _unprivileged() is None:
        return "PostgreSQL refuses to run as root, and there is no user postgres"
    return None if find_spec("psycopg") else "psycopg is not installed; pip install '.[test]'"


def why_no_mariadb() -> str | None:
    """Say why no MariaDB server can be had here, None if one can."""
    if _mariadb_program() is None:
        return "there is no MariaDB server here; apt-get install mariadb-server-core"
    return None if find_spec("pymysql") else "PyMySQL is not installed; pip install '.[test]'"


def why_no_redis() -> str | None:
    """Say why no Redis server can be had here, None if one can."""
    if shutil.which("redis-server") is None:
        return "there is no Redis server here; apt-get install redis-server"
    return None if find_spec("redis") else "redis is not installed; pip install '.[test]'"


@contextlib.contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Run a PostgreSQL server."""
    with _open_folder() as folder:
        server = Postgres(folder)
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(RuntimeError):  # a test that failed may have left it down
                server.stop()


@contextlib.contextmanager
def mariadb_server() -> Iterator[MariaDB]:
    """Run a MariaDB server."""
    found = _mariadb_program()
    assert found is not None, "why_no_mariadb() was asked before"
    with _open_folder() as folder, (folder / "log").open("wb") as log:
        running = MariaDB(free_port())
        server = subprocess.Popen(
            [
                found,
                "--no-defaults",  # first, by its rules
                f"--datadir={folder}",
                f"--socket={folder / 'socket'}",
                f"--port={running.port}",
                "--bind-address=127.0.0.1",
                "--character-set-server=utf8mb4",  # as the packages and newer versions have it
                "--skip-grant-tables",  # else it wants tables of users, which take seconds to make
                "--innodb-flush-method=nosync",
                *(["--user=root"] if os.geteuid() == 0 else []),
            ],
            stdout=log,
            stderr=log,
        )
        try:
            _await_mariadb(running, server, folder / "log")
            yield running
        finally:
            server.terminate()
            server.wait()


def _await_mariadb(running: MariaDB, server: subprocess.Popen[bytes], log: Path) -> None:
    import pymysql

    until = time.monotonic() + 30
    while True:
        try:
            running.connect().close()
        except pymysql.err.OperationalError:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"mariadbd does not answer:\n{log.read_text()}") from None
            time.sleep(0.05)
        else:
            return


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """Run a Redis server, and give its URL."""
    import redis

    port = free_port()
    with _open_folder() as folder:
        server = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--appendonly", "yes"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )
        try:
            client = redis.Redis(port=port)
            until = time.monotonic() + 30
            while True:
                try:
                    client.ping()
                    break
                except redis.exceptions.ConnectionError:
                    assert time.monotonic() < until, "redis-server does not answer"
                    time.sleep(0.05)
            client.close()
            yield f"redis://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def _open_folder() -> Iterator[Path]:
    """Give a folder that other users can reach, which those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="archspec-server-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def _postgres_program(name: str) -> str | None:
    versions = sorted(_DEBIAN.glob("*/bin"), key=lambda path: float(path.parent.name))
    path = os.pathsep.join([*map(str, reversed(versions)), os.environ.get("PATH", "")])
    return shutil.which(name, path=path)


def _mariadb_program() -> str | None:
    # Debian keeps servers in /usr/sbin, which is on the PATH of root alone.
    return shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _unprivileged() -> str | None:
    """Return the user that runs the server, None for the one who runs the tests."""
    if os.geteuid() != 0:
        return None
    return "postgres" if any(user.pw_name == "postgres" for user in pwd.getpwall()) else None
