"""Become an ordinary user, then run a command: ``drop.py UID GID read|- COMMAND...``, started as root.

With "read", one capability stays: CAP_DAC_READ_SEARCH, to read and enter what the user could not (an interpreter under
/root). It gives no right to write, to change modes, or over other users' processes. Linux only; with "-", any Unix.
"""

from __future__ import annotations

import ctypes
import os
import sys

# linux/capability.h, linux/prctl.h
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION_3 = 0x20080522
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2


class Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def limit_bounding_set(libc: ctypes.CDLL, kept: set[int]) -> None:
    """No program started from here on, set-uid or not, gets a capability that is not kept."""
    number = 0
    # PR_CAPBSET_READ answers EINVAL past the kernel's last capability.
    while libc.prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        if number not in kept:
            checked(libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0), "prctl(PR_CAPBSET_DROP)")
        number += 1


def keep_reading(libc: ctypes.CDLL) -> None:
    """Narrow the permitted set that PR_SET_KEEPCAPS saved down to reading, and let exec keep that."""
    bit = 1 << CAP_DAC_READ_SEARCH
    data = (Data * 2)(Data(bit, bit, bit), Data(0, 0, 0))
    header = Header(CAPABILITY_VERSION_3, 0)
    checked(libc.capset(ctypes.byref(header), data), "capset")
    checked(
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0),
        "prctl(PR_CAP_AMBIENT)",
    )


def main(arguments: list[str]) -> None:
    uid, gid, keep, *command = arguments
    read = keep == "read"
    linux = sys.platform == "linux"
    if read and not linux:
        raise SystemExit("only Linux can keep the capability to read")
    libc = ctypes.CDLL(None, use_errno=True)
    if linux:
        limit_bounding_set(libc, {CAP_DAC_READ_SEARCH} if read else set())
    if read:
        checked(libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl(PR_SET_KEEPCAPS)")
    os.setgroups([])
    # As root these set the real, effective and saved ids.
    os.setgid(int(gid))
    os.setuid(int(uid))
    if read:
        keep_reading(libc)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
