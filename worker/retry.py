"""Whether a failed attempt may be made again elsewhere (RFC 9110 §9.2.2, design of retries in README).

Pure. Only before the first response byte was passed on. A connect failure frees any method, since nothing was sent;
everything else needs a request that may be repeated and a body that is still at hand. And only as often as the budget
allows: where everything fails, retries are load that helps nobody.
"""

from collections.abc import Collection

from sidecar.contract.recent import WINDOW_S, Recent
from worker.failure import RETRY_CONDITION, Failure, Stage

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
GATEWAY_ERRORS = frozenset({502, 503, 504})
"""The statuses that ``retry_on = ["gateway_error"]`` means."""


class RetryRules:
    """One pool's rules; ``allows`` is asked after each failed attempt."""

    __slots__ = ("_conditions", "_connect_retries", "_num_retries", "gateway_errors")

    def __init__(self, *, retry_on: Collection[str], num_retries: int, connect_retries: int) -> None:
        self._conditions = frozenset(retry_on)
        self._num_retries = num_retries
        self._connect_retries = connect_retries
        self.gateway_errors = GATEWAY_ERRORS if num_retries and "gateway_error" in self._conditions else frozenset()

    def allows(self, failure: Failure, *, repeatable: bool, connect_failures: int, other_failures: int) -> bool:
        """Whether to try another backend.

        Args:
            failure: how the attempt just made ended.
            repeatable: the method is idempotent (or the client sent Idempotency-Key) and the whole of the body read
                so far can be sent again.
            connect_failures: attempts that failed to connect so far, this one included.
            other_failures: attempts that failed later than that, this one included.
        """
        if RETRY_CONDITION.get(failure) not in self._conditions:
            return False
        if failure.stage is Stage.CONNECT:
            return connect_failures <= self._connect_retries
        return repeatable and other_failures <= self._num_retries


class Budget:
    """How many more attempts than requests a pool may make within ten seconds, all workers of the host together.

    Counts are those that all of them see, and only grow. A worker that has just come knows of nothing before.
    """

    __slots__ = ("_floor", "_ratio", "_recent")

    def __init__(self, ratio: float, per_s: float, now: float, requests: int, extra: int) -> None:
        """Begin.

        Args:
            ratio: of the requests, how many may have another attempt.
            per_s: how many may beyond that, however few requests there are.
            now: monotonic.
            requests: all ever made, without what is paid for from budgets.
            extra: attempts ever paid for from this one.
        """
        self._ratio = ratio
        self._floor = per_s * WINDOW_S
        self._recent = Recent(now, (requests, extra))

    def note(self, now: float, requests: int, extra: int) -> None:
        """Take a sample; about once a second."""
        if self._recent.is_due(now):
            self._recent.note(now, (requests, extra))

    def allows(self, now: float, requests: int, extra: int) -> bool:
        """Whether there is enough left for one more."""
        made, spent = self._recent.growth(now, (requests, extra))
        return spent + 1 <= self._ratio * made + self._floor
