"""`sidebeat`: the commands, and one line on stderr for whatever is wrong with their use.

Exit status: 0 done, 1 could not at run time (or `doctor` found something wrong), 2 wrong use or config, 130 cut short
by Ctrl-C. What a command needs is imported by that command, so that `sidebeat --help` does not wait for Redis and HTTP
clients.
"""

from sidecar.cli.commands import main

__all__ = ["main"]
