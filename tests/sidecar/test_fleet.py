"""Who is ejected for the whole fleet: what most hosts have ejected, and never too many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.model import Report, Tally
from sidecar.fleet import LEAST_INSTANCES, ejections

MEMBERS = ("a", "b", "c", "d")


def report(
    instance: str, *, slot: int = 0, host: str = "h", beat_ms: int = 1000, draining: bool = False, **ejected_ms: int
) -> Report:
    return Report(
        host=host,
        instance=instance,
        slot=slot,
        pid=1,
        incarnation="life",
        heartbeat_ms=beat_ms,
        draining=draining,
        tallies={name: Tally(ejected_ms=ms) for name, ms in ejected_ms.items()},
    )


@pytest.mark.parametrize(
    ("reports", "ejected"),
    [
        ([], {}),
        ([report("i", a=900), report("j", a=900)], {}),
        ([report("i", a=900), report("j", a=500), report("k")], {"a": 500}),
        ([report("i", a=900), report("j", a=500), report("k", a=700)], {"a": 700}),
        ([report("i", a=900), report("j", a=500), report("k"), report("l")], {}),
        ([report("i", a=900), report("j", a=500), report("k", a=1), report("l")], {"a": 1}),
        ([report("i", a=900), report("j"), report("k")], {}),
        ([report("i", x=900), report("j", x=900), report("k", x=900)], {}),
        ([report("i", host="one", a=9), report("i", host="two", a=8), report("i", host="three", a=7)], {"a": 8}),
    ],
    ids=[
        "nobody reports",
        "two are too few",
        "two of three, as long as both stand by it",
        "all of three, as long as two stand by it",
        "half is no majority",
        "three of four",
        "one host's trouble",
        "not a member",
        "instances of one name on three hosts",
    ],
)
def test_the_table_of_ejections(reports: list[Report], ejected: dict[str, int]):
    assert ejections(reports, MEMBERS) == ejected


def test_the_workers_of_one_instance_have_one_voice():
    many = [report("i", slot=slot, a=900) for slot in range(8)]
    assert ejections([*many, report("j"), report("k")], MEMBERS) == {}


def test_an_instance_says_what_its_latest_report_says():
    earlier, later = report("i", slot=7, a=900), report("i", slot=1, beat_ms=1500)
    others = [report("j", a=900), report("k")]
    assert ejections([earlier, *others], MEMBERS) == {"a": 900}
    assert ejections([earlier, later, *others], MEMBERS) == {}


def test_whoever_drains_has_no_say_and_does_not_count():
    three = [report("i", a=900), report("j", a=900), report("k", draining=True, a=900)]
    assert ejections(three, MEMBERS) == {}
    four = [report("i", a=900), report("j", a=900), report("k"), report("l", draining=True)]
    assert ejections(four, MEMBERS) == {"a": 900}


def test_the_most_accused_half_is_ejected():
    reports = [report("i", a=9, b=9, c=9), report("j", a=9, b=9, c=9), report("k", c=5)]
    assert ejections(reports, MEMBERS) == {"a": 9, "c": 9}


def test_the_only_member_is_never_ejected():
    assert ejections([report(name, a=900) for name in "ijk"], ["a"]) == {}


tallies = st.dictionaries(st.sampled_from([*MEMBERS, "x"]), st.integers(0, 60_000))
voices = st.builds(
    lambda instance, slot, beat_ms, draining, ejected: report(
        instance, slot=slot, beat_ms=beat_ms, draining=draining, **ejected
    ),
    st.sampled_from("ijklm"),
    st.integers(0, 3),
    st.integers(0, 5000),
    st.booleans(),
    tallies,
)


@given(st.lists(voices, max_size=12, unique_by=lambda each: (each.instance, each.slot)), st.permutations(MEMBERS))
def test_an_ejection_is_a_majoritys_and_spares_half_of_the_pool_in_whatever_order_they_come(reports, members):
    ejected = ejections(reports, members)

    assert ejected == ejections(reports[::-1], MEMBERS)
    assert len(ejected) <= len(members) // 2
    speaking = {each.instance for each in reports if not each.draining}
    assert not ejected or len(speaking) >= LEAST_INSTANCES
    for name, ms in ejected.items():
        standing_by = {
            each.instance
            for each in reports
            if not each.draining and each.tallies.get(name, Tally()).ejected_ms >= ms > 0
        }
        assert 2 * len(standing_by) > len(speaking)
