/** Charts over the last five minutes: small ones without axes, which are drawn only in sight, and large ones. */

import { WINDOW_S } from "./history.js";
import { colour, onTheme } from "./theme.js";

const HEIGHT = 30;
const LARGE_HEIGHT = 120;
const FONT = "11px Inter, Roboto, Arial, sans-serif";
const BARE = { cursor: { show: false }, legend: { show: false }, select: { show: false } };

const inSight = new WeakMap();
const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) inSight.get(entry.target)?.(entry.isIntersecting);
});

// Told, and not asked of the node while others are being written: that would lay out the page once for each row.
const resized = new WeakMap();
const sizes = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) resized.get(target)?.(Math.floor(contentRect.width));
});

function onWidth(node, act) {
  resized.set(node, act);
  sizes.observe(node);
}

/** A line without words in a row; `onSight` is called each time it comes into view. */
export class Sparkline {
  #node;
  #plot = null;
  #isVisible = false;
  #width = 0;
  #latest = null;

  constructor(node, onSight) {
    this.#node = node;
    inSight.set(node, (isVisible) => {
      this.#isVisible = isVisible;
      if (isVisible) onSight();
      this.#draw();
    });
    sight.observe(node);
    onWidth(node, (width) => {
      this.#width = width;
      this.#plot?.setSize({ width, height: HEIGHT });
      this.#draw();
    });
  }

  /** Show a column of a history, on a scale from 0 to `peak`, up to `now` (unix seconds). */
  update(history, column, peak, now) {
    this.#latest = { history, column, peak, now };
    this.#draw();
  }

  /** Colours are read anew. */
  redraw() {
    this.#plot?.redraw();
  }

  /** The line is gone for good. */
  destroy() {
    sight.unobserve(this.#node);
    sizes.unobserve(this.#node);
    this.#plot?.destroy();
  }

  #draw() {
    if (!this.#isVisible || !this.#width || !this.#latest) return;
    const { history, column } = this.#latest;
    this.#plot ??= new uPlot(this.#options(), [[], []], this.#node);
    this.#plot.setData([history.at, history.columns[column]]);
  }

  #options() {
    return {
      ...BARE,
      width: this.#width,
      height: HEIGHT,
      padding: [2, 0, 2, 0],
      pxAlign: 0,
      scales: {
        x: { time: false, range: () => [this.#latest.now - WINDOW_S, this.#latest.now] },
        y: { range: () => [0, this.#latest.peak || 1] },
      },
      axes: [{ show: false }, { show: false }],
      series: [
        {},
        { stroke: () => colour("--accent"), fill: () => colour("--accent-wash"), width: 1.25, points: { show: false } },
      ],
    };
  }
}

/** A chart with axes, a cursor and the values under it, as wide as its node. */
export class Chart {
  #plot = null;
  #series;
  #format;
  #least;
  #now = 0;
  #width = 0;
  #history = null;
  #node;

  /** `series` are `{ label, column, tone }`; `format` says a value; the scale ends at `least` or above. */
  constructor(node, { series, format, least }) {
    this.#node = node;
    this.#series = series;
    this.#format = format;
    this.#least = least;
    onWidth(node, (width) => {
      this.#width = width;
      this.#plot?.setSize({ width, height: LARGE_HEIGHT });
      if (this.#history) this.update(this.#history, this.#now);
    });
  }

  /** Show a history up to `now` (unix seconds). */
  update(history, now) {
    this.#history = history;
    this.#now = now;
    if (!this.#width) return;
    this.#plot ??= new uPlot(this.#options(), [[], ...this.#series.map(() => [])], this.#node);
    this.#plot.setData([history.at, ...this.#series.map(({ column }) => history.columns[column])]);
    if (this.#plot.cursor.left < 0) this.#plot.setLegend({ idx: history.at.length - 1 }); // nobody points: the latest
  }

  /** Colours are read anew. */
  redraw() {
    this.#plot?.redraw();
  }

  /** The chart is gone for good. */
  destroy() {
    sizes.unobserve(this.#node);
    this.#plot?.destroy();
  }

  #options() {
    const axis = {
      stroke: () => colour("--soft"),
      grid: { stroke: () => colour("--line"), width: 1 },
      ticks: { show: false },
      font: FONT,
    };
    return {
      width: this.#width,
      height: LARGE_HEIGHT,
      padding: [8, 8, 0, 0],
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "detail" } },
      legend: { markers: { width: 0, fill: (_plot, place) => colour(this.#series[place - 1].tone) } },
      scales: {
        x: { range: () => [this.#now - WINDOW_S, this.#now] },
        y: { range: (_plot, _low, high) => [0, Math.max(high * 1.1, this.#least)] },
      },
      axes: [
        { ...axis, space: 70, size: 26, values: "{HH}:{mm}", incrs: [60, 120] },
        { ...axis, space: 32, size: 58, values: (_plot, values) => values.map(this.#format) },
      ],
      series: [{ label: "at", value: "{HH}:{mm}:{ss}" }, ...this.#series.map((each) => this.#line(each))],
    };
  }

  #line({ label, tone }) {
    const value = (_plot, shown) => this.#format(shown ?? null);
    return { label, stroke: () => colour(tone), width: 1.5, points: { show: false }, value };
  }
}

const charts = new Set();
onTheme(() => charts.forEach((chart) => chart.redraw()));

/** Have a chart follow the theme. */
export function followTheme(chart) {
  charts.add(chart);
  return () => charts.delete(chart);
}
