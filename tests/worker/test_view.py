"""Which backends may be picked, given what is known and how old that is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.codec import ContractError
from sidecar.contract.model import Admin, Backend, Health, Verdict, View, parse_address
from worker.outlier import Standing
from worker.view import AHEAD_MS, Beat, Freshness, Knowledge, Selection, Tier, candidates

IDS = "abcdef"
NOW = 1000.0


def member(name: str, *, backup: bool = False, weight: float = 1.0) -> Backend:
    url = f"http://{name}.test:80"
    return Backend(id=name, url=url, address=parse_address(url), backup=backup, weight=weight)


def verdict(
    name: str,
    state: Health = Health.HEALTHY,
    *,
    admin: Admin = Admin.READY,
    weight: float = 1.0,
    since_ms: int = 0,
    ejected_ms: int = 0,
    ramp_ms: int = 0,
) -> Verdict:
    return Verdict(
        id=name,
        url=f"http://{name}.test:80",
        state=state,
        admin=admin,
        weight=weight,
        since_ms=since_ms,
        ejected_ms=ejected_ms,
        ramp_ms=ramp_ms,
    )


def view(*verdicts: Verdict, epoch: int = 5, token: int = 1, store_id: str = "store") -> View:
    return View(epoch=epoch, token=token, store_id=store_id, backends={each.id: each for each in verdicts})


def beat(seq: int = 1, *, epoch: int = 5, store_id: str = "store") -> Beat:
    return Beat(seq=seq, epoch=epoch, store_id=store_id, redis_ms=seq * 1000)


def told(*verdicts: Verdict, age_s: float = 0.0) -> Knowledge:
    knowledge = Knowledge()
    assert knowledge.offer(view(*verdicts), NOW, age_s)
    return knowledge


def select(members: list[Backend], knowledge: Knowledge, now: float = NOW) -> Selection:
    return candidates(members, {each.id: row for row, each in enumerate(members)}, knowledge, now)


def names(selection: Selection) -> str:
    return "".join(candidate.backend.id for candidate in selection.candidates)


# Tiers


def test_with_no_view_every_member_is_unknown_and_may_be_picked():
    selection = select([member("a"), member("b")], Knowledge())

    assert (selection.tier, names(selection)) == (Tier.UNKNOWN, "ab")


@pytest.mark.parametrize(
    ("states", "tier", "chosen"),
    [
        ({"a": Health.HEALTHY, "b": Health.DEGRADED, "c": Health.UNKNOWN}, Tier.HEALTHY, "a"),
        ({"a": Health.UNHEALTHY, "b": Health.DEGRADED, "c": Health.UNKNOWN}, Tier.DEGRADED, "b"),
        ({"a": Health.UNHEALTHY, "b": Health.DRAINING, "c": Health.UNKNOWN}, Tier.UNKNOWN, "c"),
        ({"a": Health.UNHEALTHY, "b": Health.DRAINING}, Tier.UNKNOWN, "c"),
        ({"a": Health.UNHEALTHY, "b": Health.DRAINING, "c": Health.UNHEALTHY}, Tier.BACKUP_HEALTHY, "d"),
    ],
)
def test_the_first_tier_that_is_not_empty_is_taken(states: dict[str, Health], tier: Tier, chosen: str):
    members = [member("a"), member("b"), member("c"), member("d", backup=True)]
    known = [verdict(name, state) for name, state in ({"d": Health.HEALTHY} | states).items()]

    selection = select(members, told(*known))

    assert (selection.tier, names(selection)) == (tier, chosen)


@pytest.mark.parametrize(
    ("states", "tier", "chosen"),
    [
        ((Health.HEALTHY, Health.DEGRADED), Tier.BACKUP_HEALTHY, "b"),
        ((Health.UNHEALTHY, Health.DEGRADED), Tier.BACKUP_DEGRADED, "c"),
        ((Health.UNKNOWN, Health.UNHEALTHY), Tier.BACKUP_UNKNOWN, "b"),
    ],
)
def test_backups_have_the_same_order_among_themselves(states: tuple[Health, Health], tier: Tier, chosen: str):
    members = [member("a"), member("b", backup=True), member("c", backup=True)]
    known = [verdict("a", Health.UNHEALTHY), verdict("b", states[0]), verdict("c", states[1])]

    selection = select(members, told(*known))

    assert (selection.tier, names(selection)) == (tier, chosen)


def test_in_panic_everybody_is_tried_and_those_that_failed_longest_ago_come_first():
    known = [
        verdict("a", Health.UNHEALTHY, since_ms=300),
        verdict("b", Health.UNHEALTHY, since_ms=100),
        verdict("c", Health.HEALTHY, since_ms=900, ejected_ms=5_000),
        verdict("d", Health.DRAINING, since_ms=200),
        verdict("e", Health.UNHEALTHY, admin=Admin.DRAIN),
    ]

    selection = select([member(name) for name in "abcde"], told(*known))

    assert (selection.tier, names(selection)) == (Tier.PANIC, "cbda")


@pytest.mark.parametrize("admin", [Admin.DRAIN, Admin.MAINT])
def test_what_the_operator_took_out_stays_out_however_bad_it_gets(admin: Admin):
    selection = select([member("a")], told(verdict("a", Health.HEALTHY, admin=admin)))

    assert (selection.tier, selection.candidates) == (Tier.NONE, ())


def test_no_weight_means_no_new_work():
    members = [member("a", weight=0), member("b"), member("c")]

    selection = select(members, told(verdict("b", weight=0), verdict("c", Health.UNHEALTHY)))

    assert names(selection) == "c"


def test_the_weight_in_force_is_the_views_and_the_configs_where_the_view_has_none():
    members = [member("a", weight=3), member("b", weight=4)]
    unknown_too = told(verdict("a", Health.UNKNOWN, weight=0.5))

    assert [each.weight for each in select(members, unknown_too).candidates] == [0.5, 4]


def test_a_member_that_the_view_does_not_know_is_unknown():
    assert names(select([member("a"), member("b")], told(verdict("a")))) == "a"
    assert names(select([member("a"), member("b")], told(verdict("a", Health.UNHEALTHY)))) == "b"


def test_a_backend_that_only_the_view_knows_is_never_selected():
    knowledge = told(verdict("a", Health.UNHEALTHY), verdict("x"))

    assert names(select([member("a")], knowledge)) == "a"


def test_candidates_carry_the_configured_backend_and_its_row():
    selection = candidates([member("a"), member("b")], {"a": 7, "b": 3}, told(verdict("a"), verdict("b")), NOW)

    assert [(each.backend.url, each.row) for each in selection.candidates] == [
        ("http://a.test:80", 7),
        ("http://b.test:80", 3),
    ]


# What real traffic says on this host

OUT = Standing(ejected_until=NOW + 5)
SKIPPED = Standing(skip_until=NOW + 1)
ON_PROBATION = Standing(ejected_until=NOW - 1)
ON_TRIAL = Standing(ejected_until=NOW - 1, canary_until=NOW + 2)


def select_here(standings: dict[int, Standing], *verdicts: Verdict, slow_start_s: float = 10.0) -> Selection:
    """Of ``abc`` and the backup ``d``, with these standings on this host."""
    members = [member("a"), member("b"), member("c"), member("d", backup=True)]
    rows = {each.id: row for row, each in enumerate(members)}
    return candidates(members, rows, told(*verdicts) if verdicts else Knowledge(), NOW, standings, slow_start_s)


@pytest.mark.parametrize("standing", [OUT, ON_PROBATION, ON_TRIAL, SKIPPED])
def test_what_fails_real_requests_is_not_picked_whatever_its_probes_say(standing: Standing):
    assert names(select_here({1: standing}, verdict("a"), verdict("b"), verdict("c"))) == "ac"


def test_backups_stand_in_for_what_fails_real_requests():
    selection = select_here({0: OUT, 1: ON_TRIAL, 2: SKIPPED})
    assert (selection.tier, names(selection)) == (Tier.BACKUP_UNKNOWN, "d")


def test_a_hard_failure_alone_puts_nobody_into_panic():
    selection = select_here({0: OUT, 1: SKIPPED, 2: SKIPPED, 3: OUT})
    assert (selection.tier, names(selection)) == (Tier.UNKNOWN, "bc")


def test_in_panic_the_ejected_are_tried_too_and_those_that_failed_longest_ago_come_first():
    later = Standing(ejected_until=NOW + 7)
    selection = select_here({0: later, 1: OUT, 3: later}, verdict("c", Health.UNHEALTHY))
    assert (selection.tier, names(selection)) == (Tier.PANIC, "badc")


def test_in_panic_one_that_nobody_was_there_at_waits_while_there_are_others():
    """One of two was dead, one out but well: half of all requests went to the dead one, until retries ran out."""
    dead = verdict("c", Health.UNHEALTHY)
    selection = select_here({0: OUT, 1: SKIPPED, 2: SKIPPED, 3: OUT}, verdict("b", Health.UNHEALTHY), dead)
    assert (selection.tier, names(selection)) == (Tier.PANIC, "ad")
    everybody = dict.fromkeys(range(4), Standing(ejected_until=NOW + 5, skip_until=NOW + 1))
    assert names(select_here(everybody, dead)) == "abdc"


def test_only_who_is_on_probation_and_passes_its_probes_awaits_a_canary():
    selection = select_here(
        {0: ON_PROBATION, 1: ON_TRIAL, 2: ON_PROBATION, 3: OUT},
        verdict("c", Health.UNHEALTHY),
    )
    assert [each.backend.id for each in selection.probation] == ["a"]


def test_who_was_readmitted_here_starts_slowly():
    selection = select_here({0: Standing(readmitted_at=NOW - 4)})
    assert [each.ramp_until > NOW for each in selection.candidates] == [True, False, False]
    assert selection.candidates[0].ramp_until == NOW + 6


@pytest.mark.parametrize(
    ("standing", "change"), [(OUT, NOW + 5), (SKIPPED, NOW + 1), (ON_TRIAL, NOW + 2), (ON_PROBATION, float("inf"))]
)
def test_a_selection_holds_until_time_changes_a_standing(standing: Standing, change: float):
    assert select_here({0: Standing(), 1: standing}).holds_until == change


# Times that travel as remaining milliseconds


def test_a_slow_start_ends_when_the_monitor_meant_it_to_however_old_the_view_is():
    selection = select([member("a")], told(verdict("a", ramp_ms=10_000), age_s=4.0))

    assert selection.candidates[0].ramp_until == NOW + 6


def test_without_slow_start_there_is_nothing_left_to_ramp():
    (known,) = select([member("a")], told(verdict("a"))).candidates
    (unknown,) = select([member("a")], Knowledge()).candidates

    assert max(known.ramp_until, unknown.ramp_until) <= NOW


def test_an_ejection_ends_by_itself():
    knowledge = told(verdict("a", ejected_ms=5_000), verdict("b", Health.DEGRADED), age_s=1.0)
    members = [member("a"), member("b")]

    during, after = select(members, knowledge, NOW + 3.9), select(members, knowledge, NOW + 4)

    assert (names(during), names(after)) == ("b", "a")
    assert during.holds_until == pytest.approx(NOW + 4)


# Age


def test_knowledge_is_cold_then_fresh_then_stale_then_expired():
    knowledge = Knowledge()
    assert (knowledge.freshness(NOW), knowledge.age_s(NOW), knowledge.view) == (Freshness.COLD, None, None)

    assert knowledge.offer(view(), NOW, age_s=60.0)
    assert (knowledge.freshness(NOW), knowledge.age_s(NOW)) == (Freshness.EXPIRED, 60.0)

    knowledge.beat(beat(1), NOW, age_s=0.5)
    assert knowledge.age_s(NOW) == 0.5
    for elapsed, freshness in ((2.5, Freshness.FRESH), (2.6, Freshness.STALE), (29.5, Freshness.STALE)):
        assert knowledge.freshness(NOW + elapsed) is freshness
    assert knowledge.freshness(NOW + 29.6) is Freshness.EXPIRED


def test_a_beat_that_does_not_advance_makes_nothing_younger():
    knowledge = told(age_s=60.0)
    for second in range(5):
        knowledge.beat(beat(1), NOW + second, age_s=0.0)

    assert knowledge.age_s(NOW + 4) == 4


def test_the_latest_beat_says_what_probes_took():
    knowledge = Knowledge()
    assert knowledge.probe_s("a") is None
    knowledge.beat(replace(beat(1), probe_ms={"a": 1.5, "b": 20.0}), NOW, age_s=0.0)
    assert knowledge.probe_s("a") == 0.0015
    knowledge.beat(replace(beat(2), probe_ms={"b": 30.0}), NOW + 1, age_s=0.0)
    assert (knowledge.probe_s("a"), knowledge.probe_s("b")) == (None, 0.03)


def test_a_jump_of_the_stores_clock_does_not_age_a_beat_that_is_new_to_us():
    knowledge = told()
    knowledge.beat(beat(1), NOW, age_s=0.0)

    knowledge.beat(beat(2), NOW + 1, age_s=3600.0)
    assert knowledge.age_s(NOW + 1) == 1

    knowledge.beat(beat(3), NOW + 2, age_s=-3600.0)
    assert knowledge.age_s(NOW + 2) == 0


def test_after_a_long_silence_a_beat_is_as_old_as_the_store_says():
    knowledge = told()
    knowledge.beat(beat(1), NOW, age_s=0.0)

    knowledge.beat(beat(9), NOW + 60, age_s=20.0)

    assert knowledge.age_s(NOW + 60) == 20


@pytest.mark.parametrize("ahead", [beat(2, epoch=6), beat(2, store_id="other")])
def test_a_beat_of_a_view_that_we_could_not_take_does_not_confirm_ours(ahead: Beat):
    knowledge = told()

    knowledge.beat(ahead, NOW + 10, age_s=0.0)

    assert knowledge.age_s(NOW + 10) == 10


def test_stale_verdicts_stand():
    knowledge = told(verdict("a"), verdict("b", Health.UNKNOWN), verdict("c", Health.UNHEALTHY))

    selection = select([member(name) for name in "abc"], knowledge, NOW + 30)

    assert (selection.tier, names(selection), selection.holds_until) == (Tier.HEALTHY, "a", NOW + 30)


def test_expired_verdicts_are_worth_nothing_but_what_failed_last_is_the_last_resort():
    known = [
        verdict("a"),
        verdict("b", Health.UNHEALTHY),
        verdict("c", Health.DEGRADED),
        verdict("d", admin=Admin.DRAIN),
        verdict("e", admin=Admin.MAINT),
        verdict("f", weight=0),
    ]
    knowledge = told(*known)

    assert names(select([member(name) for name in "abcdef"], knowledge, NOW + 31)) == "ac"
    last_resort = select([member("b"), member("d")], knowledge, NOW + 31)
    assert (last_resort.tier, names(last_resort)) == (Tier.PANIC, "b")


# Which view is believed


def test_a_newer_epoch_replaces_the_view():
    knowledge = told()

    assert knowledge.offer(view(verdict("a"), epoch=6), NOW, 0.0)
    assert knowledge.view == view(verdict("a"), epoch=6)


@pytest.mark.parametrize("epoch", [4, 5])
def test_an_epoch_that_is_not_newer_is_refused(epoch: int):
    knowledge = told()

    for _ in range(5):
        assert not knowledge.offer(view(verdict("a"), epoch=epoch), NOW, 0.0)
    assert knowledge.view == view()


def test_a_lower_epoch_is_believed_in_a_new_life_of_the_store():
    knowledge = told()

    assert knowledge.offer(view(epoch=1, store_id="reborn"), NOW, 0.0)


def test_a_lower_epoch_under_a_newer_lease_is_believed_at_the_third_poll():
    knowledge = told()
    lower = view(epoch=1, token=2)

    assert [knowledge.offer(lower, NOW + second, 0.0) for second in range(3)] == [False, False, True]
    assert knowledge.view == lower


def test_insisting_begins_anew_when_our_own_view_is_seen_between():
    knowledge = told()
    lower = view(epoch=1, token=2)

    seen = [knowledge.offer(each, NOW, 0.0) for each in (lower, lower, view(), lower, lower)]

    assert not any(seen)


def test_an_epoch_from_next_year_is_an_error_and_one_of_tomorrow_is_not():
    knowledge = told()
    redis_ms = 1_000_000

    with pytest.raises(ContractError, match="a day ahead"):
        knowledge.offer(view(epoch=redis_ms + AHEAD_MS + 1), NOW, 0.0, redis_ms=redis_ms)
    assert knowledge.view == view()

    assert knowledge.offer(view(epoch=redis_ms + AHEAD_MS), NOW, 0.0, redis_ms=redis_ms)


def test_the_view_is_worth_reading_only_when_the_beat_names_another():
    assert Knowledge().is_behind(beat())
    knowledge = told()
    assert not knowledge.is_behind(beat(7))
    assert knowledge.is_behind(beat(7, epoch=4))
    assert knowledge.is_behind(beat(7, epoch=6))
    assert knowledge.is_behind(beat(7, store_id="other"))


# Invariants

MEMBERS = st.lists(st.sampled_from(IDS), unique=True, min_size=1).flatmap(
    lambda ids: st.tuples(*(st.builds(member, st.just(each), backup=st.booleans()) for each in ids)).map(list)
)
VERDICTS = st.lists(st.sampled_from(IDS + "xyz"), unique=True).flatmap(
    lambda ids: st.tuples(
        *(
            st.builds(
                verdict,
                st.just(each),
                st.sampled_from(Health),
                admin=st.sampled_from(Admin),
                weight=st.sampled_from([0.0, 0.5, 1.0]),
                since_ms=st.integers(0, 5),
                ejected_ms=st.sampled_from([0, 1, 20_000, 60_000]),
                ramp_ms=st.sampled_from([0, 10_000]),
            )
            for each in ids
        )
    )
)
KNOWLEDGE = st.one_of(st.builds(Knowledge), VERDICTS.map(lambda verdicts: told(*verdicts)))
ELAPSED = st.floats(0, 100)


def taken_out(knowledge: Knowledge) -> set[str]:
    known = knowledge.view.backends.values() if knowledge.view else ()
    return {each.id for each in known if each.admin is not Admin.READY or each.weight == 0}


@given(members=MEMBERS, knowledge=KNOWLEDGE, elapsed=ELAPSED)
def test_only_the_operator_can_leave_nobody_to_pick(members: list[Backend], knowledge: Knowledge, elapsed: float):
    selection = select(members, knowledge, NOW + elapsed)

    left = {each.id for each in members} - taken_out(knowledge)
    assert bool(selection.candidates) == bool(left) == (selection.tier is not Tier.NONE)


@given(members=MEMBERS, knowledge=KNOWLEDGE, elapsed=ELAPSED)
def test_nobody_is_selected_that_is_not_configured_or_was_taken_out(
    members: list[Backend], knowledge: Knowledge, elapsed: float
):
    chosen = [candidate.backend for candidate in select(members, knowledge, NOW + elapsed).candidates]

    assert all(backend in members for backend in chosen)
    assert len(set(map(id, chosen))) == len(chosen)
    assert taken_out(knowledge).isdisjoint(backend.id for backend in chosen)


@given(members=MEMBERS, knowledge=KNOWLEDGE, elapsed=ELAPSED)
def test_whoever_is_passed_over_stands_in_a_later_tier(members: list[Backend], knowledge: Knowledge, elapsed: float):
    selection = select(members, knowledge, NOW + elapsed)

    order = list(Tier)
    for each in members:
        alone = select([each], knowledge, NOW + elapsed)
        if alone.candidates:
            is_chosen = each.id in names(selection)
            assert is_chosen == (alone.tier is selection.tier)
            assert order.index(alone.tier) >= order.index(selection.tier)


@given(members=MEMBERS, knowledge=KNOWLEDGE)
def test_an_expired_view_knows_no_healthy_backend(members: list[Backend], knowledge: Knowledge):
    selection = select(members, knowledge, NOW + 31)

    assert selection.tier in {Tier.UNKNOWN, Tier.BACKUP_UNKNOWN, Tier.PANIC, Tier.NONE}


@given(members=MEMBERS, knowledge=KNOWLEDGE, elapsed=ELAPSED, share=st.floats(0, 1, exclude_max=True))
def test_a_selection_holds_as_long_as_it_says(
    members: list[Backend], knowledge: Knowledge, elapsed: float, share: float
):
    now = NOW + elapsed
    selection = select(members, knowledge, now)
    assert selection.holds_until >= now
    later = now + (min(selection.holds_until, now + 1e6) - now) * share

    again = select(members, knowledge, later)

    assert (again.tier, again.candidates) == (selection.tier, selection.candidates)
