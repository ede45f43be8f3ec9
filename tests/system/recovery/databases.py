"""The database of the stack's Airflow: PostgreSQL where it is installed, else SQLite."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

NAME = "airflow"


class Sqlite:
    """What Airflow takes without being told; its file lies in the stack's folder."""

    folders: tuple[Path, ...] = ()
    settings: Mapping[str, str] = MappingProxyType({})

    def dump(self) -> bytes:
        """Nothing: SQLite compresses no values, so that its file shows them."""
        return b""


class PostgreSql:
    """A server of its own on loopback, which lives in ``folder``."""

    def __init__(self, folder: Path, port: int, user: str | None) -> None:
        self.folders = (folder,)
        self._folder = folder
        self._port = str(port)
        self._user = user
        self.settings = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{NAME}@127.0.0.1:{port}/{NAME}"
        }

    def run(self, program: str, *arguments: str) -> bytes:
        """Run one of PostgreSQL's programs as the user that owns the folder."""
        done = subprocess.run(
            (program, *arguments),
            user=self._user,
            group=pwd.getpwnam(self._user).pw_gid if self._user else None,
            extra_groups=[] if self._user else None,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=True,
        )
        return done.stdout

    def dump(self) -> bytes:
        """All tables as text, also values that the files hold compressed."""
        return self.run("pg_dump", "-h", "127.0.0.1", "-p", self._port, "-U", NAME, "--data-only", NAME)

    def start(self) -> None:
        """Make the cluster and the database, and serve them."""
        data, log = str(self._folder / "data"), str(self._folder / "postgres.log")
        self.run("initdb", "-D", data, "-U", NAME, "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        # A test's database need not survive a power cut.
        options = f"-p {self._port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.run("pg_ctl", "start", "-D", data, "-l", log, "-o", options, "-w")
        self.run("createdb", "-h", "127.0.0.1", "-p", self._port, "-U", NAME, NAME)

    def stop(self) -> None:
        """End it without a wait for those who are connected."""
        self.run("pg_ctl", "stop", "-D", str(self._folder / "data"), "-m", "immediate")


@contextlib.contextmanager
def database() -> Iterator[PostgreSql | Sqlite]:
    """Serve an empty database for the time of the block."""
    if shutil.which("initdb") is None:
        yield Sqlite()
        return
    # PostgreSQL refuses root, and its user could not enter pytest's own folders.
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="cleartrace-postgresql-") as folder:
        if user is not None:
            shutil.chown(folder, user)
        server = PostgreSql(Path(folder), _free_port(), user)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
