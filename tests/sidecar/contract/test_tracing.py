"""When there are spans, and what it takes."""

import subprocess
import sys

import pytest
from opentelemetry.sdk.resources import SERVICE_NAME

from sidecar.contract.config import ConfigError, Tracing
from sidecar.contract.tracing import is_wanted, provider_for, shut_down

COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("enabled", "environ", "wanted"),
    [
        (None, {}, False),
        (None, COLLECTOR, True),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318"}, True),
        (None, {"OTEL_TRACES_EXPORTER": "console"}, True),
        (None, {"OTEL_TRACES_EXPORTER": "none", **COLLECTOR}, False),
        (None, {"OTEL_SDK_DISABLED": "true", **COLLECTOR}, False),
        (True, {}, True),
        (True, {"OTEL_SDK_DISABLED": "true"}, False),
        (False, COLLECTOR, False),
    ],
)
def test_spans_are_made_where_somebody_wants_them(enabled: bool | None, environ: dict[str, str], wanted: bool):
    assert is_wanted(Tracing(enabled=enabled), environ) is wanted


def test_nothing_is_made_where_nobody_wants_it():
    assert provider_for(Tracing(), {}) is None


def test_an_exporter_that_is_not_there_is_a_config_error():
    with pytest.raises(ConfigError, match=r"^tracing\.enabled: there is no exporter 'otlp_proto_pigeon'"):
        provider_for(Tracing(enabled=True), {"OTEL_TRACES_EXPORTER": "otlp_proto_pigeon"})


def test_the_service_has_a_name_unless_the_variables_give_it_one(monkeypatch: pytest.MonkeyPatch):
    for name, expected in ((None, "shop"), ("till", "till")):
        if name is not None:
            monkeypatch.setenv("OTEL_SERVICE_NAME", name)
        provider = provider_for(Tracing(enabled=True, service="shop"), {"OTEL_TRACES_EXPORTER": "console"})
        assert provider is not None
        assert provider.resource.attributes[SERVICE_NAME] == expected
        shut_down(provider)


WITHOUT = """
import sys


class Hides:
    def find_spec(self, name, path=None, target=None):
        if name == "opentelemetry" or name.startswith("opentelemetry."):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hides())
from sidecar.contract.config import ConfigError, Tracing
from sidecar.contract.tracing import provider_for
assert provider_for(Tracing(), {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}) is None
try:
    provider_for(Tracing(enabled=True), {})
except ConfigError as error:
    print(error)
import worker.runtime
"""


def test_without_the_sdk_all_works_and_who_insists_is_told():
    ran = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert ran.stdout == "tracing.enabled: the OpenTelemetry SDK is missing: install sidebeat[otel]\n"


def test_nothing_of_it_is_imported_where_nobody_wants_it():
    """The Redis client imports the part for metrics by itself, where it is installed."""
    code = "import sys, worker.runtime, sidecar.monitor; sys.exit('opentelemetry.sdk.trace' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
