"""klein's own suite."""

from suitekit.on_library import Library

PLAN = Library("klein", "klein", recurse=True)
