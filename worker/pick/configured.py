"""The policy that a pool's settings ask for."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from sidecar.contract.config.pools import Balancing
from sidecar.contract.config.pools import Policy as Name
from sidecar.contract.model import Backend
from worker.pick.at_random import Random
from worker.pick.fastest import Fastest
from worker.pick.first import First
from worker.pick.least_request import LeastRequest
from worker.pick.policy import Draw, Load, Policy
from worker.pick.power_of_choices import PowerOfChoices
from worker.pick.rendezvous import Rendezvous
from worker.pick.round_robin import RoundRobin
from worker.pick.zoned import Zoned

_MAKERS: Mapping[Name, Callable[[Balancing, Load, Draw], Policy]] = {
    "p2c_ewma": lambda settings, load, draw: PowerOfChoices(
        draw,
        in_flight=load.in_flight,
        latency=load.latency,
        choices=settings.choices,
        slow_start_s=settings.slow_start_s,
    ),
    "least_request": lambda settings, load, draw: LeastRequest(
        draw, in_flight=load.in_flight, choices=settings.choices, slow_start_s=settings.slow_start_s
    ),
    "round_robin": lambda settings, _, draw: RoundRobin(draw, slow_start_s=settings.slow_start_s),
    "random": lambda settings, _, draw: Random(draw, slow_start_s=settings.slow_start_s),
    "rendezvous": lambda settings, load, draw: Rendezvous(
        draw, in_flight=load.in_flight, max_load_ratio=settings.max_load_ratio, slow_start_s=settings.slow_start_s
    ),
    "first": lambda *_: First(),
    "fastest": lambda _, load, draw: Fastest(draw, probe_s=load.probe_s),
}


def policy_of(settings: Balancing, load: Load, draw: Draw, *, zone: str | None, members: Sequence[Backend]) -> Policy:
    """Make it.

    Args:
        settings: the pool's ``balancing``.
        load: of the pool's rows.
        draw: chance.
        zone: this machine's (``store.zone``); None: it is in none.
        members: the pool as configured.
    """
    make = partial(_MAKERS[settings.policy], settings, load, draw)
    if zone is None or len({member.zone == zone for member in members}) < 2:
        return make()
    return Zoned(make(), make(), zone=zone, members=members, min_ratio=settings.min_zone_ratio)
