"""When verdicts are held: the monitor alone is blind, and not for long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.model import Health, Report, Tally, Verdict
from sidecar.veto import EVIDENCE_MS, HOLD_S, Ruling, Sight, Veto

START_MS = 1_700_000_000_000
UP, DOWN = Health.HEALTHY, Health.UNHEALTHY


def sight(name: str, state: Health = UP, *, probe: str = "passed", began_s: float = 0.0) -> Sight:
    return Sight(
        verdict=Verdict(id=name, url=f"http://{name}.test", state=state, reason=f"{name} is {state}"),
        passed=probe == "passed",
        answered=probe != "silent",
        began_ms=START_MS + round(began_s * 1000),
    )


class Scene:
    """One pool under a veto, told of by the second: since when each backend is silent, who had a success when."""

    def __init__(self, names: str = "abcd") -> None:
        self.veto = Veto(interval_s=1.0, timeout_s=1.0)
        self.names = names
        self.at(-1.0)

    def at(
        self,
        now_s: float,
        *,
        silent: str = "",
        since_s: float = 0.0,
        state: Health = DOWN,
        other: dict[str, Sight] | None = None,
        successes: dict[str, float] | None = None,
        reported_s: float | None = None,
        ejected_ms: int = 0,
    ) -> Ruling:
        sights = {
            name: sight(name, state, probe="silent", began_s=max(since_s, now_s - 0.5))
            if name in silent
            else sight(name)
            for name in self.names
        }
        heartbeat_s = now_s if reported_s is None else reported_s
        report = Report(
            host="h",
            instance="i",
            slot=0,
            pid=1,
            incarnation="life",
            heartbeat_ms=START_MS + round(heartbeat_s * 1000),
            tallies={
                name: Tally(ok_age_ms=round((heartbeat_s - began_s) * 1000), ejected_ms=ejected_ms)
                for name, began_s in (successes or {}).items()
            },
        )
        now_ms = START_MS + round(now_s * 1000)
        return self.veto.judge(sights | (other or {}), [report], now=50.0 + now_s, now_ms=now_ms)


def held(ruling: Ruling) -> str:
    return "".join(ruling.held)


def after_silence(names: str = "abcd", *, silent: str = "abcd") -> Scene:
    """Their first probe that failed began at 0, and verdicts stand so far."""
    scene = Scene(names)
    assert scene.at(0.2, silent=silent, state=UP) == Ruling()
    return scene


def test_a_blind_monitors_verdicts_are_held_as_they_were_and_it_says_why():
    ruling = after_silence().at(3.0, silent="abcd", successes=dict.fromkeys("abcd", 2.0))

    assert {name: verdict.state for name, verdict in ruling.held.items()} == dict.fromkeys("abcd", UP)
    assert ruling.held["a"].reason == "a is healthy"
    assert ruling.suspect == "4 of 4 backends stopped answering probes at once; workers reach a, b, c, d"
    assert ruling.ends_at == 50.0 + 3.0 + HOLD_S


@pytest.mark.parametrize(
    ("names", "silent", "expected"),
    [
        ("abcd", "ab", "ab"),
        ("abcd", "a", ""),
        ("abc", "ab", "ab"),
        ("abc", "a", ""),
        ("ab", "ab", ""),
        ("a", "a", ""),
    ],
)
def test_it_takes_half_of_a_pool_of_three(names: str, silent: str, expected: str):
    scene = after_silence(names, silent=silent)
    assert held(scene.at(3.0, silent=silent, successes=dict.fromkeys(names, 2.5))) == expected


@pytest.mark.parametrize(
    ("successes", "expected"),
    [
        ({}, ""),
        ({"a": 2.5}, "a"),
        ({"a": 0.1, "b": -0.4}, "a"),
        ({"c": 2.5, "d": 2.5}, ""),
    ],
    ids=["nobody reaches any", "one is reached", "only before its probes failed", "others are reached"],
)
def test_only_who_was_reached_since_its_probes_failed_is_held(successes: dict[str, float], expected: str):
    assert held(after_silence(silent="ab").at(2.8, silent="ab", successes=successes)) == expected


def test_backends_that_fell_silent_one_after_the_other_are_believed_to_be_down():
    scene = Scene()
    scene.at(0.2, silent="a", state=UP)
    scene.at(3.0, silent="a")
    scene.at(8.2, silent="ab", since_s=8.0)

    assert scene.at(9.0, silent="ab", since_s=8.0, successes={"a": 8.9, "b": 8.9}) == Ruling()


def test_an_answered_refusal_is_never_held():
    scene = after_silence()
    refusing = {name: sight(name, DOWN, probe="refused") for name in "ab"}
    successes = dict.fromkeys("abcd", 2.9)

    assert held(scene.at(3.0, silent="cd", other=refusing, successes=successes)) == "cd"
    everyone = {name: sight(name, DOWN, probe="refused") for name in "abcd"}
    assert scene.at(3.1, other=everyone, successes=successes) == Ruling()


def test_a_hold_ends_after_ten_seconds_and_does_not_begin_again_in_the_same_outage():
    scene = after_silence()
    for tenth in range(30, 130):
        now_s = tenth / 10
        assert held(scene.at(now_s, silent="abcd", successes=dict.fromkeys("abcd", now_s - 0.1))) == "abcd"
    for now_s in (13.0, 14.0, 60.0):
        assert scene.at(now_s, silent="abcd", successes=dict.fromkeys("abcd", now_s - 0.1)) == Ruling()

    scene.at(61.0)
    assert scene.at(62.2, silent="abcd", since_s=62.0, state=UP) == Ruling()
    assert held(scene.at(65.0, silent="abcd", since_s=62.0, successes={"a": 64.9})) == "a"


def test_a_hold_ends_when_its_evidence_is_old_and_is_not_taken_up_again():
    scene = after_silence()
    last = dict.fromkeys("abcd", 2.9)
    assert held(scene.at(3.0, silent="abcd", successes=last)) == "abcd"
    assert held(scene.at(2.9 + EVIDENCE_MS / 1000, silent="abcd", successes=last)) == "abcd"
    assert scene.at(2.91 + EVIDENCE_MS / 1000, silent="abcd", successes=last) == Ruling()
    assert scene.at(7.0, silent="abcd", successes=dict.fromkeys("abcd", 6.9)) == Ruling()


def test_a_verdict_that_falls_before_workers_had_the_time_to_speak_waits_for_their_word():
    used = dict.fromkeys("abcd", -0.1)

    asking = after_silence()
    ruling = asking.at(0.3, silent="abcd", successes=used, reported_s=0.0)
    assert held(ruling) == "abcd"
    assert ruling.suspect == "4 of 4 backends stopped answering probes at once; asking the workers"
    assert held(asking.at(1.0, silent="abcd", successes=dict.fromkeys("abc", 0.9))) == "abc"

    lost = after_silence()
    assert held(lost.at(0.3, silent="abcd", successes=used, reported_s=0.0)) == "abcd"
    assert lost.at(1.0, silent="abcd", successes=used) == Ruling()


@pytest.mark.parametrize(
    "scene",
    [
        {"successes": dict.fromkeys("abcd", -8.0), "reported_s": 0.0},
        {"successes": dict.fromkeys("abcd", -0.1), "reported_s": 0.0, "ejected_ms": 900},
        {"successes": dict.fromkeys("abcd", -0.1), "reported_s": 0.26},
    ],
    ids=["nobody used them lately", "the workers ejected them too", "the workers have said all they know"],
)
def test_nobody_is_asked_who_has_nothing_to_say(scene: dict[str, object]):
    assert after_silence().at(0.3, silent="abcd", **scene) == Ruling()  # type: ignore[arg-type]


def test_a_hold_lasts_until_the_verdict_itself_is_up_again():
    scene = after_silence()
    evidence = dict.fromkeys("abcd", 2.9)
    scene.at(3.0, silent="abcd", successes=evidence)

    passing = {name: sight(name, DOWN) for name in "abc"}
    assert held(scene.at(3.2, silent="d", other=passing, successes=evidence)) == "abcd"
    assert held(scene.at(3.4, silent="d", successes=evidence)) == "d"
    assert scene.at(3.6) == Ruling()


def test_a_verdict_that_fell_just_before_the_others_is_taken_back():
    scene = Scene()
    scene.at(0.2, silent="a", state=UP)
    assert scene.at(0.4, silent="a") == Ruling()

    assert held(scene.at(1.0, silent="ab", since_s=0.9, successes={"a": 0.8})) == "a"


def test_who_was_down_before_the_outage_stays_down():
    scene = Scene()
    scene.at(0.2, silent="a", state=UP)
    scene.at(3.0, silent="a")
    scene.at(100.2, silent="abcd", since_s=100.0, state=UP, other={"a": sight("a", DOWN, probe="silent")})

    ruling = scene.at(103.0, silent="abcd", since_s=100.0, successes=dict.fromkeys("abcd", 102.9))
    assert held(ruling) == "bcd"


def test_a_new_leader_holds_no_verdict_that_it_found_down():
    veto = Veto(interval_s=1.0, timeout_s=1.0)
    sights = {name: sight(name, DOWN, probe="silent") for name in "abcd"}
    for _ in range(2):
        assert veto.judge(sights, [], now=0.0, now_ms=START_MS) == Ruling()


probes = st.sampled_from(["passed", "refused", "silent"])
turns = st.lists(
    st.tuples(
        st.floats(0.01, 2.0),
        st.fixed_dictionaries({name: st.tuples(probes, st.sampled_from([UP, DOWN])) for name in "abcd"}),
        st.dictionaries(st.sampled_from("abcd"), st.floats(0.0, 4.0)),
    ),
    max_size=40,
)


@given(turns)
def test_whatever_happens_nothing_answered_is_held_and_no_backend_for_longer_than_ten_seconds(history):
    scene, now_s = Scene(), 0.0
    holding: dict[str, float] = {}
    for passed_s, backends, ages_s in history:
        now_s += passed_s
        sights = {name: sight(name, state, probe=probe, began_s=now_s) for name, (probe, state) in backends.items()}
        ruling = scene.at(now_s, other=sights, successes={name: now_s - age_s for name, age_s in ages_s.items()})

        assert bool(ruling.held) == bool(ruling.suspect) == (ruling.ends_at is not None)
        for name, verdict in ruling.held.items():
            assert backends[name][0] != "refused"
            assert (backends[name][1], verdict.state) == (DOWN, UP)
        holding = {name: holding.get(name, now_s) for name in ruling.held}
        assert all(now_s - since_s < HOLD_S for since_s in holding.values())
