"""`sidebeat up`: store, monitor and workers, started in order, kept running, ended in order.

    store ready -> monitor -> gunicorn        SIGTERM, Ctrl-C: gunicorn drains -> monitor -> store -> files

The monitor and the store are started again when they end. The gunicorn master is not: it starts its workers again
itself, so when it ends there is a reason, and `up` ends with it.
"""

from sidecar.up.run import Commands, our_commands, run

__all__ = ["Commands", "our_commands", "run"]
