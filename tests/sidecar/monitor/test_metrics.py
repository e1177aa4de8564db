from dataclasses import replace
from typing import cast

import pytest

from exposed import PARSERS, Samples, labels, samples
from posts import StandInPost, report
from sidecar.collect import Traffic
from sidecar.contract.latency import BUCKETS
from sidecar.contract.model import Health, Tally, Verdict
from sidecar.monitor.metrics import Exposition
from sidecar.monitor.post import Post
from sidecar.publish import Outcome
from watched import PASS


@pytest.fixture
def post() -> StandInPost:
    return StandInPost("a", "b")


def scraped(post: StandInPost, accept: str = "") -> Samples:
    text, _ = Exposition(lambda: [cast("Post", post)]).render(accept)
    return samples(text, accept)


def sample(post: StandInPost, name: str, **named: str) -> float | None:
    return scraped(post).get((f"sidebeat_{name}", labels(pool="api", **named)))


@pytest.mark.parametrize("accept", PARSERS)
def test_both_formats_say_the_same(post: StandInPost, accept: str):
    post.watch.counted["a"].add(PASS)
    post.hear(report(0, a=Tally(requests=1, first_bytes=(1, *[0] * len(BUCKETS)))), a=Traffic(rps=2.5, error_ratio=0.0))
    post.account.wrote(Outcome.DONE, [])
    assert scraped(post, accept) == scraped(post)
    assert sample(post, "fleet_requests_total", backend="a") == 1


def test_probes_are_told_by_phase_and_by_how_they_ended(post: StandInPost):
    post.watch.counted["a"].add(replace(PASS, connect_ms=0.5))
    assert sample(post, "probe_seconds_bucket", backend="a", phase="connect", le="0.001") == 1
    assert sample(post, "probe_seconds_count", backend="a", phase="total") == 1
    assert sample(post, "probe_results_total", backend="a", result="passed") == 1
    assert sample(post, "probe_results_total", backend="a", result="refused") == 0
    assert sample(post, "probe_results_total", backend="b", result="passed") is None


def test_a_certificate_is_told_by_how_long_it_lasts(post: StandInPost):
    post.watched.probed("a", result=replace(PASS, expires_days=2))
    assert sample(post, "certificate_remaining_seconds", backend="a") == 2 * 86_400
    assert sample(post, "certificate_remaining_seconds", backend="b") is None


def test_the_fleet_is_summed_up_by_backend(post: StandInPost):
    verdict = Verdict(id="a", url="http://a", state=Health.HEALTHY, ejected_ms=5)
    post.publish({"a": verdict}, suspect="half of the pool fails")
    workers = [replace(report(slot, a=Tally(requests=3)), applied_epoch=7 + slot, view_age_ms=500) for slot in (0, 1)]
    post.hear(*workers, a=Traffic(inflight=4, rps=2.5, error_ratio=0.5))
    assert sample(post, "fleet_requests_total", backend="a") == 6
    assert sample(post, "fleet_inflight", backend="a") == 4
    assert sample(post, "fleet_requests_per_second", backend="a") == 2.5
    assert sample(post, "fleet_error_ratio", backend="a") == 0.5
    assert sample(post, "fleet_backend_state", backend="a", state="healthy") == 1
    assert sample(post, "fleet_ejected", backend="a") == 1
    assert sample(post, "fleet_ejected", backend="b") == 0
    assert sample(post, "workers_fresh") == 2
    assert sample(post, "fleet_workers_behind") == 1
    assert sample(post, "fleet_view_epoch") == 7
    assert sample(post, "fleet_view_age_seconds") == 0.5
    assert sample(post, "monitor_suspect") == 1
    assert sample(post, "leader") == 1


def test_who_leads_no_more_tells_what_it_counted_and_nothing_of_now(post: StandInPost):
    post.hear(report(0, a=Tally(requests=3)), a=Traffic(inflight=4))
    post.leader.is_leading = False
    assert sample(post, "leader") == 0
    assert sample(post, "fleet_requests_total", backend="a") == 3
    assert sample(post, "fleet_inflight", backend="a") is None
    assert sample(post, "workers_fresh") is None


def test_no_workers_is_a_number_too(post: StandInPost):
    post.hear()
    assert sample(post, "workers_fresh") == 0
    assert sample(post, "fleet_view_epoch") is None
