from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from ottla.testing import Broker

_EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("task", "lines"),
    [
        ("first_producer", ["at offset 0", "at offset 1", "at offset 2"]),
        ("first_consumer", ["0: hello, Ada", "1: hello, Grace", "2: hello, Barbara"]),
        ("group", ["assigned: ", "hello, Ada", "hello, Grace", "hello, Barbara"]),
    ],
)
def test_an_example_does_what_it_says(
    task: str, lines: list[str], ottla_broker: Broker, name: Callable[[str], str]
) -> None:
    topic = name("greetings")

    def run(which: str) -> str:
        program = str(_EXAMPLES / which / "python" / "main.py")
        ended = subprocess.run(
            [sys.executable, program, ottla_broker.bootstrap_servers, topic],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    # The one who reads needs somebody who has written.
    written = run("first_producer")
    said = written if task == "first_producer" else run(task)
    for line in lines:
        assert line in said
