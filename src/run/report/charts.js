"use strict";
// Charts of the page. All that it shows is in the JSON beside it; text goes into the page as text and never as HTML.

const MOST_COLOURS = 8;

/// An element with attributes and children; `on…` are listeners.
function make(name, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "g", "circle", "rect", "title"].includes(name);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/// A number for people: four significant digits, no more.
function shown(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(3).replace(/\.?0+e/, "e");
  return Number(value.toPrecision(size >= 1000 ? 6 : 4)).toLocaleString("en", { maximumSignificantDigits: 6 });
}

function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${seconds.toFixed(1)} s`;
}

const colour = (number) => `var(--c${number % MOST_COLOURS})`;
const dashes = (number) => ["", "8 4", "3 3", "10 3 2 3"][Math.floor(number / MOST_COLOURS) % 4];

/// Round values for the ticks of an axis, about `count` of them.
function ticks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= raw * 0.999) ?? raw;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9 && found.length < 50; i += 1) found.push(i * step || 0);
  return { found, step };
}

/// The number at a tick, with the digits that tell it from the next one.
function tickText(value, step) {
  const rest = Math.abs(value) < step * 1e-6 ? 0 : value;
  if (rest !== 0 && (Math.abs(rest) >= 1e6 || Math.abs(step) < 1e-4)) return rest.toExponential(2).replace(/\.?0+e/, "e");
  return rest.toLocaleString("en", { maximumFractionDigits: Math.max(0, Math.min(8, -Math.floor(Math.log10(step) + 1e-9))) });
}

/// Means over the `window` points around each; a gap stays a gap and parts what is on its sides.
function smoothed(values, window) {
  if (window <= 1) return values;
  const before = Math.floor((window - 1) / 2);
  return values.map((value, index) => {
    if (value === null) return null;
    let [sum, count] = [0, 0];
    for (let i = index; i >= Math.max(0, index - before) && values[i] !== null; i -= 1) [sum, count] = [sum + values[i], count + 1];
    for (let i = index + 1; i < Math.min(values.length, index + window - before) && values[i] !== null; i += 1)
      [sum, count] = [sum + values[i], count + 1];
    return sum / count;
  });
}

/// The values that an axis must hold: peaks far from the inner nine tenths of a line are left out and marked.
function fence(values) {
  if (values.length < 8) return [-Infinity, Infinity];
  const sorted = [...values].sort((a, b) => a - b);
  const outside = Math.ceil(values.length / 20);
  const end = [...values.slice(-5)].sort((a, b) => a - b)[2];
  const [low, high] = [Math.min(sorted[outside], end), Math.max(sorted[values.length - 1 - outside], end)];
  const reach = 2 * (high - low);
  return reach > Math.max(Math.abs(low), Math.abs(high)) * 1e-9 ? [low - reach, high + reach] : [-Infinity, Infinity];
}

function valueRange(lines, levels, log) {
  let kept = [...levels];
  for (const line of lines) {
    const values = line.y.filter((value) => value !== null && (!log || value > 0));
    const [low, high] = log ? [-Infinity, Infinity] : fence(values);
    kept = kept.concat(values.filter((value) => value >= low && value <= high));
  }
  let [low, high] = kept.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  if (low > high) return [0, 1];
  if (log) return [low / 1.15, high * 1.15];
  if (high - low < Math.max(Math.abs(low), Math.abs(high)) * 1e-3 || high === low) {
    if (low === 0) return [0, 1];
    return low < 0 ? [2 * low, 0] : [0, 2 * high];
  }
  const margin = (high - low) * 0.06;
  return [low >= 0 && low < margin ? 0 : low - margin, high + margin];
}

/// An entry of a legend: a stroke of the line, and its name.
function legendEntry(name, number, dash) {
  const stroke = make("line", { x1: 0, x2: 22, y1: 5, y2: 5, "stroke-width": 2.5, "stroke-dasharray": dash || null });
  stroke.style.stroke = number === null ? "var(--faint)" : colour(number);
  return make("li", {}, make("svg", { width: 22, height: 10, "aria-hidden": "true" }, stroke), name);
}

/// One panel: `lines` have name, number, x and y.
class Chart {
  constructor(panel, state) {
    Object.assign(this, { panel, state, at: null });
    this.svg = make("svg", { class: "chart", tabindex: "0", role: "img" });
    this.tip = make("div", { class: "tip", hidden: true });
    this.legend = make("ul", { class: "legend" });
    this.remark = make("p", { class: "remark" });
    this.root = make("div", { class: "panel" }, make("h3", {}, panel.title), this.legend, this.svg, this.remark, this.tip);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerdown", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.hover(null));
    this.svg.addEventListener("blur", () => this.hover(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
  }

  set(panel) {
    this.panel = panel;
    this.draw();
  }

  draw() {
    const { panel, state, svg } = this;
    const [width, height] = [Math.max(220, svg.clientWidth || 400), 230];
    const box = { left: 58, right: width - 14, top: 10, bottom: height - 40 };
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("aria-label", `${panel.title} over the training step. Arrow keys move through the records.`);
    const log = state.log && panel.lines.some((line) => line.y.some((value) => value > 0));
    this.lines = panel.lines.map((line) => ({ ...line, raw: line.y, y: smoothed(line.y, state.window) }));
    const levels = panel.levels.map((level) => level.value).filter((value) => !log || value > 0);
    const [low, high] = valueRange(this.lines, levels, log);
    const last = Math.max(1, ...panel.lines.map((line) => line.x.at(-1) ?? 0));
    const scale = log ? Math.log10 : (value) => value;
    const x = (step) => box.left + (step / last) * (box.right - box.left);
    const y = (value) => box.bottom - ((scale(value) - scale(low)) / (scale(high) - scale(low))) * (box.bottom - box.top);
    Object.assign(this, { x, y, box, low, high, log, last });
    svg.replaceChildren(...this.axes(log), ...levels.map((value) => make("line", { class: "level", x1: box.left, x2: box.right, y1: y(value), y2: y(value) })));
    let beyond = 0;
    for (const line of this.lines) {
      if (state.window > 1) svg.append(this.path(line, line.raw, "raw").path);
      const drawn = this.path(line, line.y, "line");
      svg.append(drawn.path, ...drawn.dots);
      beyond += drawn.beyond;
    }
    this.cursor = make("g", {});
    svg.append(this.cursor);
    const missing = panel.lines.reduce((sum, line) => sum + line.y.filter((value) => value === null).length, 0);
    const remarks = [];
    if (beyond > 0) remarks.push(`${beyond} ${beyond === 1 ? "point" : "points"} beyond the axis, drawn at its edge`);
    if (log && this.lines.some((line) => line.y.some((value) => value !== null && value <= 0))) remarks.push("values of 0 and less are left out");
    if (missing > 0) remarks.push(`${missing} not finite`);
    this.remark.textContent = remarks.join("; ");
    this.drawLegend();
    if (this.at !== null) this.hover(this.at);
  }

  axes(log) {
    const { box, x, y, low, high, last } = this;
    const parts = [];
    let values = ticks(low, high, 5.5);
    if (log) {
      const decades = [];
      for (let power = Math.ceil(Math.log10(low) - 1e-9); power <= Math.log10(high) + 1e-9; power += 1) decades.push(10 ** power);
      if (decades.length >= 2) values = { found: decades, step: null };
    }
    for (const value of values.found) {
      const text = values.step === null || log ? shown(value) : tickText(value, values.step);
      parts.push(make("line", { class: "grid", x1: box.left, x2: box.right, y1: y(value), y2: y(value) }));
      parts.push(make("text", { x: box.left - 7, y: y(value) + 4, "text-anchor": "end" }, text));
    }
    const steps = ticks(0, last, Math.max(2.5, (box.right - box.left) / 65));
    for (const step of steps.found.filter(Number.isInteger)) {
      parts.push(make("line", { class: "axis", x1: x(step), x2: x(step), y1: box.bottom, y2: box.bottom + 4 }));
      const anchor = x(step) > box.right - 18 ? "end" : "middle";
      parts.push(make("text", { x: x(step), y: box.bottom + 17, "text-anchor": anchor }, step.toLocaleString("en")));
    }
    parts.push(make("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
    parts.push(make("line", { class: "axis", x1: box.left, x2: box.left, y1: box.top, y2: box.bottom }));
    parts.push(make("text", { x: (box.left + box.right) / 2, y: box.bottom + 33, "text-anchor": "middle" }, "step"));
    return parts;
  }

  path(line, values, kind) {
    const { x, y, low, high, log } = this;
    const [dots, alone] = [[], []];
    let [text, open, beyond, length] = ["", false, 0, 0];
    values.forEach((value, index) => {
      if (value === null || (log && value <= 0)) {
        if (length === 1) alone.push(index - 1);
        [open, length] = [false, 0];
        return;
      }
      const inside = Math.min(high, Math.max(low, value));
      if (inside !== value) beyond += 1;
      text += `${open ? "L" : "M"}${x(line.x[index]).toFixed(1)} ${y(inside).toFixed(1)}`;
      [open, length] = [true, length + 1];
    });
    if (length === 1) alone.push(values.length - 1);
    for (const index of alone) dots.push(this.dot(line, index, values[index], 3));
    const path = make("path", { class: kind, d: text || "M0 0", "stroke-dasharray": dashes(line.number) || null });
    path.style.stroke = colour(line.number);
    return { path, dots, beyond };
  }

  dot(line, index, value, radius) {
    const dot = make("circle", { cx: this.x(line.x[index]), cy: this.y(Math.min(this.high, Math.max(this.low, value))), r: radius });
    dot.style.fill = colour(line.number);
    return dot;
  }

  drawLegend() {
    const { panel } = this;
    const entry = legendEntry;
    // Runs have their names once, over all panels.
    const lines = panel.lines.filter((line) => line.name && !panel.shared).map((line) => entry(line.name, line.number, dashes(line.number)));
    this.legend.replaceChildren(...lines, ...panel.levels.map((level) => entry(level.label, null, "5 4")));
  }

  steps() {
    return [...new Set(this.panel.lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  }

  point(event) {
    const bounds = this.svg.getBoundingClientRect();
    const place = ((event.clientX - bounds.left) / bounds.width) * (this.box.right + 14);
    const wanted = ((place - this.box.left) / (this.box.right - this.box.left)) * this.last;
    const steps = this.steps();
    if (steps.length === 0) return;
    this.hover(steps.reduce((best, step) => (Math.abs(step - wanted) < Math.abs(best - wanted) ? step : best)));
  }

  key(event) {
    const steps = this.steps();
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (move === undefined || steps.length === 0) return;
    event.preventDefault();
    const now = this.at === null ? (move > 0 ? -1 : steps.length) : steps.indexOf(this.at);
    this.hover(steps[Math.min(steps.length - 1, Math.max(0, now + move))]);
  }

  hover(step) {
    this.at = step;
    this.tip.hidden = step === null;
    this.cursor.replaceChildren();
    if (step === null) return;
    const rows = [];
    this.cursor.append(make("line", { class: "cursor", x1: this.x(step), x2: this.x(step), y1: this.box.top, y2: this.box.bottom }));
    for (const line of this.lines) {
      const index = line.x.indexOf(step);
      if (index < 0) continue;
      const value = line.y[index];
      if (value !== null && !(this.log && value <= 0)) this.cursor.append(this.dot(line, index, value, 3.5));
      const mark = make("span", {}, "● ");
      mark.style.color = colour(line.number);
      rows.push(make("tr", {}, make("td", {}, mark, line.name || this.panel.title), make("td", {}, value === null ? "not finite" : shown(value))));
    }
    const where = this.panel.where ? this.panel.where(step) : `step ${step.toLocaleString("en")}`;
    this.tip.replaceChildren(make("div", { class: "faint" }, where), make("table", {}, ...rows));
    const [bounds, root] = [this.svg.getBoundingClientRect(), this.root.getBoundingClientRect()];
    const x = bounds.left - root.left + (this.x(step) * bounds.width) / (this.box.right + 14);
    const width = this.tip.offsetWidth;
    const left = x + 12 + width < root.width ? x + 12 : x - 12 - width;
    this.tip.style.left = `${Math.max(4, Math.min(root.width - width - 4, left))}px`;
    this.tip.style.top = `${bounds.top - root.top + 8}px`;
  }
}
