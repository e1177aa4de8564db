"""How likely each candidate is to be picked: the policy itself is asked, once for every way that chance may go.

Where there are too many ways, it is asked with its own dice as often as would have done for counting them out.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from math import prod

from worker.pick.at_random import Random
from worker.pick.policy import Policy
from worker.pick.zoned import Zoned

WAYS = 16_384
"""How many picks at most: ``p2c_ewma`` has no more ways than that to draw two of 128 backends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """How likely each row is to get the next request; what is missing to 1 finds no place anywhere.

    ``draws`` is how many picks this was estimated from; 0: it is exact.
    """

    rows: Mapping[int, float] = field(default_factory=dict)
    draws: int = 0


def odds(
    policy: Policy,
    now: float,
    *,
    key: int = 0,
    tried: tuple[int, ...] = (),
    full: Collection[int] = (),
    ways: int = WAYS,
) -> Odds:
    """The odds of the next request; the policy takes no notice.

    Args:
        policy: as it stands.
        now: monotonic.
        key: the request's, as ``Policy`` takes it.
        tried: rows that the request has been to.
        full: rows that take no attempt just now: who is picked and is one of them, is passed over.
        ways: how many picks at most.
    """
    policy = policy.twin()
    policy.figures(now)  # or each of its own twins would read anew what it goes by
    exact = None if tried or full else _by_weight(policy, now)
    if exact is None:
        exact = _counted_out(policy, lambda twin: _settled(twin, now, key, tried, full), ways)
    if exact is not None:
        return Odds(rows=exact)
    seen = Counter(_settled(policy, now, key, tried, full) for _ in range(ways))
    return Odds(rows={row: count / ways for row, count in seen.items() if row is not None}, draws=ways)


def _by_weight(policy: Policy, now: float) -> Mapping[int, float] | None:
    """For the policy that knows nothing but weights, and draws from too many numbers to be asked for each."""
    asked = policy.asked(()) if isinstance(policy, Zoned) else policy
    if not isinstance(asked, Random):
        return None
    weights = {row: known["weight"] for row, known in asked.figures(now).items()}
    return {row: weight / sum(weights.values()) for row, weight in weights.items()}


def _counted_out(policy: Policy, ask: Callable[[Policy], int | None], ways: int) -> Mapping[int, float] | None:
    """Every way to draw; None where there are more of them."""
    dice = _Dice()
    found: dict[int, float] = defaultdict(float)
    for _ in range(ways):
        row = ask(policy.twin(dice))
        if dice.widest > ways:
            return None
        if row is not None:
            found[row] += dice.likelihood
        if not dice.turn():
            return {row: min(share, 1.0) for row, share in found.items()}  # they add up to a bit more
    return None


def _settled(policy: Policy, now: float, key: int, tried: tuple[int, ...], full: Collection[int]) -> int | None:
    """Who gets a request in the end, as a pool has it that passes over those without a place; None: nobody does."""
    while True:
        candidate = policy.pick(tried, now, key)
        if candidate is None or candidate.row in tried:
            return None
        if candidate.row not in full:
            return candidate.row
        tried = (*tried, candidate.row)


class _Dice:
    """Dice that fall each way once: what they showed is the next larger number of a clock with a wheel for each draw.

    ``widest`` is the most that was ever drawn from.
    """

    def __init__(self) -> None:
        self._wheels: list[list[int]] = []  # each what it shows, and of how many
        self._at = 0
        self.widest = 0

    def __call__(self, count: int) -> int:
        """See ``Draw``."""
        if self._at == len(self._wheels):
            self._wheels.append([0, count])
            self.widest = max(self.widest, count)
        self._at += 1
        return self._wheels[self._at - 1][0]

    @property
    def likelihood(self) -> float:
        """Of what was drawn since the last turn."""
        return 1.0 / prod(count for _, count in self._wheels)

    def turn(self) -> bool:
        """Go on to the next way to fall, and say whether there is one."""
        self._at = 0
        while self._wheels and self._wheels[-1][0] + 1 == self._wheels[-1][1]:
            self._wheels.pop()
        if self._wheels:
            self._wheels[-1][0] += 1
        return bool(self._wheels)
