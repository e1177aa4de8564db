"""What a browser says of the console's page: when it painted, and what each update cost it.

Headless Chromium through Playwright. The page marks its own updates (`performance.measure`); what the browser adds to
them (style, layout, paint) comes from its own counters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, CDPSession, Page

# Kept by the page itself, so that nothing is lost between two questions.
RECORD = """
window.seen = { paints: {}, updates: [], longTasks: [] };
function watch(type, act) {
  new PerformanceObserver((list) => list.getEntries().forEach(act)).observe({ type, buffered: true });
}
watch("paint", (entry) => { seen.paints[entry.name] = entry.startTime; });
watch("measure", (entry) => seen.updates.push([entry.startTime, entry.duration]));
watch("longtask", (entry) => seen.longTasks.push([entry.startTime, entry.duration]));
"""
SIZES = {"desktop": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}
SETTLED_MS = 3_000
"""After this the page has its rows, its events and its histories; what follows are ticks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One visit. All times are ms since its navigation began, or ms of work.

    ``first_rows_ms`` is when the first update was done; ``updates_ms`` are the later ones. Per update, for as long as
    the page stood there: ``main_thread_ms`` of all work, ``scripts_ms`` and ``layout_ms`` (with style) of it.
    """

    first_paint_ms: float
    first_rows_ms: float
    updates_ms: Sequence[float]
    long_tasks_ms: Sequence[float]
    main_thread_ms: float
    scripts_ms: float
    layout_ms: float


async def visit(browser: Browser, url: str, *, size: str, seconds: float, shot: Path | None) -> Seen:
    """Open the page, let it tick for so long, and leave a picture of it (None: no picture)."""
    page = await browser.new_page(viewport=SIZES[size])  # type: ignore[arg-type]  # ViewportSize is a TypedDict
    await page.add_init_script(RECORD)
    await page.goto(url)
    await page.wait_for_selector("[role=rowheader]")
    await page.wait_for_timeout(SETTLED_MS)
    counters = await page.context.new_cdp_session(page)
    await counters.send("Performance.enable")
    before, ticks = await _metrics(counters), await page.evaluate("seen.updates.length")
    await page.wait_for_timeout(seconds * 1_000)
    after = await _metrics(counters)
    ticks = await page.evaluate("seen.updates.length") - ticks
    if shot:
        await page.screenshot(path=shot)
    found = await _seen(page, {name: (after[name] - before[name]) * 1_000 / ticks for name in after})
    await page.close()
    return found


async def _metrics(counters: CDPSession) -> dict[str, float]:
    """Seconds of work so far, by what it was."""
    metrics = (await counters.send("Performance.getMetrics"))["metrics"]
    return {metric["name"]: metric["value"] for metric in metrics if metric["name"].endswith("Duration")}


async def _seen(page: Page, per_tick: Mapping[str, float]) -> Seen:
    found: Any = await page.evaluate("seen")
    first, *later = found["updates"]
    return Seen(
        first_paint_ms=found["paints"]["first-paint"],
        first_rows_ms=sum(first),
        updates_ms=[duration for _, duration in later],
        long_tasks_ms=[duration for began, duration in found["longTasks"] if began > SETTLED_MS],
        main_thread_ms=per_tick["TaskDuration"],
        scripts_ms=per_tick["ScriptDuration"],
        layout_ms=per_tick["LayoutDuration"] + per_tick["RecalcStyleDuration"],
    )
