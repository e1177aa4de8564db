"""One run: a fleet, its backends, its clients and its bad luck, all of it made from a seed."""

from dataclasses import dataclass, field
from math import exp
from random import Random
from typing import Any

from sidecar.contract.config import Pool as PoolConfig
from sidecar.contract.config import parse
from simulated.agenda import Agenda
from simulated.machine import MEAN_S, PAUSE_EVERY_S, SIGMA, Ill, Illness, Machine
from simulated.record import Record
from simulated.rivals import least_conn, peak_ewma
from simulated.watch import Watch
from simulated.worker import POOL, MakeRival, Worker
from worker.board import Board

SLOWNESS = (1.0, 1.0, 1.0, 1.0, 1.25, 1.25, 1.8, 1.8)
SLOW, HOLLOW = 0, 2
"""Who falls ill."""
PATIENCE_S = 5.0
"""A request that takes longer has lost its client."""
CLIENTS = 1_000
"""How many there are, each as busy as any other."""
RIVALS: dict[str, MakeRival] = {"least_conn": least_conn, "peak_ewma": peak_ewma}
_EPOCH = 1_000.0
"""When everything is set up: 0.0 means never on a board."""
_SETTLE_S = 2.0
"""From there to the first request: all backends have been probed and all workers been told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """When what happens, in seconds after the traffic began: one backend slow, later another one hollow."""

    measured_s: float = 4.0
    slow_s: float = 12.0
    well_s: float = 20.0
    hollow_s: float = 22.0
    filled_s: float = 30.0
    end_s: float = 34.0

    def illnesses(self, status: int) -> tuple[Illness, ...]:
        """Of two fast ones, which are missed most; ``status`` is the hollow one's answer to everything."""
        return (
            Illness(backend=SLOW, ill=Ill.SLOW, begins_s=self.slow_s, ends_s=self.well_s),
            Illness(backend=HOLLOW, ill=Ill.HOLLOW, begins_s=self.hollow_s, ends_s=self.filled_s, status=status),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What to simulate.

    ``policy`` is one of ``balancing.policy`` or of ``RIVALS``, ``load`` the share of what the backends can do without
    pauses, ``slowness`` how many times as long as on the fastest a request takes on each of them. ``settings`` are the
    pool's where they are not the defaults. ``illnesses`` None: those of the phases; ``pause_every_s`` 0: no pauses.
    """

    policy: str
    load: float = 0.7
    seed: int = 1
    hosts: int = 4
    workers: int = 4
    settings: dict[str, Any] = field(default_factory=dict)
    slowness: tuple[float, ...] = SLOWNESS
    pause_every_s: float = PAUSE_EVERY_S
    phases: Phases = Phases()
    illnesses: tuple[Illness, ...] | None = None
    hollow_status: int = 503

    @property
    def all_illnesses(self) -> tuple[Illness, ...]:
        """Those of the phases, unless others were named."""
        return self.phases.illnesses(self.hollow_status) if self.illnesses is None else self.illnesses


class Simulation:
    """A fleet, ready to run. The same setup gives the same record; one seed, the same luck to every policy."""

    def __init__(self, setup: Setup) -> None:
        self.agenda = Agenda(_EPOCH)
        config = _config(setup)
        self.machines = [
            Machine(
                self.agenda, _chance(setup, f"machine {number}"), number, slowness, pause_every_s=setup.pause_every_s
            )
            for number, slowness in enumerate(setup.slowness)
        ]
        self.record = Record(_EPOCH + _SETTLE_S, [machine.capacity for machine in self.machines])
        self.boards = [Board.create(len(self.machines), setup.workers, used=0) for _ in range(setup.hosts)]
        self.workers = _workers(setup, self, config)
        self.watch = Watch(self.agenda, _chance(setup, "watch"), config, self.machines, self.workers)
        for worker in self.workers:
            worker.suspected = self.watch.suspect
        self._ends = self.record.begins + setup.phases.end_s
        for illness in setup.all_illnesses:
            self.agenda.at(self.record.begins + illness.begins_s, self.machines[illness.backend].fall_ill, illness)
            self.agenda.at(self.record.begins + illness.ends_s, self.machines[illness.backend].recover)
        rate = setup.load * sum(self.record.capacities)
        clients = Clients(self.agenda, _chance(setup, "clients"), self.workers, rate, self._ends)
        clients.begin(self.record.begins)

    def run(self) -> Record:
        """Until the last client has gone."""
        self.agenda.run(self._ends + PATIENCE_S)
        return self.record


def simulate(setup: Setup) -> Record:
    """Run it."""
    return Simulation(setup).run()


class Clients:
    """Requests by the law of small numbers (Poisson), each at a worker that chance chose, as accept does."""

    def __init__(self, agenda: Agenda, chance: Random, workers: list[Worker], rate: float, ends: float) -> None:
        """``rate`` in requests per second over all workers, until ``ends``."""
        self._agenda = agenda
        self._chance = chance
        self._workers = workers
        self._rate = rate
        self._ends = ends

    def begin(self, at: float) -> None:
        """The first one comes a little later."""
        self._agenda.at(at + self._chance.expovariate(self._rate), self._come)

    def _come(self) -> None:
        now, chance = self._agenda.now, self._chance
        if now >= self._ends:
            return
        worker = self._workers[int(chance.random() * len(self._workers))]
        work_s = MEAN_S * exp(SIGMA * chance.gauss(0.0, 1.0) - SIGMA * SIGMA / 2)
        client = 1 + int(chance.random() * CLIENTS)
        self.begin(now)
        worker.serve(work_s, client)


def _config(setup: Setup) -> PoolConfig:
    backends = [f"http://10.0.0.{number}:80" for number in range(1, len(setup.slowness) + 1)]
    pool: dict[str, Any] = {"backends": backends, **setup.settings}
    if setup.policy not in RIVALS:
        pool["balancing"] = {**pool.get("balancing", {}), "policy": setup.policy}
    return parse({"store": {"url": "unix:///nowhere"}, "pools": {POOL: pool}}, {}).pools[POOL]


def _workers(setup: Setup, simulation: Simulation, config: PoolConfig) -> list[Worker]:
    return [
        Worker(
            simulation.agenda,
            config,
            board,
            simulation.machines,
            simulation.record,
            _chance(setup, f"worker {host} {slot}"),
            patience_s=PATIENCE_S,
            rival=RIVALS.get(setup.policy),
        )
        for host, board in enumerate(simulation.boards)
        for slot in range(setup.workers)
    ]


def _chance(setup: Setup, whose: str) -> Random:
    """A source of chance of one's own, so that nobody's draws depend on how often others draw."""
    return Random(f"{setup.seed} {whose}")
