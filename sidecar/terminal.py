"""Whether SIGHUP means what it was made for: that the terminal is gone. Else it asks for a reload."""

import os
import signal


class Terminal:
    """The terminal that this process was started from, if from any; under ``nohup`` its end is nothing to us."""

    def __init__(self) -> None:
        """Look; to be done before SIGHUP has another handler."""
        self._counts = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _can_be_opened()

    @property
    def is_gone(self) -> bool:
        """Whether it was there, and is not any more."""
        return self._counts and not _can_be_opened()


def _can_be_opened() -> bool:
    """The kernel takes it from all processes of its session when it hangs up (tty_ioctl(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
