"""What all types of probes have in common: one deadline for all of it, and a result whatever happens."""

import asyncio
from contextlib import suppress
from typing import Protocol

from sidecar.contract.model import Address
from sidecar.probe.result import ProbeResult, Progress
from sidecar.probe.trouble import trouble
from sidecar.verdict import Evidence

LATE_MS = 250.0
"""A deadline noticed so much after its time was noticed by a process that was starved or stopped: the answer may have
been there for long. Held against the backends it would take down all of them, just when the machine is busiest."""


class Exchange(Protocol):
    """One type of probe."""

    async def __call__(self, progress: Progress) -> None:
        """Ask a backend and tell the progress what was found; any error is a failed probe."""


class TimedProbe:
    """How one backend is probed; made once, called for each probe."""

    def __init__(self, exchange: Exchange, address: Address, timeout_s: float) -> None:
        self._exchange = exchange
        self._address = address
        self._timeout_s = timeout_s

    async def __call__(self) -> ProbeResult:
        """Probe once. Takes no longer than the timeout; never raises but for cancellation."""
        progress = Progress()
        is_late = False
        try:
            async with asyncio.timeout(self._timeout_s), asyncio.TaskGroup() as tasks:
                # In a task of its own: below httpx, anyio keeps count of the cancellations of the task it runs in. A
                # miscount (its issue 1214 was one) must not end a backend's probing unseen, or keep it from ending.
                tasks.create_task(self._run(progress))
        except TimeoutError:
            is_late = True
        if progress.finding is not None:
            return progress.result(progress.finding)
        if is_late:
            return self._late(progress)
        if progress.error is not None:
            return progress.result(trouble(progress.error, progress.status, self._address))
        return progress.result(Evidence(passed=False, reason="the probe was cancelled"), is_void=True)

    async def _run(self, progress: Progress) -> None:
        try:
            await self._exchange(progress)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this backend's result and not our end
            progress.error = error
        finally:
            if progress.connection is not None:
                # httpcore forgets a connection when its TLS handshake is cancelled.
                with suppress(OSError):
                    await progress.connection.aclose()

    def _late(self, progress: Progress) -> ProbeResult:
        reason = f"{progress.missing} within {self._timeout_s} s"
        late_ms = progress.elapsed_ms() - self._timeout_s * 1000
        if is_void := late_ms > LATE_MS:
            reason += f"; does not count, since the monitor was {late_ms / 1000:.1f} s late itself"
        return progress.result(Evidence(passed=False, reason=reason), is_void=is_void)
