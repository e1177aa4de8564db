"""The console's page in a real Chromium: what it shows of a running system, and what can be done with it."""

import os
import re
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from chain import POOL, Demo, sidebeat, status_of, write_config
from chromium import chromium, find_chromium
from processes import Program
from redis_server import RedisServer
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.status import BackendStatus
from waiting import PATIENCE, eventually, eventually_sync

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium on PATH")

PATIENCE_MS = 20_000 * PATIENCE
expect.set_options(timeout=PATIENCE_MS)


class Console:
    """A running `up`, where its page is, and the token to write with."""

    def __init__(self, program: Program, store: RedisServer, said: re.Match[str]) -> None:
        self.program = program
        self.store = store
        self.url = said[1]
        self.token = Path(said[2]).read_text().strip()

    async def backend(self, name: str) -> BackendStatus:
        """What `sidebeat status` says of a backend."""
        return (await status_of(self.store.url)).pools[POOL].backends[name]


@pytest.fixture(scope="module")
def console(module_demos: Mapping[str, Demo]) -> Iterator[Console]:
    """One system for all of these tests; each leaves it as it was."""
    strange = dict.fromkeys(name for name in os.environ if name.startswith("SIDEBEAT_"))
    with RedisServer() as store, TemporaryDirectory(prefix="run-") as short:
        folder = Path(short)  # of sockets: their paths must stay below 108 bytes
        config = write_config(folder, module_demos, store={"url": store.url}, listen={"workers": 1})
        with sidebeat("up", "-c", config, cwd=folder, env={**strange, "XDG_RUNTIME_DIR": short}) as program:
            eventually_sync(lambda: program.said(r"^ready "), within=30, what=lambda: program.output)
            said = eventually_sync(lambda: program.said(r" console url=(\S+) token_file=(\S+)"))
            assert said
            yield Console(program, store, said)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    path = find_chromium()
    assert path
    async with chromium(path) as browser:
        yield browser


@pytest.fixture
async def page(browser: Browser, console: Console, demos: Mapping[str, Demo]) -> AsyncIterator[Page]:
    """The page, open and live, with its three backends."""
    page = await browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    await opened(page, console)
    yield page
    await page.close()


async def opened(page: Page, console: Console) -> None:
    await page.goto(console.url)
    await expect(page.get_by_role("rowheader", name=re.compile("alpha|bravo|charlie"))).to_have_count(3)
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()


async def log_in(page: Page, console: Console) -> None:
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_label("Token").fill(console.token)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Log out")).to_be_visible()


async def test_the_page_loads_from_one_place_and_says_that_all_is_well(browser: Browser, console: Console, demos):
    async with await browser.new_page() as page:
        said, failed, places = list[str](), list[str](), set[str]()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
        page.on("request", lambda request: places.add(request.url.split("/")[2]))
        await opened(page, console)
        await expect(page.locator("#headline")).to_contain_text("All 3 backends are well.")
        await page.get_by_role("button", name="alpha", exact=True).click()
        await expect(page.locator(".chart canvas")).to_have_count(3)
        await expect(page.locator(".trend canvas")).to_have_count(3)
        await expect(page.locator("#events li").first).to_be_visible()
    assert (said, failed, places) == ([], [], {console.url.removeprefix("http://")})


async def test_a_killed_backend_is_shown_with_its_cause_and_as_well_again(page: Page, demos: Mapping[str, Demo]):
    row = page.get_by_role("rowheader", name="bravo")
    demos["bravo"].kill()
    await expect(row).to_contain_text("unhealthy connection refused")
    await expect(page.locator("#headline")).to_contain_text("bravo is unhealthy: connection refused.")
    await expect(page.locator("#announcement")).to_have_text("bravo is unhealthy")
    await expect(page.locator("#events li").first).to_contain_text("api/bravo healthy → unhealthy")
    demos["bravo"].start()
    await expect(row).to_contain_text(re.compile("warming up|healthy HTTP 200"))


async def test_a_click_and_a_confirmation_drain_a_backend(page: Page, console: Console):
    await log_in(page, console)
    await page.get_by_role("button", name="Drain charlie").click()
    dialog = page.get_by_role("dialog", name="Drain charlie?")
    await expect(dialog).to_contain_text("2 other backends take traffic in api.")
    assert (await console.backend("charlie")).admin == "ready"
    await dialog.get_by_role("button", name="Drain").click()
    await expect(page.get_by_role("rowheader", name="charlie")).to_contain_text("drained")
    assert (await console.backend("charlie")).admin == "drain"
    await page.get_by_role("button", name="Ready charlie").click()
    await page.get_by_role("dialog").get_by_role("button", name="Ready").click()
    await eventually(lambda: is_ready(console, "charlie"))


async def is_ready(console: Console, name: str) -> bool:
    return (await console.backend(name)).admin == "ready"


async def test_a_keyboard_is_enough(page: Page, console: Console):
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the backends")).to_be_focused()
    await page.keyboard.press("/")
    await expect(page.get_by_label("Filter backends")).to_be_focused()
    await page.keyboard.type("alpha")
    await expect(page.get_by_role("rowheader", name=re.compile("bravo|charlie"))).to_have_count(0)
    await tab_to(page, "alpha")
    await page.keyboard.press("Enter")
    await tab_to(page, "Weight …")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Token")).to_be_focused()
    await page.keyboard.type(console.token)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog", name="Weight of alpha")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert await focused(page) == "Weight …"
    await page.keyboard.press("Enter")
    await page.keyboard.type("3")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("api/alpha: weight 3")
    await eventually(lambda: weighs(console, 3.0))


async def weighs(console: Console, weight: float) -> bool:
    return (await console.backend("alpha")).weight == weight


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until a button has the focus; no further than the page has things to be focused."""
    for _ in range(40):
        if await focused(page) == name:
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"Tab never comes to {name!r}")


async def focused(page: Page) -> str:
    text: str = await page.evaluate("document.activeElement.textContent")
    return text


async def test_a_phone_shows_all_of_it_by_day_and_by_night(browser: Browser, console: Console, demos):
    page = await browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="light")
    await opened(page, console)
    await page.get_by_role("button", name="alpha", exact=True).click()
    await expect(page.locator(".chart canvas")).to_have_count(3)
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    assert not await is_dark(page)
    await page.emulate_media(color_scheme="dark")
    assert await is_dark(page)
    await page.get_by_role("button", name="Theme: auto").click()
    assert not await is_dark(page)
    await page.close()


async def is_dark(page: Page) -> bool:
    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    return all(int(part) < 64 for part in re.findall(r"\d+", ground)[:3])


async def test_what_the_network_says_is_text_and_never_markup(page: Page, console: Console):
    hostile = "<img src=x onerror=\"document.title='taken'\">"
    event: Any = {
        "backend": hostile,
        "from": hostile,
        "to": hostile,
        "reason": hostile,
        "by": hostile,
        "evidence": hostile,
    }
    async with connect(console.store.url) as store:
        await store.xadd(PoolKeys("default", POOL).events, event)
    await expect(page.locator("#events li").filter(has_text=hostile)).to_be_visible()
    assert await page.locator("#events img").count() == 0


STANDINGS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "healthy", "All 2 backends are well."),
    ({"ramp_ms": 2000}, "warming up", "All 2 backends are well."),
    ({"state": "unknown"}, "unknown", "it is unknown; the others are well."),
    ({"state": "unhealthy", "reason": "HTTP 503"}, "unhealthy", "it is unhealthy: HTTP 503."),
    ({"state": "unhealthy", "admin": "maint"}, "in maintenance", "it is in maintenance; the others are well."),
    ({"admin": "drain", "inflight": 2}, "draining", "it is draining; the others are well."),
    ({"admin": "drain"}, "drained", "it is drained; the others are well."),
    ({"ejected_on": ["web-1:7"]}, "ejected", "it is ejected: on web-1:7; probes say healthy: HTTP 200."),
    ({"weight": 0}, "out of traffic", "it is out of traffic; the others are well."),
]
SAY = """async ([well, backend]) => {
  const { headline, standing } = await import("/words.js");
  const pool = { leader: "monitor", age_ms: 0, backends: { it: backend, other: well } };
  return [standing(backend).word, headline({ now_ms: 0, pools: { api: pool } }).text];
}"""


async def test_what_decides_most_is_what_is_said(page: Page):
    well: dict[str, object] = {
        "state": "healthy",
        "reason": "HTTP 200",
        "admin": "ready",
        "weight": 1,
        "ramp_ms": 0,
        "inflight": 0,
    }
    well |= {"ejected_ms": 0, "ejected_on": [], "pending": None, "asked_by": None}
    for changes, word, headline in STANDINGS:
        said = await page.evaluate(SAY, [well, {**well, **changes}])
        assert said == [word, headline], changes


async def test_the_end_of_the_monitor_is_seen_and_so_is_its_return(page: Page, console: Console):
    (pid,) = [pid for pid, command in console.program.descendants().items() if "sidecar monitor" in command]
    os.kill(pid, signal.SIGKILL)
    await expect(page.locator("#stale")).to_contain_text("The workers route on by themselves")
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    await expect(page.locator("#stale")).to_be_hidden()
