"""Reads Rust sources well enough to say which module mentions which, and which unsafe code gives no reason.

This is a tokenizer and a reader of paths, not a parser: it knows comments, literals, `use` trees, inline modules and
nesting. What rustc would expand (macros by example) is read as it is written.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping

# The house, ground floor first: what stands on one floor does not know its neighbours, only what is below.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("sys",),
    ("poll", "queue", "proto"),
    ("py",),
    ("runtime",),
    ("tls",),
    ("io",),
    ("transports", "futures"),
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}

# The crate's name (Cargo.toml, [lib]): another way to say `crate`.
CRATE_NAMES = ("crate", "_core")

# Who alone may mention a crate or module outside the house.
RESERVED: tuple[tuple[tuple[str, ...], frozenset[str]], ...] = (
    (("libc",), frozenset({"sys"})),
    (("mio",), frozenset({"poll"})),
    (("pyo3", "ffi"), frozenset({"py"})),
    (("pyo3_ffi",), frozenset({"py"})),
    # Windows has none of it. mio wants descriptors where there are any; nobody above needs to know what they are.
    (("std", "os", "fd"), frozenset({"sys", "poll"})),
    (("std", "os", "unix", "io"), frozenset({"sys", "poll"})),
)
# A test plays the peer and the kernel, and takes their tools. The floors hold for it as well.
FOR_TESTS_TOO = frozenset({("libc",), ("std", "os", "fd"), ("std", "os", "unix", "io")})
# Floors that know nothing of Python.
WITHOUT_PYTHON = frozenset(name for names in FLOORS[:2] for name in names)

TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<line_comment>//[^\n]*)
    | (?P<block_comment>/\*)
    | (?P<raw_string>\b(?:b|c)?r(?P<hashes>\#*)"(?:.|\n)*?"(?P=hashes))
    | (?P<string>\b[bc]?"(?:\\(?:.|\n)|[^"\\])*"|"(?:\\(?:.|\n)|[^"\\])*")
    | (?P<char>\bb?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\])'|'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\\n])')
    | (?P<lifetime>'[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>\d[A-Za-z0-9_]*(?:\.\d[A-Za-z0-9_]*)?)
    | (?P<ident>(?:r\#)?[A-Za-z_][A-Za-z0-9_]*)
    | (?P<punct>::|=>|->|.)
    """,
    re.VERBOSE,
)


class SourceError(Exception):
    """A source that this reader does not understand. It must be taught, not ignored."""


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    kind: str  # "ident", "punct", "comment" or "literal"
    text: str
    line: int


def tokens(source: str) -> Iterator[Token]:
    at, line = 0, 1
    while at < len(source):
        found = TOKEN.match(source, at)
        if found is None:
            raise SourceError(f"line {line}: cannot read {source[at : at + 20]!r}")
        kind, end = found.lastgroup or "", found.end()
        if found["raw_string"]:
            kind = "literal"
        elif kind == "block_comment":
            end = _end_of_block_comment(source, at, line)
            kind = "comment"
        elif kind == "line_comment":
            kind = "comment"
        elif kind in ("string", "char", "lifetime", "number"):
            kind = "literal"
        text = source[at:end]
        if kind == "ident":
            yield Token(kind, text.removeprefix("r#"), line)
        elif kind != "space":
            yield Token(kind, text, line)
        line += text.count("\n")
        at = end


def _end_of_block_comment(source: str, start: int, line: int) -> int:
    depth = 0
    for edge in re.finditer(r"/\*|\*/", source[start:]):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return start + edge.end()
    raise SourceError(f"line {line}: a comment that does not end")


@dataclasses.dataclass(frozen=True, slots=True)
class Mention:
    """A path somewhere in a source, made absolute where it points into the crate (then it starts with "crate")."""

    path: tuple[str, ...]
    line: int
    module: tuple[str, ...]  # where it stands, inline modules included


def module_of(file: str) -> tuple[str, ...]:
    """The module a file below src/ is: `poll/mod.rs` and `poll.rs` are both `poll`."""
    parts = file.removesuffix(".rs").split("/")
    return tuple(parts[:-1] if parts[-1] in ("mod", "lib") else parts)


def mentions(source: str, module: tuple[str, ...]) -> Iterator[Mention]:
    """Every path in the source, in `use` or elsewhere. Single names are not paths, except in `use`."""
    stream = [token for token in tokens(source) if token.kind != "comment"]
    inline: list[str | None] = []  # what each open brace belongs to: an inline module, or None
    opening: str | None = None
    position = 0
    while position < len(stream):
        token = stream[position]
        here = (*module, *(name for name in inline if name is not None))
        if token.text == "{" and token.kind == "punct":
            inline.append(opening)
            opening = None
        elif token.text == "}" and token.kind == "punct":
            if not inline:
                raise SourceError(f"line {token.line}: a brace too many")
            inline.pop()
        elif token.kind == "ident":
            if token.text == "mod" and _text(stream, position + 2) == "{":
                opening = stream[position + 1].text
            elif token.text == "use":
                position, found = _use(stream, position + 1)
                for path, line in found:
                    yield Mention(_absolute(path, here, line), line, here)
                continue
            elif _text(stream, position + 1) == "::" and _starts_a_path(stream, position):
                start = position
                written: tuple[str, ...] = (token.text,)
                while (
                    _text(stream, position + 1) == "::" and _kind(stream, position + 2) == "ident"
                ):
                    position += 2
                    written = (*written, stream[position].text)
                # pub(in crate::x) says who may look in; it mentions nothing.
                if not (_text(stream, start - 1) == "in" and _text(stream, start - 3) == "pub"):
                    yield Mention(_absolute(written, here, token.line), token.line, here)
        position += 1
    if inline:
        raise SourceError("a brace that is never closed")


def _text(stream: list[Token], position: int) -> str:
    return stream[position].text if 0 <= position < len(stream) else ""


def _kind(stream: list[Token], position: int) -> str:
    return stream[position].kind if 0 <= position < len(stream) else ""


def _starts_a_path(stream: list[Token], position: int) -> bool:
    if _text(stream, position - 1) != "::":
        return True
    # `::libc::read` starts one, `a::b::c` does not at b, nor `<T>::b::c`.
    return _kind(stream, position - 2) != "ident" and _text(stream, position - 2) != ">"


def _use(stream: list[Token], position: int) -> tuple[int, list[tuple[tuple[str, ...], int]]]:
    """Reads the tree after `use`. Gives the position behind its semicolon, and its leaves."""
    if _text(stream, position) == "<":  # precise capturing: `impl Trait + use<'a, T>`
        return position, []
    position, leaves = _tree(stream, position, ())
    if _text(stream, position) != ";":
        raise SourceError(f"line {stream[position].line}: a use that does not end")
    return position + 1, leaves


def _tree(
    stream: list[Token], position: int, prefix: tuple[str, ...]
) -> tuple[int, list[tuple[tuple[str, ...], int]]]:
    path = prefix
    if _text(stream, position) == "::":
        position += 1
    while True:
        token = stream[position]
        if token.text == "{":
            leaves: list[tuple[tuple[str, ...], int]] = []
            position += 1
            while _text(stream, position) != "}":
                position, more = _tree(stream, position, path)
                leaves += more
                if _text(stream, position) == ",":
                    position += 1
            return position + 1, leaves
        if token.kind != "ident" and token.text != "*":
            raise SourceError(f"line {token.line}: {token.text!r} in a use")
        path = (*path, token.text)
        position += 1
        if _text(stream, position) != "::":
            if _text(stream, position) == "as":
                position += 2
            return position, [(path, token.line)]
        position += 1


def _absolute(path: tuple[str, ...], here: tuple[str, ...], line: int) -> tuple[str, ...]:
    head, rest = path[0], path[1:]
    if head in CRATE_NAMES:
        return ("crate", *rest)
    if head not in ("self", "super"):
        return path
    base = list(here)
    if head == "super":
        rest = path
    while rest and rest[0] == "super":
        if not base:
            raise SourceError(f"line {line}: {'::'.join(path)} leads out of the crate")
        base.pop()
        rest = rest[1:]
    return ("crate", *base, *rest)


def room_of(module: tuple[str, ...], faces: frozenset[str]) -> str:
    """What a module belongs to: its folder below src/, and of the transports the face. The crate root is ""."""
    if not module:
        return ""
    if module[0] == "transports" and len(module) > 1 and module[1] in faces:
        return f"transports/{module[1]}"
    return module[0]


def floor_violations(sources: Mapping[str, str]) -> list[str]:
    """What in these sources (by path below src/) points up or sideways, or mentions what others keep for themselves."""
    modules = {file: module_of(file) for file in sources}
    faces = frozenset(m[1] for m in modules.values() if len(m) > 1 and m[0] == "transports")
    found = []
    for file, source in sorted(sources.items()):
        room = room_of(modules[file], faces)
        folder = room.partition("/")[0]
        if folder and folder not in FLOOR:
            found.append(f"src/{file}: {folder} has no floor; the house is FLOORS in house_rust.py")
            continue
        for mention in mentions(source, modules[file]):
            where = f"src/{file}:{mention.line}: {room or 'lib.rs'}"
            wrong = _reserved(mention.path, folder, "tests" in mention.module)
            # lib.rs is the table of contents: it names everything and is named by nobody.
            if wrong is None and room and mention.path[0] == "crate":
                wrong = _upwards(room, room_of(mention.path[1:], faces), mention.path)
            if wrong is not None:
                found.append(f"{where} {wrong}")
    return found


def _reserved(path: tuple[str, ...], folder: str, in_test: bool) -> str | None:
    written = "::".join(path)
    for reserved, folders in RESERVED:
        if in_test and reserved in FOR_TESTS_TOO:
            continue
        owners = " and ".join(f"{name}/" for name in sorted(folders))
        if path[: len(reserved)] == reserved and folder not in folders:
            return f"mentions {written}, which is for {owners}"
        # A foreign crate handed on by its owner is still the same thing.
        handed_on = len(reserved) == 1 or reserved[-1] == "ffi"
        if (
            handed_on
            and path[:1] == ("crate",)
            and path[1:2] != (folder,)
            and path[2:3] == reserved[-1:]
        ):
            return f"mentions {written}: {'::'.join(reserved)} is for {owners}"
    if path[0] == "pyo3" and folder in WITHOUT_PYTHON:
        return f"mentions {written}, but knows nothing of Python"
    if path == ("pyo3", "*") and folder != "py":
        return "takes in all of pyo3, and its ffi with it"
    return None


def _upwards(room: str, target: str, path: tuple[str, ...]) -> str | None:
    if target == room:
        return None
    written = "::".join(path)
    floor, target_floor = FLOOR[room.partition("/")[0]], FLOOR.get(target.partition("/")[0])
    if target_floor is None:
        return f"imports {written}, which is no floor of the house"
    if target_floor < floor:
        return None
    return f"(floor {floor}) imports {written} (floor {target_floor})"


def unexplained_unsafe(source: str) -> list[int]:
    """Lines of unsafe code without its reason.

    A block or an impl wants a comment that says `SAFETY:`, a function or trait one that says it or has a heading `# Safety`;
    the comment stands before the statement that holds the unsafe code, or within it before the keyword.
    """
    lines = []
    stream = list(tokens(source))
    enclosing: list[str] = []  # for each token, the innermost bracket around it
    open_brackets = [""]
    for token in stream:
        if token.kind == "punct" and token.text in "({[":
            enclosing.append(open_brackets[-1])
            open_brackets.append(token.text)
        elif token.kind == "punct" and token.text in ")}]":
            open_brackets.pop()
            enclosing.append(open_brackets[-1])
        else:
            enclosing.append(open_brackets[-1])
    code = [number for number, token in enumerate(stream) if token.kind != "comment"]
    for place, number in enumerate(code):
        token = stream[number]
        if token.kind != "ident" or token.text != "unsafe":
            continue
        following = [stream[after].text for after in code[place + 1 : place + 5]]
        needs = _needs_reason(following)
        if needs and not _reason_before(stream, enclosing, number):
            lines.append(token.line)
    return lines


def _needs_reason(following: list[str]) -> bool:
    if following[:1] in (["{"], ["impl"], ["trait"]):
        return True
    if following[:1] == ["extern"]:  # `extern "C" fn name` or `extern fn name`
        following = following[2:] if following[1:2] != ["fn"] else following[1:]
    # A function has a name; without one it is the type of a function.
    return following[:1] == ["fn"] and following[1:2] != ["("]


def _reason_before(stream: list[Token], enclosing: list[str], number: int) -> bool:
    for before in range(number - 1, -1, -1):
        token = stream[before]
        if token.kind == "comment":
            if re.search(r"SAFETY: *\S|# Safety", token.text):
                return True
        elif token.kind == "punct":
            statement_ends = token.text in (";", "{", "}")
            element_ends = token.text == "," and enclosing[before] == "{"
            if statement_ends or element_ends:
                return False
    return False
