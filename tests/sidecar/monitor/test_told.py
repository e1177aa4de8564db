"""What is published of what the monitor knows: intents, the fleet's ejections, and verdicts that are held."""

from dataclasses import replace
from functools import partial

import pytest

from sidecar.contract.model import Admin, Health, Intent, Report, Tally, Verdict, View
from sidecar.monitor.clock import WireClock
from sidecar.monitor.told import Told
from sidecar.publish import Change, Edition, LastEdition
from sidecar.veto import HOLD_S, Veto
from watched import SILENT, Watched

NOW = 1000.0
REDIS_MS = 1_000_000_000
DRAIN = {"a": Intent(admin=Admin.DRAIN, since_ms=5, by="ada")}


class Teller:
    """A leader's words, at times that a test names; what it says is taken by the store."""

    def __init__(self, *names: str, veto: bool = False) -> None:
        self.pool = Watched(*names)
        self.clock = WireClock()
        self.clock.learn(REDIS_MS, sent=NOW, received=NOW)
        new_veto = partial(Veto, interval_s=1.0, timeout_s=1.0) if veto else None
        self.told = Told(self.pool.watch, self.clock, "c0ffee", new_veto)

    def tell(self, after_s: float = 0.0) -> Edition | None:
        edition = self.told.edition(token=1, store_id="s", now=NOW + after_s)
        if edition is not None:
            self.told.accepted(edition)
        return edition

    def view(self, after_s: float = 0.0) -> View:
        edition = self.tell(after_s)
        assert edition is not None, "there is no news"
        assert edition.view is not None
        return edition.view

    def changes(self, after_s: float = 0.0) -> list[Change]:
        edition = self.tell(after_s)
        assert edition is not None, "there is no news"
        return [*edition.changes]

    def report(self, after_s: float, *tallies: dict[str, Tally]) -> None:
        """What so many instances say, one after the other."""
        reports = [
            Report(
                host="h", instance=f"i{number}", slot=0, pid=1, incarnation="x",
                heartbeat_ms=REDIS_MS + round(after_s * 1000), tallies=tally,
            )
            for number, tally in enumerate(tallies)
        ]  # fmt: skip
        self.told.hear(reports, {}, NOW + after_s)


@pytest.fixture
def teller() -> Teller:
    teller = Teller("a", "b")
    teller.pool.probed("a", "b", now=NOW)
    teller.tell()
    return teller


def test_an_intent_is_published_and_so_is_its_end(teller: Teller):
    teller.told.heed(DRAIN)
    view = teller.view()
    assert view.backends["a"].admin is Admin.DRAIN
    assert view.backends["b"].admin is Admin.READY
    assert teller.tell() is None
    teller.told.heed({"a": Intent(since_ms=6)})
    assert teller.view().backends["a"].admin is Admin.READY


def test_the_operators_weight_replaces_the_configured_one(teller: Teller):
    teller.told.heed({"a": Intent(weight=0.0)})
    assert teller.view().backends["a"].weight == 0
    teller.told.heed({"a": Intent(weight=3.0)})
    assert teller.view().backends["a"].weight == 3
    teller.told.heed({})
    assert teller.view().backends["a"].weight == 1


def test_a_backend_that_is_out_of_service_is_published_before_any_probe():
    teller = Teller("a", "b")
    teller.told.heed(DRAIN)
    assert teller.view().backends == {
        "a": Verdict(id="a", url="http://a", state=Health.UNKNOWN, admin=Admin.DRAIN, reason="not probed yet")
    }


def test_who_asked_can_see_that_it_was_heard_also_where_nothing_changes(teller: Teller):
    teller.told.heed({"a": Intent(weight=1.0, since_ms=77)})
    assert teller.tell() is None
    beat = teller.told.heartbeat(NOW)
    assert beat is not None
    assert (beat.hashes["a"]["asked"], beat.hashes["b"]["asked"]) == ("77", "0")


def test_what_most_of_the_fleet_ejects_is_ejected_for_all_and_comes_back():
    teller = Teller("a", "b")
    teller.pool.probed("a", "b", now=NOW)
    teller.tell()
    out, fine = {"a": Tally(ejected_ms=5_000)}, {"a": Tally()}
    teller.report(0.0, out, fine, fine)
    assert teller.tell() is None, "one of three"
    teller.report(0.0, out, out, fine)
    assert teller.changes() == [
        Change(backend="a", before="healthy", after="ejected", reason="2 of 3 instances eject it")
    ]
    assert teller.told.due_s(NOW) == 5.0
    teller.report(2.0, {"a": Tally(ejected_ms=3_400)}, {"a": Tally(ejected_ms=3_100)}, fine)
    assert teller.tell(2.0) is None, "it only counts down"
    assert teller.changes(5.0) == [
        Change(backend="a", before="ejected", after="readmitted", reason="most instances eject it no more")
    ]
    late = {"a": Tally(ejected_ms=300)}
    teller.report(5.2, late, late, fine)
    assert teller.tell(5.2) is None, "a late report does not eject anew"


def test_an_ejection_that_is_prolonged_is_told_again(teller: Teller):
    out = {"a": Tally(ejected_ms=5_000)}
    teller.report(0.0, out, out, out)
    assert teller.view().backends["a"].ejected_ms == 5_000
    teller.report(4.0, *[{"a": Tally(ejected_ms=10_000)}] * 3)
    edition = teller.tell(4.0)
    assert edition is not None
    assert edition.view is not None
    assert edition.view.backends["a"].ejected_ms == 10_000
    assert edition.changes == []


def test_verdicts_that_the_workers_contradict_are_held_for_a_while_and_the_view_says_so():
    teller = Teller("a", "b", "c", veto=True)
    teller.pool.probed("a", "b", "c", now=NOW)
    before = teller.view().backends
    teller.pool.probed("a", "b", "c", result=SILENT, now=NOW + 2)
    teller.report(2.5, {name: Tally(ok_age_ms=10) for name in "abc"})
    edition = teller.tell(2.5)
    assert edition is not None
    assert edition.view is not None
    assert edition.view.backends == before
    assert "workers reach a, b, c" in edition.view.suspect
    [begin] = edition.changes
    assert (begin.backend, begin.after) == ("", "monitor-suspect")
    assert teller.told.due_s(NOW + 2.5) == HOLD_S

    teller.report(2.5 + HOLD_S, {name: Tally(ok_age_ms=10) for name in "abc"})
    edition = teller.tell(2.5 + HOLD_S)
    assert edition is not None
    assert edition.view is not None
    assert edition.view.suspect == ""
    assert {verdict.state for verdict in edition.view.backends.values()} == {Health.UNHEALTHY}
    assert [change.before for change in edition.changes] == ["healthy"] * 3 + ["monitor-suspect"]


def test_a_backend_in_maintenance_is_no_part_of_an_outage():
    teller = Teller("a", "b", "c", veto=True)
    teller.told.heed({"c": Intent(admin=Admin.MAINT)})
    teller.pool.probed("a", "b", "c", now=NOW)
    teller.tell()
    teller.pool.probed("a", "b", result=SILENT, now=NOW + 2)
    teller.report(2.5, {name: Tally(ok_age_ms=10) for name in "ab"})
    view = teller.view(2.5)
    assert view.suspect == ""
    assert view.backends["a"].state is Health.UNHEALTHY


def test_a_leader_that_was_replaced_meanwhile_doubts_nothing_of_what_it_adopts():
    teller = Teller("a", "b", "c", veto=True)
    teller.pool.probed("a", "b", "c", now=NOW)
    healthy = teller.view()
    down = {name: replace(each, state=Health.UNHEALTHY) for name, each in healthy.backends.items()}
    teller.told.adopt(LastEdition(view=replace(healthy, backends=down), readings={}), REDIS_MS, NOW + 60)
    teller.pool.probed("a", "b", "c", result=SILENT, now=NOW + 60)
    teller.report(60.0, {name: Tally(ok_age_ms=10) for name in "abc"})
    teller.told.doubt()
    view = teller.view(60.0)
    assert {verdict.state for verdict in view.backends.values()} == {Health.UNHEALTHY}
    assert view.suspect == ""


def test_a_change_of_state_comes_with_what_the_probes_brought(teller: Teller):
    teller.pool.probed("a", result=SILENT, now=NOW)
    [change] = teller.changes()
    assert change.reason == "no answer within 1.0 s"
    assert change.evidence == "1 failed in a row; the latest: no answer within 1.0 s, after 1000.0 ms"


@pytest.mark.parametrize("tells_probes", [True, False])
def test_what_the_latest_probes_took_is_told_with_each_edition_to_those_who_pick_by_it(tells_probes: bool):
    pool = Watched("a", "b", "c")
    clock = WireClock()
    clock.learn(REDIS_MS, sent=NOW, received=NOW)
    told = Told(pool.watch, clock, "c0ffee", tells_probes=tells_probes)
    pool.probed("a", "b", now=NOW)
    pool.probed("b", result=SILENT, now=NOW)
    edition = told.edition(token=1, store_id="s", now=NOW)
    assert edition is not None
    told.accepted(edition)
    heartbeat = told.heartbeat(NOW)
    assert heartbeat is not None
    expected = {"a": 1.5} if tells_probes else None
    assert edition.probe_ms == heartbeat.probe_ms == expected
