"""What importing and using the bridge imports."""

from __future__ import annotations

import subprocess
import sys


def python(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_twisted_is_imported_by_the_first_use():
    """Importing the bridge imports none of Twisted; using it imports no reactor, so that one can still be chosen."""
    python(
        """
import asyncio, sys
from interloop.bridge import as_deferred, as_future
assert not [name for name in sys.modules if name.partition(".")[0] in ("twisted", "tornado", "zope")]

async def answer():
    return 42

async def main():
    assert await as_future(as_deferred(answer())) == 42

asyncio.run(main())
assert "twisted.internet.defer" in sys.modules
assert "twisted.internet.reactor" not in sys.modules
"""
    )


def test_without_twisted():
    """Without Twisted the module imports, and the call says what is missing."""
    python(
        """
import sys
sys.modules["twisted"] = None
from interloop.bridge import as_future
try:
    as_future(None)
except ModuleNotFoundError as exc:
    assert "twisted" in str(exc), exc
else:
    raise AssertionError("no error")
"""
    )
