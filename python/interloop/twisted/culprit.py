"""Who installed another reactor: a guess, from the sources of the imported modules and the order of their imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

_REACTOR = "twisted.internet.reactor"
_DEFAULT = "twisted.internet.default"

# One of these is in every source that installs a reactor.
_WORDS = (b"reactor", b"installReactor", b"default")

# No more places than these are named: most programs import the reactor everywhere.
_MOST = 3


class _Place(NamedTuple):
    module: str
    file: str
    line: int
    # What the module imports by itself, with the line.
    imports: list[tuple[str, int]]

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}"


def who_installed(reactor: object) -> str:
    """A sentence that names the reactor and, if it can be told, the lines that may have had it installed."""
    kind = type(reactor)
    sentence = f"{kind.__module__}.{kind.__qualname__} is already installed as Twisted's reactor"
    run, called = _places(kind.__module__)
    found = [f"by {place}" for place in _first(run)[:_MOST]]
    # A function may have been called before anything else was imported.
    found += [
        f"{'' if number else 'when a function was called, '}by {place}"
        for number, place in enumerate(called[: _MOST - len(found)])
    ]
    if not found:
        return sentence
    guess = "by the look of it " if run else "perhaps, "
    more = ", or by others" if len(run) + len(called) > _MOST else ""
    return f"{sentence}, {guess}{', or '.join(found)}{more}"


def _places(maker: str) -> tuple[list[_Place], list[_Place]]:
    """Where modules install the reactor or import it: the first line that is run by an import of each, or else the first in
    one of its functions.

    Importing `twisted.internet.reactor` installs the default one, so who imports it is as good an answer as who calls `install()`,
    if it is the default one.
    """
    run, called = [], []
    installers = _installers(maker)
    names = tuple(sys.modules)
    # The reactor is entered when it is installed; a module, for good, when its import is over.
    installed = names.index(_REACTOR)
    for index, name in enumerate(names):
        module = sys.modules.get(name)
        if not isinstance(module, ModuleType) or name.partition(".")[0] == "interloop":
            continue
        source = _Source.of(module, name, installers)
        if source is None:
            continue
        # What was over by then has installed nothing, unless one of its functions has later.
        over = index < installed and not _unfinished(module, name)
        if source.run and not over:
            run.append(source.place(min(source.run)))
        # Twisted's own functions import it all over the place, for those who have chosen one.
        elif source.called and name.partition(".")[0] != "twisted":
            called.append(source.place(min(source.called)))
    return run, called


def _installers(maker: str) -> set[str]:
    """The dotted names of what installs a reactor of that module's when it is called, or imported."""
    install = getattr(sys.modules.get(maker), "install", None)
    default = getattr(sys.modules.get(_DEFAULT), "install", None)
    names = {f"{maker}.install", "twisted.internet.main.installReactor"}
    if default is not None and default is install:
        names |= {f"{_DEFAULT}.install", _REACTOR}
    return names


def _unfinished(module: ModuleType, name: str) -> bool:
    spec = vars(module).get("__spec__")
    return name == "__main__" or bool(getattr(spec, "_initializing", False))


def _first(places: list[_Place]) -> list[_Place]:
    """Those that can have been the first, as far as they tell by importing each other."""
    late: set[str] = set()
    for place in places:
        for other in places:
            lines = [line for name, line in place.imports if name == other.module]
            if other is not place and lines:
                late.add(place.module if min(lines) < place.line else other.module)
    # When all import each other, none is the first.
    return [place for place in places if place.module not in late] or places


class _Source:
    """What the text of a module says."""

    def __init__(self, tree: ast.Module, module: ModuleType, name: str, file: str) -> None:
        self._package = vars(module).get("__package__")
        self._name = name
        self._file = file
        # The lines that install it: run by the module's import, or in functions.
        self.run: list[int] = []
        self.called: list[int] = []
        self._imports: list[tuple[str, int]] = []
        # Local names of what was imported.
        self._bound: dict[str, str] = {}
        self._nodes = tuple(self._walk(tree, False))

    @classmethod
    def of(cls, module: ModuleType, name: str, installers: set[str]) -> _Source | None:
        file = vars(module).get("__file__")
        if not isinstance(file, str) or not file.endswith(".py"):
            return None
        try:
            text = Path(file).read_bytes()
            # Most are not even parsed.
            if b"twisted" not in text or not any(word in text for word in _WORDS):
                return None
            made = cls(ast.parse(text), module, name, file)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            # No source beside it: compiled, or frozen; or none that this interpreter reads.
            return None
        made._look(installers)
        return made

    def place(self, line: int) -> _Place:
        return _Place(self._name, self._file, line, self._imports)

    def _walk(self, node: ast.AST, inside: bool) -> Iterator[tuple[Any, bool]]:
        """Every node, and whether it is in a function."""
        waiting = [(node, inside)]
        while waiting:
            node, inside = waiting.pop()
            yield node, inside
            children = list(ast.iter_child_nodes(node))
            if isinstance(node, ast.If) and self._never(node.test):
                children = list(node.orelse)
            inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            waiting += [(child, inside) for child in reversed(children)]

    def _never(self, test: ast.expr) -> bool:
        """Whether what hangs on it has not been run."""
        if isinstance(test, ast.Constant):
            return not test.value
        text = ast.unparse(test)
        main = text.replace('"', "'") == "__name__ == '__main__'"
        return text.endswith("TYPE_CHECKING") or (main and self._name != "__main__")

    def _look(self, installers: set[str]) -> None:
        for node, inside in self._nodes:
            for target in self._imported(node):
                if not inside:
                    self._imports.append((target, node.lineno))
                if target == _REACTOR and _REACTOR in installers:
                    (self.called if inside else self.run).append(node.lineno)
        # Names are bound by now, those in functions, too.
        for node, inside in self._nodes:
            if isinstance(node, ast.Call) and self._dotted(node.func) in installers:
                (self.called if inside else self.run).append(node.lineno)

    def _imported(self, node: ast.AST) -> Iterator[str]:
        """The dotted names that a statement imports, with all that they can stand for."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                self._bound[alias.asname or first] = alias.name if alias.asname else first
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = str(self._package or "").split(".")
                kept = above[: len(above) - node.level + 1]
                base = ".".join([*kept, base] if base else kept)
            yield base
            for alias in node.names:
                self._bound[alias.asname or alias.name] = f"{base}.{alias.name}"
                yield f"{base}.{alias.name}"

    def _dotted(self, node: ast.expr) -> str | None:
        """What a name or an attribute stands for, as far as imports tell."""
        rest: list[str] = []
        while isinstance(node, ast.Attribute):
            rest.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self._bound:
            return None
        return ".".join([self._bound[node.id], *reversed(rest)])
