"""Which of the eligible backends takes a request.

Pure. A policy is asked for one candidate, and asked again without those tried when the attempt fails. Load comes in
as functions of a row, chance as ``draw``; simulations and workers run the same code.
"""

from worker.pick.at_random import Random
from worker.pick.configured import policy_of
from worker.pick.fastest import Fastest
from worker.pick.first import First
from worker.pick.least_request import LeastRequest
from worker.pick.odds import WAYS, Odds, odds
from worker.pick.policy import REFRESH_S, Draw, Load, Policy
from worker.pick.power_of_choices import PRIOR_LATENCY_S, PowerOfChoices
from worker.pick.rendezvous import Rendezvous
from worker.pick.round_robin import RoundRobin
from worker.pick.weighted import RAMP_FLOOR
from worker.pick.zoned import Zoned

__all__ = [
    "PRIOR_LATENCY_S",
    "RAMP_FLOOR",
    "REFRESH_S",
    "WAYS",
    "Draw",
    "Fastest",
    "First",
    "LeastRequest",
    "Load",
    "Odds",
    "Policy",
    "PowerOfChoices",
    "Random",
    "Rendezvous",
    "RoundRobin",
    "Zoned",
    "odds",
    "policy_of",
]
