"""Where frames come from: what `sidebeat status` reads, and the workers' own reports where no monitor adds them up."""

import time
from collections.abc import Iterable
from dataclasses import replace

from sidecar.collect import Rates
from sidecar.contract.keys import PoolKeys
from sidecar.status import PoolStatus, read_reports, read_status, store_at
from sidecar.top.frame import Frame, with_traffic


class Reader:
    """Reads one system again and again."""

    def __init__(self, url: str, namespace: str, pools: Iterable[str] = ()) -> None:
        self._url = url
        self._namespace = namespace
        self._pools = tuple(pools)
        self._rates: dict[str, Rates] = {}

    async def frame(self) -> Frame:
        """What there is to see now.

        Raises:
            UnreadableError: the store does not answer.
        """
        status = await read_status(self._url, self._namespace, self._pools)
        silent = [name for name, pool in status.pools.items() if pool.is_silent and pool.backends]
        measured = {name: await self._measure(name, status.pools[name]) for name in silent}
        self._rates = {name: rates for name, rates in self._rates.items() if name in silent}
        return Frame(status=replace(status, pools={**status.pools, **measured}), measured=frozenset(silent))

    async def _measure(self, name: str, pool: PoolStatus) -> PoolStatus:
        async with store_at(self._url) as store:
            reports = await read_reports(store, PoolKeys(self._namespace, name))
        is_first = name not in self._rates  # a rate takes two looks
        traffic = self._rates.setdefault(name, Rates()).observe(reports, time.monotonic())
        return with_traffic(pool, {} if is_first else traffic)
