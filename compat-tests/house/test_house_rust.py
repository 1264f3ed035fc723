"""Imports point down, and unsafe code says why it is sound: in the Rust sources."""

from __future__ import annotations

import pathlib

import pytest
from house_rust import (
    Mention,
    SourceError,
    floor_violations,
    mentions,
    module_of,
    unexplained_unsafe,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]
SRC = ROOT / "src"


def sources() -> dict[str, str]:
    found = {file.relative_to(SRC).as_posix(): file.read_text() for file in SRC.rglob("*.rs")}
    assert "lib.rs" in found
    return found


def test_imports_point_down():
    found = floor_violations(sources())
    assert not found, "\n".join(found)


def test_every_source_is_read_to_its_paths():
    """The reader must not have lost its way in a source and found nothing in the rest of it."""
    for file, source in sources().items():
        last = max(
            (n for n, line in enumerate(source.splitlines(), 1) if line.startswith("use ")),
            default=None,
        )
        if last is not None:
            assert any(mention.line >= last for mention in mentions(source, module_of(file))), file


def test_unsafe_code_says_why():
    unexplained = [
        f"src/{file}:{line}"
        for file, source in sources().items()
        for line in unexplained_unsafe(source)
    ]
    assert not unexplained, "\n".join(unexplained)


# The checkers themselves: what they must catch, and what they must let pass.


@pytest.mark.parametrize(
    ("file", "source", "wrong"),
    [
        ("sys/fd.rs", "use crate::poll::Key;", "sys (floor 0) imports crate::poll::Key (floor 1)"),
        ("poll/mod.rs", "use crate::queue::Ready;", "poll (floor 1) imports crate::queue::Ready (floor 1)"),
        ("poll/mod.rs", "use super::runtime::Turn;", "poll (floor 1) imports crate::runtime::Turn (floor 3)"),
        ("proto/phase.rs", "use super::super::py;", "proto (floor 1) imports crate::py (floor 2)"),
        ("io/mod.rs", "fn f() { crate::transports::asyncio::x() }", "io (floor 5) imports crate::transports::asyncio::x (floor 6)"),
        ("io/stream.rs", "use crate::{sys::Fd, futures::{self, Wake}};", "io (floor 5) imports crate::futures::self (floor 6)"),
        ("runtime/turn.rs", "mod tests { use super::super::super::io::Stream; }", "runtime (floor 3) imports crate::io::Stream (floor 5)"),
        ("runtime/turn.rs", "fn f<T: Into<crate::tls::Session>>() {}", "runtime (floor 3) imports crate::tls::Session (floor 4)"),
        ("runtime/turn.rs", "type A = <crate::tls::Session as X>::Y;", "runtime (floor 3) imports crate::tls::Session (floor 4)"),
        ("runtime/turn.rs", "macro_rules! m { () => { $crate::io::x() } }", "runtime (floor 3) imports crate::io::x (floor 5)"),
        ("runtime/turn.rs", "use _core::io::Stream;", "runtime (floor 3) imports crate::io::Stream (floor 5)"),
        ("runtime/turn.rs", "use crate::Loop;", "runtime imports crate::Loop, which is no floor of the house"),
        ("transports/asyncio/mod.rs", "use super::tornado::Stream;", "transports/asyncio (floor 6) imports crate::transports::tornado::Stream (floor 6)"),
        ("transports/asyncio/tcp.rs", "use super::super::Shared;", "transports/asyncio (floor 6) imports crate::transports::Shared (floor 6)"),
        ("transports/tornado.rs", "use crate::futures::Wake;", "transports/tornado (floor 6) imports crate::futures::Wake (floor 6)"),
        ("poll/poller.rs", "fn f() { ::libc::close(3); }", "poll mentions libc::close, which is for sys/"),
        ("poll/poller.rs", "use libc;", "poll mentions libc, which is for sys/"),
        ("py/bytes.rs", "use crate::sys::libc::iovec;", "py mentions crate::sys::libc::iovec: libc is for sys/"),
        ("runtime/turn.rs", "use mio::{Poll, Token};", "runtime mentions mio::Poll, which is for poll/"),
        ("runtime/turn.rs", "use pyo3::{prelude::*, ffi};", "runtime mentions pyo3::ffi, which is for py/"),
        ("runtime/turn.rs", "use pyo3::*;", "runtime takes in all of pyo3, and its ffi with it"),
        ("runtime/turn.rs", "let x = crate::py::ffi::Py_None();", "runtime mentions crate::py::ffi::Py_None: pyo3::ffi is for py/"),
        ("runtime/turn.rs", "use std::os::fd::RawFd;", "runtime mentions std::os::fd::RawFd, which is for poll/ and sys/"),
        ("queue/timers.rs", "use pyo3::prelude::*;", "queue mentions pyo3::prelude::*, but knows nothing of Python"),
        ("io/tests/peer.rs", "use crate::transports::asyncio::Face;", "io (floor 5) imports crate::transports::asyncio::Face (floor 6)"),
        ("io/tests/peer.rs", "use mio::Poll;", "io mentions mio::Poll, which is for poll/"),
        ("queue/tests.rs", "use pyo3::Python;", "queue mentions pyo3::Python, but knows nothing of Python"),
        ("lib.rs", "use libc::c_int;", "lib.rs mentions libc::c_int, which is for sys/"),
    ],
)  # fmt: skip
def test_a_violation_is_found(file, source, wrong):
    others = {"transports/asyncio/mod.rs": "", "transports/tornado.rs": ""}
    assert floor_violations({**others, file: source})[:1] == [f"src/{file}:1: {wrong}"]


def test_a_folder_without_a_floor_is_found():
    (wrong,) = floor_violations({"attic/mod.rs": ""})
    assert wrong.startswith("src/attic/mod.rs: attic has no floor")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (
            "lib.rs",
            "mod sys; mod transports; use crate::runtime::Loop; pub use transports::asyncio::Tcp;",
        ),
        ("poll/mod.rs", "mod key; pub use key::Key; use self::key::Token; use crate::sys::Fd;"),
        ("poll/key.rs", "use super::Poller; pub(super) fn f() {} pub(in crate::runtime) fn g() {}"),
        (
            "poll/key.rs",
            "// use crate::py;\n/* use crate::py; /* nested */ use crate::io; */ /// crate::py::x\n",
        ),
        (
            "poll/key.rs",
            'const A: &str = "crate::py::x"; const B: &str = r#""crate::py::x"#; const C: char = \'"\';',
        ),
        (
            "poll/key.rs",
            "fn f<'a>(x: &'a str) -> impl Fn() + use<'a> { let c = '{'; let q = '\\''; move || () }",
        ),
        (
            "poll/key.rs",
            "mod tests { use super::*; mod inner { use super::super::Key; } } use super::Poller;",
        ),
        ("py/call.rs", "use pyo3::{ffi, prelude::*}; fn f() { ffi::Py_None(); }"),
        ("io/stream.rs", "use std::ffi::CStr; fn f() { crate::proto::Phase::Open; }"),
        (
            "transports/tornado/mod.rs",
            "use crate::io::Stream; use super::tornado::Face; use self::face::Face;",
        ),
        ("io/tests/peer.rs", "use std::os::fd::OwnedFd; fn f() { libc::close(3); }"),
        ("io/stream.rs", "mod tests { use std::os::fd::OwnedFd; fn f() { libc::close(3); } }"),
        ("py/address.rs", "use std::os::unix::ffi::OsStrExt; use crate::sys::fd::Fd;"),
        ("futures/mod.rs", "use crate::{io, py::{self, call}, runtime::*};"),
    ],
)
def test_what_points_down_passes(file, source):
    assert floor_violations({"transports/asyncio/mod.rs": "", file: source}) == []


def test_mentions_are_told_with_their_line():
    source = "use a::{\n    b,\n    c::{d as e, *},\n};\nfn f() {\n    g::h();\n}\n"
    assert list(mentions(source, ())) == [
        Mention(("a", "b"), 2, ()),
        Mention(("a", "c", "d"), 3, ()),
        Mention(("a", "c", "*"), 3, ()),
        Mention(("g", "h"), 6, ()),
    ]


@pytest.mark.parametrize("source", ["fn f() {", "}", "/* open", "use super::super::x;", "use a b;"])
def test_what_cannot_be_read_is_not_passed_over(source):
    with pytest.raises(SourceError):
        list(mentions(source, ("poll",)))


@pytest.mark.parametrize(
    "source",
    [
        "fn f() {\n    unsafe { g() }\n}",
        "// SAFETY: of another statement\nlet x = 1;\nunsafe { g() }",
        "// unsafe, but fine\nunsafe { g() }",
        "// SAFETY:\nunsafe { g() }",
        "match x {\n    // SAFETY: the first\n    A => unsafe { g() },\n    B => unsafe { h() },\n}",
        "unsafe impl Send for X {}",
        "unsafe fn f() {}",
        'unsafe extern "C" fn f() {}',
        "/// What it does.\npub unsafe fn f() {}",
    ],
)
def test_unsafe_without_a_reason_is_found(source):
    (line,) = unexplained_unsafe(source)
    assert "unsafe" in source.splitlines()[line - 1]


@pytest.mark.parametrize(
    "source",
    [
        "// SAFETY: g wants nothing\nunsafe { g() }",
        "// SAFETY: g wants nothing\nlet x =\n    h(a, unsafe { g() });",
        "let x = h(\n    a,\n    // SAFETY: g wants nothing\n    unsafe { g() },\n);",
        "match x {\n    // SAFETY: one\n    A => unsafe { g() },\n    // SAFETY: two\n    B => unsafe { h() },\n}",
        "// SAFETY: X holds nothing\nunsafe impl Send for X {}",
        "/// Reads.\n///\n/// # Safety\n/// `p` must be valid.\npub unsafe fn f(p: *const u8) {}",
        'type F = unsafe extern "C" fn(*mut u8);\ntype G = Option<unsafe fn(u8)>;',
        '#[unsafe(no_mangle)]\npub fn f() { "unsafe { g() }"; }',
    ],
)
def test_unsafe_with_a_reason_passes(source):
    assert unexplained_unsafe(source) == []
