"""Reads the imports of the Python sources, wherever in a module they stand."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

PACKAGE = "interloop"

# The house, ground floor first: what stands on one floor does not know its neighbours, only what is below. A name is a module
# or a package directly below interloop; "" is interloop/__init__.py, which hands on what is below it.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("_core",),
    ("_loop",),
    ("loop",),
    ("policy", "runner"),
    ("",),
    ("bridge", "trio", "stats", "stall"),
    ("twisted", "tornado"),
    ("migrate",),
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}

# The hosts are optional, and each is known only where it is served.
HOSTS: dict[str, frozenset[str]] = {
    "twisted": frozenset({"twisted", "bridge", "migrate"}),
    "zope": frozenset({"twisted", "bridge", "migrate"}),
    "OpenSSL": frozenset({"twisted"}),
    "tornado": frozenset({"tornado", "migrate"}),
    "trio": frozenset({"trio"}),
    # Not hosts: a loop that is to take their place has no use for them.
    "uvloop": frozenset(),
    "nest_asyncio": frozenset(),
    # Nor are these: what is served by way of ASGI is known by ASGI's words alone.
    "uvicorn": frozenset(),
    "hypercorn": frozenset(),
    "starlette": frozenset(),
}


def module_of(file: str) -> tuple[str, ...]:
    """The module a file below python/interloop/ is, without the package's own name."""
    parts = file.removesuffix(".pyi").removesuffix(".py").split("/")
    return tuple(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, file: str) -> Iterator[tuple[str, int]]:
    """Absolute names of all that is imported, with lines. `from a import b` gives a.b: b may be a module."""
    module = (PACKAGE, *module_of(file))
    package = module if file.endswith("__init__.py") else module[:-1]
    for node in ast.walk(ast.parse(source, file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join((*base, *filter(None, [node.module])))
            for alias in node.names:
                yield f"{name}.{alias.name}", node.lineno
        elif isinstance(node, ast.Call) and node.args and _imports_by_name(node.func):
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value, node.lineno


def _imports_by_name(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        return function.attr == "import_module"
    return isinstance(function, ast.Name) and function.id in ("__import__", "import_module")


def floor_violations(sources: Mapping[str, str]) -> list[str]:
    """What in these sources (by path below python/interloop/) points up or sideways, or knows a host it should not."""
    found = []
    for file, source in sorted(sources.items()):
        room = (*module_of(file), "")[0]
        if room not in FLOOR:
            found.append(
                f"interloop/{file}: {room} has no floor; the house is FLOORS in house_python.py"
            )
            continue
        for name, line in imports(source, file):
            where = f"interloop/{file}:{line}: {room or '__init__'}"
            top, *below = name.split(".")
            if top == PACKAGE:
                # `from interloop import Loop` is about the package itself, `from interloop import bridge` is not.
                target = below[0] if below and below[0] in FLOOR else ""
                if target != room and FLOOR[target] >= FLOOR[room]:
                    found.append(
                        f"{where} (floor {FLOOR[room]}) imports {name} (floor {FLOOR[target]})"
                    )
            elif top in HOSTS and room not in HOSTS[top]:
                found.append(f"{where} imports {name}, and must not know {top}")
    return found
