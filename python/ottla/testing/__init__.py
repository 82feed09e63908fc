"""A real broker for tests.

>>> with ottla.testing.Broker() as broker:
...     with ottla.Producer(broker.bootstrap_servers) as producer:
...         producer.send("orders", "two apples").result()

With pytest, the fixture `ottla_broker` is one for the whole session.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Mapping, Optional

__all__ = ["Broker", "program"]

# Longest that the broker may take to stop.
_STOP_PATIENCE_S = 30.0


def program() -> str:
    """Where the program `ottla` is: `OTTLA_PROGRAM`, or the one that came with this package, or the one on the PATH."""
    named = os.environ.get("OTTLA_PROGRAM")
    if named:
        return named
    suffix = ".exe" if os.name == "nt" else ""
    for scheme in (sysconfig.get_path("scripts"), sysconfig.get_path("scripts", f"{os.name}_user")):
        candidate = Path(scheme) / f"ottla{suffix}"
        if candidate.is_file():
            return str(candidate)
    found = shutil.which("ottla")
    if found:
        return found
    raise FileNotFoundError("the program `ottla` is not installed: it comes with the wheels of this package")


class Broker:
    """A broker on a free port, whose data goes with it. It ends with the `with` block, or with this process, however that ends."""

    def __init__(self, config: Optional[Mapping[str, object]] = None) -> None:
        arguments = [program(), "dev", "--quiet", "--until-stdin-ends", "--listen", "127.0.0.1:0"]
        for key, value in (config or {}).items():
            arguments += ["--set", f"{key}={value}"]
        # Variables that are settings are for brokers that somebody starts, not for this one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OTTLA_")}
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=environment
        )
        assert self._process.stdout is not None
        # It prints where it listens, once it does; or it ends, and has said why.
        self.bootstrap_servers: str = self._process.stdout.readline().decode().strip()
        """Where it listens, for clients."""
        if not self.bootstrap_servers:
            self._process.wait()
            raise RuntimeError("the broker did not start:\n" + self.log)

    @property
    def log(self) -> str:
        """What it has logged."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def stop(self) -> None:
        """Stops it, in order. Stopping again does nothing."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
