"""One pool of a monitor as its metrics see it, without a store: what was probed and heard is what a test says."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from sidecar.collect import Traffic
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Report, Tally, Verdict
from sidecar.monitor.counted import Account
from watched import Watched


def report(slot: int, incarnation: str = "first", **tallies: Tally) -> Report:
    """What a worker says in its heartbeat."""
    return Report(host="web-1", instance="main", slot=slot, pid=1, incarnation=incarnation, tallies=tallies)


class StandInPost:
    """The pool `api` on these backends, led by this monitor."""

    def __init__(self, *names: str) -> None:
        self.keys = PoolKeys("default", "api")
        self.watched = Watched(*names)
        self.watch = self.watched.watch
        self.account = Account()
        self.leader: Any = SimpleNamespace(is_leading=True, account=self.account)
        self.told: Any = SimpleNamespace(verdicts={}, suspect="")

    def publish(self, verdicts: Mapping[str, Verdict], suspect: str = "") -> None:
        """This was published."""
        self.told.verdicts, self.told.suspect = verdicts, suspect

    def hear(self, *reports: Report, **traffic: Traffic) -> None:
        """The workers say this."""
        self.account.hear(reports, traffic)
