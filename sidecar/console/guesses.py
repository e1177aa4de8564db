"""How often somebody may try a token that turns out wrong. Pure: ``now`` is handed in, monotonic.

A made token has 256 bits and cannot be guessed; one that a person chose for the config may be worse.
"""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

BURST = 5
"""Wrong ones at once, as of somebody who pastes badly."""
EACH_S = 2.0
"""After that, one in so long: 43,200 a day."""
KNOWN = 1_024
"""Addresses that are remembered; the one whose latest attempt is the oldest goes first."""


class Guesses:
    """Wrong attempts by address, as a bucket that runs dry by one each ``EACH_S``."""

    def __init__(self) -> None:
        self._full_until: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, address: str, now: float) -> float:
        """How long this address has to wait before its next attempt is looked at; 0 or less: not at all."""
        return self._full_until.get(_guesser(address), now) - now - (BURST - 1) * EACH_S

    def wrong(self, address: str, now: float) -> None:
        """It tried a wrong one."""
        guesser = _guesser(address)
        self._full_until[guesser] = max(self._full_until.get(guesser, now), now) + EACH_S
        self._full_until.move_to_end(guesser)
        if len(self._full_until) > KNOWN:
            self._full_until.popitem(last=False)


def _guesser(address: str) -> str:
    """Whom an address stands for: who has one of IPv6 has the 2^64 of its network."""
    try:
        known = ip_address(address)
    except ValueError:  # a unix socket has none
        return address
    return known.packed[:8].hex() if isinstance(known, IPv6Address) else address
