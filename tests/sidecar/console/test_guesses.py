from sidecar.console.guesses import BURST, EACH_S, KNOWN, Guesses


def tried(guesses: Guesses, address: str, now: float, times: int) -> None:
    for _ in range(times):
        guesses.wrong(address, now)


def test_a_few_wrong_tokens_are_free_and_then_one_has_to_wait():
    guesses = Guesses()
    tried(guesses, "a", 100.0, BURST - 1)
    assert guesses.wait_s("a", 100.0) <= 0
    guesses.wrong("a", 100.0)
    assert guesses.wait_s("a", 100.0) == EACH_S
    assert guesses.wait_s("a", 100.0 + EACH_S) <= 0
    assert guesses.wait_s("b", 100.0) <= 0


def test_what_was_wrong_long_ago_is_forgotten():
    guesses = Guesses()
    tried(guesses, "a", 100.0, BURST)
    tried(guesses, "a", 1000.0, BURST - 1)
    assert guesses.wait_s("a", 1000.0) <= 0


def test_memory_is_bounded():
    guesses = Guesses()
    tried(guesses, "first", 100.0, BURST)
    for number in range(KNOWN):
        guesses.wrong(str(number), 100.0)
    assert guesses.wait_s("first", 100.0) <= 0
    assert guesses.wait_s(str(KNOWN - 1), 100.0) <= 0


def test_a_network_of_ipv6_is_one_guesser():
    guesses = Guesses()
    for number in range(BURST):
        guesses.wrong(f"2001:db8:0:1::{number:x}", 100.0)
    assert guesses.wait_s("2001:db8:0:1:a:b:c:d", 100.0) == EACH_S
    assert guesses.wait_s("2001:db8:0:2::", 100.0) <= 0
