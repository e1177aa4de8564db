"""Every call that a version of the real package takes is taken by ours, and every public name of it is there."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from seeds import OURS, VERSIONS, imported

CLASSES = {"HealthChecker": ([["http://a", "http://b"]], [[{"host": "http://a"}]]), "LoadBalancer": ([["http://a"]],)}
"""What can be made outside a running loop, and with what; a list of targets in either mode."""


def calls(module: object, names: list[str]) -> Iterator[tuple[str, Callable[..., object]]]:
    """Functions, and of classes how they are made and their public methods."""
    for name in names:
        thing = getattr(module, name)
        yield name, thing
        if inspect.isclass(thing):
            for method, function in inspect.getmembers(thing, inspect.isfunction):
                if not method.startswith("_"):
                    yield f"{name}.{method}", function


def refusals(theirs: Callable[..., object], ours: Callable[..., object]) -> list[str]:
    """Why a call of theirs would not be one of ours: positions, names, kinds and defaults."""
    wanted, given = inspect.signature(theirs).parameters, inspect.signature(ours).parameters
    found = [f"{name} is gone" for name in wanted if name not in given]
    kept = [name for name in given if name in wanted]
    if kept != list(wanted) or list(given)[: len(wanted)] != kept:
        found.append(f"{list(given)} does not begin with {list(wanted)}")
    for name in kept:
        demanded = wanted[name].default is inspect.Parameter.empty
        if given[name].kind is not wanted[name].kind or not (demanded or given[name].default == wanted[name].default):
            found.append(f"{given[name]} is not {wanted[name]}")
    found += [
        f"{name} is demanded" for name in given if name not in wanted and given[name].default is inspect.Parameter.empty
    ]
    if inspect.iscoroutinefunction(theirs) and not inspect.iscoroutinefunction(ours):
        found.append("it is not awaited")
    return found


def test_a_refusal_is_found():
    def theirs(a, b=1, *, c=2): ...

    def ours(b=2, *, c=2, d): ...

    assert refusals(theirs, theirs) == []
    assert len(refusals(theirs, ours)) == 4


@pytest.mark.parametrize("version", VERSIONS)
def test_every_call_of_theirs_is_a_call_of_ours(version: str):
    package = imported(version)
    ours = dict(calls(importlib.import_module(OURS), package.__all__))
    theirs = dict(calls(package, package.__all__))
    assert theirs.keys() <= ours.keys()
    assert not {name: why for name, call in theirs.items() if (why := refusals(call, ours[name]))}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "arguments"), [(name, arguments) for name, ways in CLASSES.items() for arguments in ways]
)
async def test_every_public_attribute_of_theirs_is_there(version: str, name: str, arguments: list[object]):
    theirs, ours = [getattr(module, name)(*arguments) for module in (imported(version), importlib.import_module(OURS))]
    public = {each for each in dir(theirs) if not each.startswith("_")}
    assert public <= set(dir(ours))
    for each in public & vars(theirs).keys() - {"last_update"}:
        assert getattr(ours, each) == getattr(theirs, each), each
    for made in (theirs, ours):
        if name == "HealthChecker":
            await made.destroy()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_error_of_a_wrong_use_is_the_same(version: str):
    seen = []
    for module in (imported(version), importlib.import_module(OURS)):
        checker, balancer = module.HealthChecker, module.LoadBalancer
        seen.append([error_of(use) for use in wrong_uses(checker, balancer)])
    theirs, ours = seen
    assert ours == theirs


def error_of(use: Callable[[], object]) -> type[BaseException] | None:
    try:
        use()
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what is compared
        return next(each for each in type(error).__mro__ if each.__module__ == "builtins")
    return None


def wrong_uses(checker: Callable[..., Any], balancer: Callable[..., Any]) -> list[Callable[[], object]]:
    return [
        lambda: checker([]),
        lambda: checker(["http://a"], 0),
        lambda: checker(["http://a"], timeout=0),
        lambda: checker(["http://a", {"host": "http://b"}]),
        lambda: checker([1]),
        lambda: checker([{"pingpath": "/"}]),
        lambda: checker([{"host": "http://a"}]).ping_path,
        lambda: setattr(checker([{"host": "http://a"}]), "ping_path", "/"),
        lambda: balancer(checker(["http://a"])).set_index(0),
        lambda: balancer(checker([{"host": "http://a"}])).max_requests,
        lambda: setattr(balancer(checker([{"host": "http://a"}])), "max_requests", 1),
        lambda: balancer(["http://a"]).set_index(1),
        lambda: balancer(["http://a"]).set_index(-1),
    ]
