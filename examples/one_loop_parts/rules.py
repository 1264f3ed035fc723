"""What may be stored. Every way into the store checks with these, so none can break it for the others."""

import re

KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MAX_VALUE = 500  # characters
MAX_LINE = 4096  # bytes: room for a command, a key and the longest value in UTF-8


class BadInput(Exception):
    """What a user sent is not acceptable; the text says what would be."""


def check_key(key: str) -> str:
    if not KEY.fullmatch(key):
        raise BadInput(f"a key is 1 to 64 letters, digits or any of _.- and not {key[:80]!r}")
    return key


def check_value(value: str) -> str:
    if not value or len(value) > MAX_VALUE:
        raise BadInput(f"a value has 1 to {MAX_VALUE} characters, not {len(value)}")
    if not value.isprintable():
        raise BadInput("a value is one line of printable text")
    return value


def as_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadInput("only UTF-8 text can be stored here") from None
