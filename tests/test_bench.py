"""The pure parts of scripts/bench: what wrk said, medians and ratios, bars, tables. Nothing is timed here."""

from pathlib import Path

import pytest

import event_load
import library
import websocket_load
from bars import BARS, judge, times
from figures import Run, cpu_per_gb, cpu_us, percentile, rate, ratio, typical
from lab import LabError
from meter import Meter, descendants
from tables import latency_table, markdown, reference_runs, requests_table, sweep_table
from wrk import Load, parse

WRK_SAID = """Running 2s test @ http://127.0.0.1:4000/
  1 threads and 64 connections
Requests/sec:  1000.00
figures: {"requests": 2000, "bytes": 340000, "us": 2000000, "p50_us": 1310, "p99_us": 8880, "errors": 3}
"""


def run_of(us: float, *, requests: int = 1_000, p50_ms: float = 1.0, errors: int = 0) -> Run:
    """A run of one second at so many CPU microseconds per request; a request is a megabyte."""
    return Run(
        cpu_s=us * requests / 1e6,
        requests=requests,
        received_bytes=requests * 1_000_000,
        seconds=1.0,
        p50_ms=p50_ms,
        p99_ms=10 * p50_ms,
        rss_bytes=50 << 20,
        errors=errors,
    )


def runs_of(*us: float) -> list[Run]:
    return [run_of(each) for each in us]


def row(table: str, subject: str) -> list[str]:
    """The cells of a subject's row."""
    line = next(line for line in table.splitlines() if line.startswith(f"| {subject} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_figures_that_wrk_told_are_read_in_our_units():
    run = parse(WRK_SAID, cpu_s=0.05, rss_bytes=1 << 20)
    assert (run.requests, run.received_bytes, run.seconds, run.errors) == (2_000, 340_000, 2.0, 3)
    assert (run.p50_ms, run.p99_ms) == (1.31, 8.88)
    assert (cpu_us(run), rate(run)) == (25.0, 1_000.0)


def test_output_without_figures_is_an_error_that_shows_it():
    with pytest.raises(LabError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:4000", cpu_s=0.0, rss_bytes=0)


def test_a_load_becomes_a_script_that_sends_its_headers_and_its_body():
    load = Load(name="x", method="POST", headers={"Accept": 'a "quoted" thing'}, body_bytes=16)
    script = load.script()
    assert 'wrk.method = "POST"' in script
    assert r'wrk.headers["Accept"] = "a \"quoted\" thing"' in script
    assert 'wrk.body = string.rep("x", 16)' in script


def test_the_typical_figure_is_the_median_so_one_disturbed_round_does_not_count():
    assert typical(runs_of(20, 500, 21), cpu_us) == pytest.approx(21)


def test_a_ratio_is_taken_within_each_round():
    ours, theirs = runs_of(30, 60, 300), runs_of(20, 40, 200)  # a machine that gets slower for both
    assert ratio(ours, theirs, cpu_us) == pytest.approx(1.5)


def test_a_ratio_of_unequal_rounds_is_refused():
    with pytest.raises(ValueError, match="zip"):
        ratio(runs_of(1, 2), runs_of(1), cpu_us)


def test_cpu_per_gigabyte_counts_bytes_and_not_requests():
    assert cpu_per_gb(run_of(500)) == pytest.approx(0.5)


@pytest.mark.parametrize(("share", "value"), [(0.0, 0), (0.5, 50), (0.99, 99), (1.0, 99)])
def test_a_percentile_is_one_of_the_values(share: float, value: int):
    assert percentile(range(100), share) == value


@pytest.mark.parametrize(("found", "text"), [(1.454, "1.45x"), (0.35, "0.35x"), (1 / 110, "110x less")])
def test_a_ratio_is_said_as_people_say_it(found: float, text: str):
    assert times(found) == text


def test_a_bar_is_met_or_missed_by_its_ratio():
    runs = {"sidebeat": runs_of(24), "nginx": runs_of(10), "seed": runs_of(24 * 200)}
    to_nginx, to_seed = judge("get", runs)
    assert to_nginx.endswith("2.40x (bar 1.70x, aim 1.45x): **missed**")
    assert to_seed.endswith("200x less (bar 110x less): met")


def test_a_bar_without_its_other_side_is_not_judged():
    assert not list(judge("get", {"sidebeat": runs_of(20), "haproxy": runs_of(10)}))


def test_wrong_answers_make_a_verdict_void():
    lines = list(judge("get", {"sidebeat": [run_of(1, errors=1)], "nginx": runs_of(10)}))
    assert [line.rpartition(": ")[2] for line in lines] == ["void, there were errors"]


def test_each_bar_names_a_load_once_for_each_opponent_and_figure():
    keys = [(bar.load, bar.subject, bar.against, bar.metric) for bar in BARS]
    assert len(keys) == len(set(keys))


def test_big_bodies_are_compared_with_nginx_in_its_better_setting():
    runs = {"sidebeat": runs_of(300), "nginx": runs_of(2_000), "nginx-buffered": runs_of(1_000)}
    assert reference_runs(runs, cpu_per_gb)["nginx"] is runs["nginx-buffered"]
    assert reference_runs(runs, cpu_us)["nginx"] is runs["nginx"]
    table = requests_table("big", runs, cpu_per_gb)
    assert row(table, "sidebeat")[2] == "0.30"
    assert "0.30x (bar 0.45x, aim 0.30x): met" in table


def test_a_table_shows_each_subject_beside_nginx_haproxy_and_the_seed():
    runs = {"sidebeat": runs_of(20), "nginx": runs_of(10), "haproxy": runs_of(16), "seed": runs_of(3_000)}
    table = requests_table("get", runs, cpu_us)
    assert row(table, "sidebeat")[:5] == ["sidebeat", "20.0", "2.00", "1.25", "150x"]
    assert row(table, "seed")[:5] == ["seed", "3,000", "300.00", "187.50", "1x"]


def test_a_table_of_one_subject_has_no_ratios():
    assert row(requests_table("get", {"caddy": runs_of(61)}, cpu_us), "caddy")[:3] == ["caddy", "61.0", "1,000"]


def test_the_sweep_has_a_column_for_each_number_of_connections():
    by_load = {
        "get, 1 connection": {"sidebeat": runs_of(50), "seed": runs_of(1_000)},
        "get, 8 connections": {"sidebeat": runs_of(20), "seed": runs_of(1_600)},
    }
    table = sweep_table(by_load)
    assert table.splitlines()[0].split("|")[2:4] == [" 1 connection ", " 8 connections "]
    assert row(table, "sidebeat") == ["sidebeat", "50.0", "20.0"]
    assert "- get, 1 connection: sidebeat, CPU per request against seed: 20x less (bar 14x less): met" in table
    assert "- get, 8 connections: sidebeat, CPU per request against seed: 80x less (bar 65x less): met" in table


def test_latency_at_a_fixed_rate_is_compared_with_nginx():
    runs = {"sidebeat": [run_of(40, p50_ms=0.24)], "nginx": [run_of(30, p50_ms=0.2)]}
    table = latency_table(runs)
    assert row(table, "sidebeat")[:5] == ["sidebeat", "0.240", "2.400", "1.20x", "1.20x"]
    assert "p50 against nginx: 1.20x (bar 1.30x, aim 1.10x): met" in table


def test_a_markdown_table_lines_up():
    lines = markdown(["who", "n"], [["a", "1"], ["longer", "1,000"]]).splitlines()
    assert lines == ["| who    |     n |", "| ------ | ----: |", "| a      |     1 |", "| longer | 1,000 |"]


def test_a_tree_of_processes_is_found_from_its_root():
    own = int(Path("/proc/self").resolve().name)
    parent = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[1])
    assert own in descendants(parent)
    assert parent not in descendants(own)


def test_the_meter_counts_what_a_process_spends():
    own = int(Path("/proc/self").resolve().name)
    meter = Meter(own)
    while meter.cpu_s < 0.005:  # the scheduler's account moves with its tick
        meter.sample()
    assert 1 << 20 < meter.peak_rss_bytes < 1 << 36


def test_an_echo_is_one_frame_that_says_what_was_sent():
    text = websocket_load.TEXT
    plain = b"\x81\x7e" + len(text).to_bytes(2, "big") + text
    assert [websocket_load.is_whole(plain[:size]) for size in (0, 3, 4, len(plain) - 1, len(plain))] == [False] * 4 + [
        True
    ]
    assert websocket_load.PLAIN.is_echo(plain)
    assert not websocket_load.PLAIN.is_echo(plain.replace(b"ada", b"eve"))


def test_a_compressed_echo_is_read_as_well():
    message = websocket_load.COMPRESSED.message
    mask, masked = message[2:6], message[6:]
    payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))
    assert message[1] & 0x7F == len(payload) < 126
    frame = bytes((0xC1, len(payload))) + payload
    assert websocket_load.is_whole(frame)
    assert websocket_load.COMPRESSED.is_echo(frame)


def test_websockets_are_judged_by_messages_for_each_second_of_cpu():
    runs = {"sidebeat": runs_of(12), "nginx": runs_of(10), "seed": runs_of(36), "seed as installed": runs_of(72)}
    table = websocket_load.table("ws", runs)
    assert row(table, "sidebeat")[:6] == ["sidebeat", "12.0", "83,333", "0.83", "3.00", "6.00"]
    assert "against nginx: 1.20x (bar 1.25x): met" in table
    assert "against seed as installed: 0.17x (bar 0.20x): met" in table
    assert "against seed: 0.33x (aim 0.20x): **missed**" in table


def test_a_silent_crowd_is_judged_by_our_memory():
    table = websocket_load.idle_table({"sidebeat": 5 << 20, "nginx": 17 << 20})
    assert row(table, "nginx") == ["nginx", "+17.0"]
    assert "1,000 idle WebSockets: 5.0 MiB (bar 8): met" in table


def test_an_event_is_judged_by_its_median():
    table = event_load.table({"sidebeat": [run_of(30, p50_ms=0.12)], "nginx": [run_of(20, p50_ms=0.1)]})
    assert row(table, "sidebeat")[:4] == ["sidebeat", "0.120", "1.200", "1.20x"]
    assert "sse: sidebeat, p50 against nginx: 1.20x (bar 1.30x): met" in table


def test_the_library_is_judged_against_the_seed_and_against_an_app_that_proxies_nothing():
    runs = {"proxy_pass": runs_of(200), "seed": runs_of(3_600), "no proxy": runs_of(100)}
    table = requests_table("library", runs, cpu_us)
    assert row(table, "proxy_pass")[:4] == ["proxy_pass", "200", "2.00", "18x"]
    assert "against seed: 18x less (bar 14x less, aim 20x less): met" in table
    assert "against no proxy: 2.00x (aim 1.60x): **missed**" in table
    assert "+3.0 MiB (bar 16): met" in library.growth_table({"download": 1 << 20, "upload": 3 << 20})
