"""Who is compared, and in which scene: each policy of the config, what others do, and the default in variations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from simulated.figures import Figures, figures
from simulated.record import Record
from simulated.run import Phases, Setup, simulate


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What is tried: see ``Setup``."""

    policy: str = "p2c_ewma"
    settings: dict[str, Any] = field(default_factory=dict)
    hollow_status: int = 503


DEFAULT = "p2c_ewma"
PEAK_EWMA = "peak EWMA in each process"
LEAST_CONN = "least connections of each host"
FASTEST = "fastest"
FASTEST_SEED = "fastest, probed every 10 s"
"""As the package did that this one grew from."""
_NO_RETRY: dict[str, Any] = {"retry": {"num_retries": 0}}
_NO_EJECTION: dict[str, Any] = {"outlier_detection": {"max_ejected_ratio": 0.0}}

CONTENDERS: Mapping[str, Contender] = {
    DEFAULT: Contender(),
    f"{DEFAULT}, no retry": Contender(settings=_NO_RETRY),
    f"{DEFAULT}, no ejection": Contender(settings=_NO_EJECTION),
    f"{DEFAULT}, neither": Contender(settings=_NO_RETRY | _NO_EJECTION),
    f"{DEFAULT}, errors are 500": Contender(hollow_status=500),
    "least_request": Contender(policy="least_request"),
    "rendezvous": Contender(policy="rendezvous"),
    "round_robin": Contender(policy="round_robin"),
    "random": Contender(policy="random"),
    "first": Contender(policy="first"),
    FASTEST: Contender(policy="fastest"),
    FASTEST_SEED: Contender(policy="fastest", settings={"health_check": {"interval_s": 10.0}}),
    LEAST_CONN: Contender(policy="least_conn"),
    PEAK_EWMA: Contender(policy="peak_ewma"),
    f"{PEAK_EWMA}, neither": Contender(policy="peak_ewma", settings=_NO_RETRY | _NO_EJECTION),
}
"""By the name in tables. All of them have views, ejection and a retry but where it says otherwise, so that they differ
in whom they pick and in nothing else; a retry is all that keeps a 503 from the client, and a 500 is not repeated."""

SWEEP: Mapping[str, Contender] = {
    f"{DEFAULT}, {choices} choices, {decay_s:g} s": Contender(
        settings={"balancing": {"choices": choices, "decay_s": decay_s}}
    )
    for choices in (2, 3, 4, 5, 8)
    for decay_s in (0.3, 1.0, 3.0, 10.0)
}
"""The default policy with other constants than its own."""

FLEET, ONE_HOST = "fleet", "one-host"
SCENES: Mapping[str, Setup] = {
    FLEET: Setup(policy=DEFAULT),
    ONE_HOST: Setup(
        policy=DEFAULT,
        hosts=1,
        slowness=(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0),
        pause_every_s=0.0,
        phases=Phases(hollow_s=28.0, filled_s=28.0, end_s=28.0),
    ),
}
"""``one-host`` is what ``scripts/bench balance`` measures: one gunicorn, no pauses, nobody hollow."""


def records(contender: Contender, *, load: float, seeds: Sequence[int], scene: Setup = SCENES[FLEET]) -> list[Record]:
    """A run for each seed."""
    setup = replace(
        scene,
        policy=contender.policy,
        settings=contender.settings,
        hollow_status=contender.hollow_status,
        load=load,
    )
    return [simulate(replace(setup, seed=seed)) for seed in seeds]


def contend(name: str, *, load: float, seeds: Sequence[int], phases: Phases) -> Figures:
    """The figures of those runs, in the fleet's scene with phases of another length."""
    scene = replace(SCENES[FLEET], phases=phases)
    return figures(records(CONTENDERS[name], load=load, seeds=seeds, scene=scene), phases)
