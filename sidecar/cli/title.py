"""Passwords in arguments, taken out of what `ps` shows to everybody on the machine.

The arguments are overwritten where the kernel reads them. Between the start and this there are a few milliseconds, so
an environment variable is still the better place for a password.
"""

import ctypes
import re
from contextlib import suppress
from pathlib import Path

PASSWORD = re.compile(rb"\w+://[^\0/@:]*:([^\0@/]+)@")
ARG_START = 47
"""Index of ``arg_start`` in /proc/PID/stat, 48th by proc(5); 0 where the kernel does not tell."""


def hide_passwords() -> None:
    """Overwrite the password of every URL in our own arguments with stars. Linux only."""
    with suppress(OSError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start = int(fields[ARG_START - 2])  # without pid and name
        arguments = Path("/proc/self/cmdline").read_bytes()
        for match in PASSWORD.finditer(arguments) if start else ():
            ctypes.memset(start + match.start(1), ord("*"), len(match[1]))
