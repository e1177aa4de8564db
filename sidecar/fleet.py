"""Backends that most of the fleet has ejected, to be ejected for all of it.

Pure. What one host saw may be that host's own trouble, so it takes a strict majority of at least three instances: each
is a master with its workers, who share a board and so have one opinion.
"""

from collections.abc import Collection, Iterable, Sequence

from sidecar.contract.model import Report, Tally

LEAST_INSTANCES = 3
"""With two, a majority is both: each host's own ejection then does the same."""


def ejections(reports: Sequence[Report], members: Collection[str]) -> dict[str, int]:
    """Who is ejected for the fleet, by id, and for how many more milliseconds: as long as a majority stands by it.

    Args:
        reports: the fresh ones. Workers that drain have no say, and do not count.
        members: ids of the pool; at most half of them are ejected, those that most instances accuse first.
    """
    instances = list(_words(reports))
    if len(instances) < LEAST_INSTANCES:
        return {}
    majority = len(instances) // 2 + 1
    none = Tally()
    accused: dict[str, list[int]] = {}
    for name in members:
        remaining = [ms for word in instances if (ms := word.tallies.get(name, none).ejected_ms) > 0]
        if len(remaining) >= majority:
            accused[name] = sorted(remaining, reverse=True)
    chosen = sorted(accused, key=lambda name: (-len(accused[name]), name))[: len(members) // 2]
    return {name: accused[name][majority - 1] for name in chosen}


def _words(reports: Sequence[Report]) -> Iterable[Report]:
    """Each instance's latest report; its workers tell of the same board."""
    latest: dict[tuple[str, str], Report] = {}
    for report in reports:
        if report.draining:
            continue
        key = report.host, report.instance
        if key not in latest or (report.heartbeat_ms, report.slot) > (latest[key].heartbeat_ms, latest[key].slot):
            latest[key] = report
    return latest.values()
