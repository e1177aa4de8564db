"""How slow the slow are: 200 MiB at 50 MiB/s, twenty times slower than any proxy here moves bytes."""

import time

BLOCK_BYTES = 65_536
BODY_BYTES = 200 << 20
BYTES_PER_S = 50 << 20


class Pace:
    """Keeps a transfer from running ahead of its pace; it begins when this is made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def keep(self, moved_bytes: int) -> None:
        """Sleep until so many bytes in all are due."""
        time.sleep(max(0.0, self._began + moved_bytes / BYTES_PER_S - time.monotonic()))
