"""From the words of the file to a policy."""

from typing import get_args

import pytest

from picking import Gauges, always, backend, candidates, row_of
from sidecar.contract.config.pools import Balancing
from sidecar.contract.config.pools import Policy as PolicyName
from worker.pick import (
    Fastest,
    First,
    LeastRequest,
    Policy,
    PowerOfChoices,
    Random,
    Rendezvous,
    RoundRobin,
    Zoned,
    policy_of,
)
from worker.view import Candidate

KINDS: dict[str, type[Policy]] = {
    "p2c_ewma": PowerOfChoices,
    "least_request": LeastRequest,
    "round_robin": RoundRobin,
    "random": Random,
    "rendezvous": Rendezvous,
    "first": First,
    "fastest": Fastest,
}
MEMBERS = [backend("near", zone="a"), backend("far", zone="b")]


def configured(gauges: Gauges | None = None, *, zone: str | None = None, members=MEMBERS, **settings):
    gauges = gauges or Gauges()
    return policy_of(Balancing(**settings), gauges.load, always(0), zone=zone, members=members)


@pytest.mark.parametrize("name", get_args(PolicyName))
def test_each_name_is_a_policy(name):
    policy = configured(policy=name)
    assert type(policy) is KINDS[name]
    policy.use(candidates(1, 1), 0.0)
    assert policy.pick((), 0.0) is not None


@pytest.mark.parametrize(
    ("zone", "members", "is_zoned"),
    [
        (None, MEMBERS, False),
        ("a", MEMBERS, True),
        ("x", MEMBERS, False),
        ("a", MEMBERS[:1], False),
        ("a", [MEMBERS[0], backend("none")], True),
    ],
)
def test_zones_are_minded_only_where_they_tell_backends_apart(zone, members, is_zoned):
    assert isinstance(configured(zone=zone, members=members), Zoned) == is_zoned


def test_the_share_that_a_zone_must_have_is_that_of_the_settings():
    members = [*MEMBERS, backend("near too", 3, zone="a")]
    for ratio, row in ((0.25, 0), (0.3, 1)):
        policy = configured(zone="a", members=members, policy="first", min_zone_ratio=ratio)
        policy.use([Candidate(backend=members[place], row=place, weight=1.0) for place in (1, 0)], 0.0)
        assert row_of(policy) == row


@pytest.mark.parametrize("name", ["p2c_ewma", "least_request"])
def test_choices_are_those_of_the_settings(name):
    """Of eight, the idle one is found where all are looked at, and here not among three."""
    gauges = Gauges(in_flight=(1, 1, 1, 1, 1, 1, 0, 1))
    for choices, finds in ((8, True), (0, False)):
        policy = configured(gauges, policy=name, choices=choices)
        policy.use(candidates(*[1] * 8), 0.0)
        assert (row_of(policy) == 6) == finds


def test_how_busy_one_may_be_that_gets_its_own_is_in_the_settings():
    gauges = Gauges(in_flight=(9, 0))
    for ratio, is_moved in ((1.25, True), (100, False)):
        policy = configured(gauges, policy="rendezvous", max_load_ratio=ratio)
        policy.use(candidates(1, 1), 0.0)
        assert ({row_of(policy, key=key) for key in range(1, 50)} == {1}) == is_moved


@pytest.mark.parametrize("name", ["p2c_ewma", "least_request", "round_robin", "random", "rendezvous"])
def test_slow_start_is_that_of_the_settings(name):
    for slow_start_s, weights in ((0.0, [1.0]), (20.0, [0.5])):
        policy = configured(policy=name, slow_start_s=slow_start_s)
        member = candidates(1)[0]
        policy.use([Candidate(backend=member.backend, row=0, weight=1.0, ramp_until=10.0)], 0.0)
        assert policy.weights == weights
