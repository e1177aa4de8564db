"""What `scripts/bench pick` does to a pool, and how it says what it found. Nothing is timed here."""

from typing import get_args

import pytest

from bars import PICK_US
from lab import LabError
from picking_cost import BACKENDS, KEYS, POLICIES, WORKERS, YARDSTICK, runtime_of, serve, table
from sidecar.contract.config.pools import Policy
from sidecar.contract.model import Admin, Verdict, View


def test_every_policy_is_measured():
    assert set(POLICIES) == set(get_args(Policy))


@pytest.mark.parametrize("policy", POLICIES)
async def test_requests_come_and_go_and_are_counted_on_the_board_that_all_share(policy):
    runtime = runtime_of(policy)
    pool, board = runtime.pools["bench"], runtime.board
    rows = list(pool.seats.rows.values())
    before = [board.in_flight(row) for row in rows]
    serve(pool, runtime.clock(), KEYS if policy == "rendezvous" else [None], 200)
    assert [board.in_flight(row) for row in rows] == before == [WORKERS, 0] * (BACKENDS // 2)
    assert sum(board.tally(row).responses for row in rows) == 200
    await runtime.aclose()


async def test_a_pool_of_nobody_is_not_measured():
    runtime = runtime_of("first")
    pool, now = runtime.pools["bench"], runtime.clock()
    drained = {name: Verdict(id=name, url="", admin=Admin.DRAIN) for name in pool.seats.rows}
    pool.knowledge.offer(View(epoch=1, backends=drained), now, 0.0)
    pool.reselect(now)
    with pytest.raises(LabError, match="nobody"):
        serve(pool, now, [None], 1)
    await runtime.aclose()


@pytest.mark.parametrize(("us", "said"), [(PICK_US, "met"), (PICK_US + 1, "**missed**")])
def test_the_table_shows_each_policy_beside_the_yardstick(us, said):
    text = table({"p2c_ewma": [us, 99, us], "first": [1, 1, 1], YARDSTICK: [2, 2, 2]})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
    assert rows[2:] == [
        ["p2c_ewma", f"{us:.2f}", f"{us / 2:.2f}"],
        ["first", "1.00", "0.50"],
        [YARDSTICK, "2.00", "1.00"],
    ]
    assert text.endswith(f"(bar 3.5, aim 2.2): {said}")
