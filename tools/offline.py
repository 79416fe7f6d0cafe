"""`python tools/offline.py COMMAND …` runs a command in a network of its own, which holds localhost and nothing else.

It works on Linux, as root or where users may make namespaces. It is run by its path and imports the standard library
alone: a process that leaves its user namespace may have one thread only, and NumPy starts more.
"""

import ctypes
import functools
import os
import platform
import socket
import struct
import subprocess
import sys
from pathlib import Path

NEW_USER, NEW_NET = 0x10000000, 0x40000000  # linux/sched.h
SET_FLAGS, UP = 0x8914, 1  # linux/sockios.h, linux/if.h


def command(words: tuple[str, ...]) -> tuple[str, ...]:
    """The command that runs this one with the network cut."""
    return (sys.executable, "-I", __file__, *words)


@functools.cache
def reason() -> str:
    """Why the network cannot be cut here, in a clause; empty where it can."""
    if not sys.platform.startswith("linux"):
        return f"Linux alone has networks for single processes, and this is {platform.system()}"
    tried = subprocess.run(command((sys.executable, "-c", "")), capture_output=True, text=True)
    return "" if tried.returncode == 0 else tried.stderr.strip().splitlines()[-1]


def cut() -> None:
    """Moves this process into a new network, as the user that it is. Raises OSError where it may not."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(NEW_NET):  # only root may, unless the user has a namespace of their own
        if libc.unshare(NEW_USER | NEW_NET):
            raise OSError(ctypes.get_errno(), "this process may not make a network of its own")
        for file, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path("/proc/self", file).write_text(text)
    import fcntl  # absent on Windows

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sh22x", b"lo", UP))


if __name__ == "__main__":
    try:
        cut()
    except OSError as wrong:
        sys.exit(f"the network cannot be cut: {wrong}")
    os.execvp(sys.argv[1], sys.argv[1:])
