"""python scripts/chaos.d/chaos.py [NAME ...]: break things under load, print what was seen, keep it under .bench."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

from backend_faults import black_hole, flapping, hang, kill_backend, one_failed_probe, rolling_restart
from drain_faults import drain, restart
from findings import Finding, table
from lasting_faults import kill_tunnels, leaving_clients, reload
from monitor_faults import blind_monitor, kill_monitor, lost_pushes, stop_monitor
from openload import LoadError
from store_faults import quiet, store_fault
from system import ROOT, ChaosError
from worker_faults import ejection_outlives_workers, kill_worker, newer_monitor

Fault = Callable[[], Awaitable[Sequence[Finding]]]


def faults(rounds: int) -> dict[str, Fault]:
    """All of them, by name."""
    return {
        "quiet": quiet,
        "kill-backend": kill_backend,
        "hang": hang,
        "black-hole": black_hole,
        "flapping": flapping,
        "one-failed-probe": one_failed_probe,
        "rolling-restart": rolling_restart,
        "store": store_fault(rounds),
        "kill-monitor": kill_monitor,
        "stop-monitor": stop_monitor,
        "blind-monitor": blind_monitor,
        "lost-pushes": lost_pushes,
        "kill-worker": kill_worker,
        "ejection-outlives-workers": ejection_outlives_workers,
        "newer-monitor": newer_monitor,
        "drain": drain,
        "restart": restart,
        "reload": reload,
        "leaving-clients": leaving_clients,
        "kill-tunnels": kill_tunnels,
    }


async def run(names: Sequence[str], rounds: int) -> list[tuple[str, Finding]]:
    """One after the other; what could not be measured is a finding, too."""
    found: list[tuple[str, Finding]] = []
    for name in names:
        sys.stderr.write(f"chaos: {name}\n")
        try:
            found += [(name, finding) for finding in await faults(rounds)[name]()]
        except (ChaosError, LoadError, TimeoutError, ExceptionGroup) as error:
            found.append((name, Finding(what="measured", measured=f"no: {error!r}"[:200], bar="yes", met=False)))
    return found


def main() -> int:
    """0: everything held."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which faults; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="of the store's faults, whose latency is a median")
    parser.add_argument("--list", action="store_true", help="name the faults")
    options = parser.parse_args()
    known = faults(options.rounds)
    if options.list:
        sys.stdout.writelines(
            f"{name:28}{(fault.__doc__ or '').partition(chr(10))[0]}\n" for name, fault in known.items()
        )
        return 0
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"unknown: {', '.join(unknown)}; --list names them")
    found = asyncio.run(run(options.names or list(known), options.rounds))
    text = table(found)
    sys.stdout.write(text + "\n")
    kept = ROOT / ".bench"
    kept.mkdir(exist_ok=True)
    (kept / "chaos.md").write_text(text + "\n")
    return 0 if all(finding.met is not False for _, finding in found) else 1


if __name__ == "__main__":
    sys.exit(main())
