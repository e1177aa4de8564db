"""Where the log of a program goes: stderr, a line each, time first."""

import logging
import sys


def log_to_stderr() -> None:
    """Set it up for this process, at level info; what libraries say of each request is left out."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )  # fmt: skip
    for library in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)
