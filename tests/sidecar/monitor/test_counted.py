from dataclasses import replace

import pytest

from sidecar.contract.events import Event
from sidecar.monitor.counted import Account, Ending, Phase, Probes
from sidecar.probe import ProbeResult
from sidecar.publish import Change, Outcome
from watched import PASS, SILENT


@pytest.mark.parametrize(
    ("result", "ending"),
    [
        (PASS, Ending.PASSED),
        (replace(PASS, passed=False, status=500), Ending.BAD_ANSWER),
        (SILENT, Ending.NO_ANSWER),
        (replace(SILENT, refused=True), Ending.REFUSED),
        (replace(SILENT, is_void=True), Ending.VOID),
    ],
)
def test_a_probe_is_counted_by_how_it_ended(result: ProbeResult, ending: Ending):
    probes = Probes()
    probes.add(result)
    assert {each: count for each, count in probes.endings.items() if count} == {ending: 1}


def test_a_probe_has_a_time_for_each_phase_that_it_reached():
    probes = Probes()
    probes.add(replace(PASS, connect_ms=0.5, ttfb_ms=1.0))
    probes.add(replace(SILENT, connect_ms=0.5))
    probes.add(replace(SILENT, is_void=True))
    times = {phase: (sum(each.counts), each.total_s) for phase, each in probes.times.items()}
    assert times == {Phase.CONNECT: (2, 0.001), Phase.FIRST_BYTE: (1, 0.001), Phase.TOTAL: (2, 1.0015)}


def test_a_transition_counts_once_the_store_has_taken_it():
    account = Account()
    changes = [
        Change(backend="a", before="healthy", after="unhealthy", reason=""),
        Change(backend="", before=Event.MONITOR_SUSPECT, after="", reason=""),
    ]
    account.wrote(Outcome.FENCED, changes)
    account.wrote(Outcome.DONE, changes)
    account.wrote(Outcome.DONE, [])
    assert +account.events == {"unhealthy": 1, "monitor-suspect-over": 1}
    assert (account.outcomes[Outcome.DONE], account.outcomes[Outcome.FENCED]) == (2, 1)
