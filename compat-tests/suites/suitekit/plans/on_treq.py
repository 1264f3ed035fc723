"""treq's own suite. Its integration tests start an httpbin of their own."""

from suitekit.on_library import Library

PLAN = Library("treq", "treq", recurse=True)
