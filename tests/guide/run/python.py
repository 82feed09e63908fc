"""Runs a snippet: `python.py FILE`. It may await at its top level, as one in an asyncio program would within a function."""

import ast
import asyncio
import inspect
import sys
from pathlib import Path

path = sys.argv[1]
code = compile(Path(path).read_text(), path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
ended = eval(code, {"__name__": "__main__", "__file__": path})
if inspect.iscoroutine(ended):
    asyncio.run(ended)
