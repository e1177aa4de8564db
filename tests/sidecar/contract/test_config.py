import pytest

from sidecar.contract.config import Config, ConfigError, HealthCheck, load, parse, parse_socket

BACKENDS = {"pools": {"api": {"backends": ["http://10.0.0.1:80"]}}}


def pool(**keys):
    return {"pools": {"api": {"backends": ["http://10.0.0.1:80"], **keys}}}


def problems(content, environ=None):
    with pytest.raises(ConfigError) as caught:
        parse(content, environ or {})
    return caught.value.problems


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (pool(health_check={"interval_s": -1}), "pools.api.health_check.interval_s"),
        (pool(health_check={"interval": 1}), "pools.api.health_check.interval"),
        (pool(health_check={"expected_statuses": "200-100"}), "pools.api.health_check.expected_statuses"),
        (pool(health_check={"interval_s": 1, "fast_interval_s": 2}), "pools.api.health_check"),
        (pool(timeouts={"connect_s": "1s"}), "pools.api.timeouts.connect_s"),
        (pool(balancing={"policy": "fastest-ever"}), "pools.api.balancing.policy"),
        (pool(retry={"retry_on": ["everything"]}), "pools.api.retry.retry_on[0]"),
        (BACKENDS | {"pool": {}}, "pool"),
        (BACKENDS | {"store": {"url": "http://x"}}, "store.url"),
        (BACKENDS | {"store": {"namespace": "Not Good"}}, "store.namespace"),
        (BACKENDS | {"listen": {"bind": "8000"}}, "listen.bind"),
        (BACKENDS | {"listen": {"workers": 0}}, "listen.workers"),
        (BACKENDS | {"listen": {"trusted_proxies": ["10.0.0.0/33"]}}, "listen.trusted_proxies[0]"),
        (BACKENDS | {"listen": {"bind": "127.0.0.1:9901"}}, "listen"),
        (BACKENDS | {"routes": [{"pool": "web"}]}, "routes[0].pool"),
        ({"pools": {"a": pool()["pools"]["api"], "b": pool()["pools"]["api"]}}, "routes"),
        ({"pools": {"api": {"backends": ["10.0.0.1:80"]}}}, "pools.api.backends[0].url"),
        ({"pools": {"api": {"backends": [{"url": "http://h", "weight": -1}]}}}, "pools.api.backends[0].weight"),
        ({"pools": {"api": {"backends": ["http://h:1", "http://h:1"]}}}, "pools.api.backends"),
        ({"pools": {"api": {"backends": ["http://127.0.0.1:1"], "scope": "fleet"}}}, "pools.api"),
        ({"pools": {"API": {"backends": ["http://h:1"]}}}, "pools.API"),
        ({}, "pools"),
    ],
)
def test_a_problem_is_one_line_that_begins_with_the_path_of_its_key(content, path):
    (problem,) = problems(content)
    assert problem.startswith((f"{path}: ", f"{path}.[key]: "))
    assert "\n" not in problem


def test_all_problems_are_listed_and_the_message_counts_them():
    with pytest.raises(ConfigError, match=r"and 1 more") as caught:
        parse(pool(health_check={"interval_s": -1, "fall": 0}), {})
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "no such file"), ("[pools", "not valid TOML"), ("\udcff", "not valid TOML")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, text, said):
    path = tmp_path / "sidebeat.toml"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=said) as caught:
        load(path, {})
    assert str(caught.value).startswith(str(path))


def test_a_variable_lies_over_the_file_at_any_depth():
    environ = {
        "SIDEBEAT_POOLS__API__HEALTH_CHECK__INTERVAL_S": "2.5",
        "SIDEBEAT_LISTEN__BIND": '["127.0.0.1:1", "[::1]:2"]',
        "SIDEBEAT_LISTEN__ADMIN": "[::1]:9901",
        "PATH": "/bin",
    }
    config = parse(pool(health_check={"fall": 5}), environ)
    check = config.pools["api"].health_check
    assert (check.interval_s, check.fall) == (2.5, 5)
    assert [str(socket) for socket in config.listen.public_sockets] == ["127.0.0.1:1", "[::1]:2"]
    assert config.listen.admin_socket.host == "::1"


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("SIDEBEAT_STORE_URL", "SIDEBEAT_STORE_URL: no such setting"),
        ("SIDEBEAT_STORE__URLL", "store.urll: no such key (from SIDEBEAT_STORE__URLL)"),
        ("SIDEBEAT_POOLS__API__BACKENDS__X", "SIDEBEAT_POOLS__API__BACKENDS__X: pools.api.backends is not a table"),
    ],
)
def test_a_misspelt_variable_is_refused_by_name(variable, said):
    (problem,) = problems(BACKENDS, {variable: "redis://x"})
    assert problem.startswith(said)


def test_a_pool_of_local_backends_is_host_scoped_and_named_after_the_host():
    local = {"store": {"host": "web-1"}, "pools": {"api": {"backends": ["http://127.0.0.1:1", "unix:/run/a.sock"]}}}
    assert parse(local, {}).key_name("api") == "api@web-1"
    assert parse(BACKENDS, {}).key_name("api") == "api"


def test_local_and_remote_backends_together_need_a_word_on_scope():
    mixed = {"backends": ["http://127.0.0.1:1", "http://10.0.0.1:1"]}
    (problem,) = problems({"pools": {"api": mixed}})
    assert "scope" in problem
    assert parse({"pools": {"api": mixed | {"scope": "host"}}}, {}).pools["api"].scope == "host"


def test_a_backend_is_called_by_its_id_else_by_where_it_listens():
    backends = ["http://h:81", {"url": "http://h:82", "id": "b"}, "unix:/run/app.sock", "https://[2001:db8::1]"]
    config = parse({"pools": {"api": {"backends": backends, "scope": "host"}}}, {})
    assert [member.id for member in config.pools["api"].members] == ["h:81", "b", "/run/app.sock", "2001:db8::1:443"]


def test_without_a_path_any_answer_below_500_passes():
    assert HealthCheck().status_ranges == [(100, 499)]
    assert HealthCheck(path="/").status_ranges == [(200, 399)]
    assert HealthCheck(expected_statuses="200, 204-206").status_ranges == [(200, 200), (204, 206)]


def test_the_fast_interval_shrinks_with_the_interval_where_nobody_set_it():
    assert HealthCheck(interval_s=0.1).fast_interval_s == 0.1


@pytest.mark.parametrize("text", ["", "x", "127.0.0.1", "127.0.0.1:", ":80", "h:70000", "h:-1", "unix:"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match=r"HOST:PORT|path"):
        parse_socket(text)


def test_drift_shows_in_the_hash_when_a_member_changes_and_only_then():
    one = parse(BACKENDS, {}).pools["api"]
    slower = parse(pool(health_check={"interval_s": 5}), {}).pools["api"]
    other = parse({"pools": {"api": {"backends": ["http://10.0.0.2:80"]}}}, {}).pools["api"]
    assert one.hash == slower.hash != other.hash


def test_the_schema_says_that_a_backend_may_be_a_plain_url():
    items = Config.model_json_schema()["$defs"]["Pool"]["properties"]["backends"]["items"]
    assert {"type": "string"} in items["anyOf"]


@pytest.mark.parametrize("upgrade", ["websocket", "all", ["web socket"], [""], ["a/b/c"], ["any,"]])
def test_a_route_is_switched_to_protocols_by_name_or_to_any(upgrade):
    with pytest.raises(ConfigError, match=r"routes\[0\]\.upgrade"):
        parse(BACKENDS | {"routes": [{"pool": "api", "upgrade": upgrade}]}, {})


def test_a_stream_may_have_no_idle_limit():
    timeouts = parse(pool(timeouts={"idle_s": 0}), {}).pools["api"].timeouts
    assert (timeouts.idle_s, timeouts.websocket_idle_timeout_s, timeouts.tcp_keepalive_s) == (0, 0, 60)
