"""Who installed another reactor: a guess, from what the imported modules hold."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TypeGuard


def who_installed(reactor: object) -> str:
    """A sentence that names the reactor and, if it can be told, the line that had it installed."""
    kind = type(reactor)
    sentence = f"{kind.__module__}.{kind.__qualname__} is already installed as Twisted's reactor"
    place = next(_places(reactor), None)
    return sentence if place is None else f"{sentence}, by the look of it by {place}"


def _places(reactor: object) -> Iterator[str]:
    """Lines that install the reactor or import it, in the order in which their modules were imported.

    Importing `twisted.internet.reactor` installs the default one, so the first to import it is as good
    an answer as the one that calls `install()`.
    """
    maker = sys.modules.get(type(reactor).__module__)
    for name, module in tuple(sys.modules.items()):
        # The package has its attribute from whoever we look for.
        if name == "twisted.internet" or not isinstance(module, ModuleType):
            continue
        held = vars(module)
        makers = {key for key, value in held.items() if value is maker and maker is not None}
        if makers or any(value is reactor for value in held.values()):
            file = held.get("__file__")
            line = None if file is None else _line(Path(file), makers)
            if line is not None:
                yield f"{file}, line {line}"


def _line(file: Path, makers: set[str]) -> int | None:
    """The first line of a source that calls `install()` of a reactor's module or imports the reactor."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        # No source beside it: compiled, or frozen.
        return None
    lines = (node.lineno for node in ast.walk(tree) if _installs(node, makers))
    return min(lines, default=None)


def _installs(node: ast.AST, makers: set[str]) -> TypeGuard[ast.stmt | ast.expr]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        called = node.func
        return (
            called.attr == "install"
            and isinstance(called.value, ast.Name)
            and called.value.id in makers
        )
    if isinstance(node, ast.ImportFrom):
        return node.module == "twisted.internet" and any(a.name == "reactor" for a in node.names)
    return isinstance(node, ast.Import) and any(
        alias.name == "twisted.internet.reactor" for alias in node.names
    )
