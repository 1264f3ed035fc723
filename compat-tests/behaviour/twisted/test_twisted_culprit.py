"""interloop.twisted.install() where another reactor is installed: whom the error names."""

from __future__ import annotations

import os

import pytest

IMPORTED = """
import os

def unrelated():
    pass

from twisted.internet import defer, reactor
"""
CALLED = """
from twisted.internet import selectreactor

selectreactor.install()
"""
IN_A_FUNCTION = """
def later():
    from twisted.internet import reactor
    return reactor

reactor_of_mine = later()
"""


GUARDED = """
from __future__ import annotations
from typing import TYPE_CHECKING

if TYPE_CHECKING or 0:
    pass
if TYPE_CHECKING:
    from twisted.internet import reactor
if 0:
    import twisted.internet.reactor
if __name__ == "__main__":
    from twisted.internet import reactor

class Service:
    import twisted.internet.reactor as clock
"""


@pytest.fixture
def blamed(program, tmp_path):
    """blamed(**sources): the places that the error names, in a program that imports the module `culprit`."""

    def blamed(**sources: str) -> str:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
        (text,) = program(
            None,
            """
            import culprit
            import interloop.twisted
            from twisted.internet.error import ReactorAlreadyInstalledError
            try:
                interloop.twisted.install()
            except ReactorAlreadyInstalledError as error:
                print(error)
            """,
        )
        head, text = text.split("Reactor is already installed as Twisted's reactor")
        assert head.startswith("twisted.internet.")
        text, advice = text.split("; ")
        assert advice == (
            "call interloop.twisted.install() before anything imports twisted.internet.reactor"
        )
        return text.replace(f"{tmp_path}{os.sep}", "")

    return blamed


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (IMPORTED, 7),
        (CALLED, 4),
        ("import twisted.internet.reactor", 1),
        ("from twisted.internet.reactor import callLater", 1),
        ("from twisted.internet.selectreactor import install\ninstall()", 2),
        ("import twisted.internet.selectreactor\ntwisted.internet.selectreactor.install()", 2),
        ("from twisted.internet import default as it\nit.install()", 2),
        ("from twisted.internet import selectreactor as s, reactor\n", 1),
        (
            "from twisted.internet import main, selectreactor\n"
            "main.installReactor(selectreactor.SelectReactor())",
            2,
        ),
        (GUARDED, 15),
    ],
)
def test_the_error_names_who_installed_another_one(blamed, source, line):
    assert blamed(culprit=source) == f", by the look of it by culprit.py, line {line}"


def test_the_error_says_that_a_function_may_have_done_it(blamed):
    assert (
        blamed(culprit=IN_A_FUNCTION)
        == ", perhaps, when a function was called, by culprit.py, line 3"
    )


INSTALLS_IN_A_FUNCTION = """
def setup():
    from twisted.internet import selectreactor
    selectreactor.install()
setup()
"""


def test_who_only_imported_it_later_is_not_blamed(blamed):
    imports = "from twisted.internet import reactor\n"
    # An import would have installed the default one.
    assert blamed(culprit="import other\n" + imports, other=INSTALLS_IN_A_FUNCTION) == (
        ", perhaps, when a function was called, by other.py, line 4"
    )
    assert blamed(culprit="import other\n" + imports, other=imports) == (
        ", by the look of it by other.py, line 1"
    )
    assert blamed(culprit=imports + "import other\n", other=imports) == (
        ", by the look of it by culprit.py, line 1"
    )
    # Over before there was a reactor.
    unused = "if input is None:\n    " + imports
    assert blamed(culprit="import other\n" + imports, other=unused) == (
        ", by the look of it by culprit.py, line 2"
    )


def test_all_are_named_where_it_cannot_be_told(blamed):
    imports = "from twisted.internet import reactor\n"
    assert blamed(
        culprit="import other\n" + imports, other=IN_A_FUNCTION.replace("selectreactor", "reactor")
    ) == (
        ", by the look of it by culprit.py, line 2, or when a function was called, by other.py, line 3"
    )
    assert blamed(
        culprit="import one\n" + imports,
        one="import importlib\nimportlib.import_module('two')\n" + imports,
        two=imports,
    ) == (", by the look of it by two.py, line 1, or by one.py, line 3")


def test_a_source_that_cannot_be_read_is_passed_over(blamed):
    source = """
import pathlib
from twisted.internet import reactor
pathlib.Path(__file__).write_text("reactor of twisted: no Python")
"""
    assert blamed(culprit=source) == ""


def test_the_error_guesses_nothing_where_nothing_can_be_told(program):
    (text,) = program(
        None,
        """
        from importlib import import_module
        import_module("twisted.internet.selectreactor").install()
        import interloop.twisted
        try:
            interloop.twisted.install()
        except Exception as error:
            print(error)
        """,
    )
    assert text.startswith(
        "twisted.internet.selectreactor.SelectReactor is already installed as Twisted's reactor; call"
    )
