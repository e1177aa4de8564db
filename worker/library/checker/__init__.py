"""``HealthChecker``: the monitor's own probing inside an app, or the view of a monitor that runs elsewhere."""

from worker.library.checker.checker import HealthChecker

__all__ = ["HealthChecker"]
