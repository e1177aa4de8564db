"""The monitor: probe, verdict, publish, in one process; it owns the clock, the tasks and the transition log.

Several may run. All of them probe; for each pool one holds the lease and publishes, the others stand by. Who leads
serves the console.
"""

from sidecar.monitor.run import run

__all__ = ["run"]
