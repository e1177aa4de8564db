"""The first there is."""

from picking import candidates, order_of, row_of
from worker.pick import First


def test_the_first_takes_all_while_it_is_there_whatever_it_weighs():
    policy = First()
    policy.use(candidates(0.1, 256, 1), 0.0)
    assert {row_of(policy, now=float(now)) for now in range(20)} == {0}
    policy.use(candidates(0.1, 256, 1)[1:], 0.0)
    assert row_of(policy) == 1


def test_retries_follow_the_order_given():
    """That of the file; in panic, those that failed longest ago come first."""
    policy = First()
    policy.use(candidates(1, 1, 1), 0.0)
    assert order_of(policy, 3) == [0, 1, 2]
    policy.use(candidates(1, 1, 1)[::-1], 0.0)
    assert order_of(policy, 3) == [2, 1, 0]
    assert row_of(policy, [0, 1, 2]) == 2
