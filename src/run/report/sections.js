// The sections of the page, and how a live one follows its run.

const state = { window: 1, log: false };
const REFRESH = 3000;

/// The value of a series at a step, or null.
function at(run, key, step) {
  const series = run.series[key];
  const index = series ? series.x.indexOf(step) : -1;
  return index < 0 ? null : series.y[index];
}

/// The panels of the curves: those of the run, or one a figure where runs are laid over each other.
function panelsOf(data) {
  if (data.runs.length === 1) {
    const run = data.runs[0];
    const where = (step) => {
      const [epoch, seconds] = [at(run, "epoch", step), at(run, "elapsed_s", step)];
      const parts = [`step ${step.toLocaleString("en")}`];
      if (epoch !== null) parts.push(`epoch ${shown(epoch)}`);
      if (seconds !== null) parts.push(`after ${duration(seconds)}`);
      return parts.join(" · ");
    };
    return run.panels.map((panel) => ({
      title: panel.title,
      levels: panel.level ? [panel.level] : [],
      lines: panel.lines.map((line, number) => ({ name: line.label, number, ...run.series[line.key] })),
      where,
    }));
  }
  const panels = new Map();
  data.runs.forEach((run, number) => {
    for (const panel of run.panels) {
      for (const line of panel.lines) {
        const title = line.label ? `${panel.title}: ${line.label}` : panel.title;
        const key = `${line.key} ${title}`;
        if (!panels.has(key)) panels.set(key, { title, levels: [], lines: [], shared: true });
        const found = panels.get(key);
        found.lines.push({ name: `${number + 1}  ${run.name}`, number, ...run.series[line.key] });
        if (panel.level && !found.levels.some((level) => level.value === panel.level.value)) found.levels.push(panel.level);
      }
    }
  });
  return [...panels.values()];
}

class Curves {
  constructor() {
    this.charts = new Map();
    this.grid = make("div", { class: "panels" });
    this.empty = make("p", { class: "faint" }, "No records yet.");
    this.legend = make("ul", { class: "legend shared" });
    const windows = [1, 5, 20, 100].map((size) => make("option", { value: size }, size === 1 ? "none" : `means of ${size} records`));
    const choice = make("select", { onchange: (event) => this.change({ window: Number(event.target.value) }) }, ...windows);
    const box = make("input", { type: "checkbox", onchange: (event) => this.change({ log: event.target.checked }) });
    this.root = make(
      "section",
      {},
      make("h2", {}, "Curves"),
      make("div", { class: "controls" }, make("label", {}, "Smoothing ", choice), make("label", {}, box, " logarithmic axis"), "Point at a curve, or use the arrow keys, to read values."),
      this.legend,
      this.empty,
      this.grid,
    );
    new ResizeObserver(() => this.draw()).observe(this.grid);
  }

  change(change) {
    Object.assign(state, change);
    this.draw();
  }

  draw() {
    for (const chart of this.charts.values()) chart.draw();
  }

  update(data) {
    const panels = panelsOf(data);
    const names = data.runs.length > 1 ? data.runs : [];
    this.legend.replaceChildren(...names.map((run, number) => legendEntry(`${number + 1}  ${run.name}`, number, dashes(number))));
    this.legend.hidden = names.length === 0;
    const keep = new Set(panels.map((panel) => panel.title));
    for (const title of this.charts.keys()) if (!keep.has(title)) this.charts.delete(title);
    for (const panel of panels) if (!this.charts.has(panel.title)) this.charts.set(panel.title, new Chart(panel, state));
    const roots = panels.map((panel) => this.charts.get(panel.title).root);
    if (roots.some((root, index) => this.grid.children[index] !== root)) this.grid.replaceChildren(...roots);
    this.empty.hidden = panels.length > 0;
    for (const panel of panels) this.charts.get(panel.title).set(panel);
  }
}

/// The same latents at each snapshot, under a slider, beside real images.
class Snapshots {
  constructor() {
    this.shown = null;
    this.input = make("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Snapshot", oninput: () => this.show() });
    this.output = make("output", {});
    this.button = make("button", { type: "button", onclick: () => this.play() }, "Play");
    this.picture = make("img", { alt: "Samples" });
    this.caption = make("figcaption", {});
    this.reals = make("figure", { hidden: true }, make("figcaption", {}, "Images of the data set"), make("img", { alt: "Images of the data set" }));
    this.count = make("p", { class: "faint" });
    this.root = make(
      "section",
      { hidden: true },
      make("h2", {}, "Samples"),
      make("div", { class: "slider" }, this.button, this.input, this.output),
      make("div", { class: "pictures" }, make("figure", {}, this.caption, this.picture), this.reals),
      this.count,
    );
  }

  update(run) {
    const atEnd = Number(this.input.value) >= Number(this.input.max);
    const before = this.shown;
    this.list = run.snapshots;
    this.root.hidden = this.list.length === 0;
    if (this.list.length === 0) return;
    this.input.max = this.list.length - 1;
    const kept = this.list.findIndex((snapshot) => snapshot.step === before);
    this.input.value = atEnd || kept < 0 ? this.list.length - 1 : kept;
    this.reals.hidden = !run.reals;
    const image = this.reals.querySelector("img");
    if (run.reals && image.getAttribute("src") !== run.reals) image.src = run.reals;
    const all = run.snapshot_count;
    this.count.textContent = all > this.list.length ? `${this.list.length} of ${all} snapshots are in this page, evenly chosen.` : "";
    this.show();
  }

  show() {
    const snapshot = this.list[Number(this.input.value)];
    this.shown = snapshot.step;
    if (this.picture.getAttribute("src") !== snapshot.src) this.picture.src = snapshot.src;
    const name = snapshot.step === 0 ? "before the first step" : `step ${snapshot.step.toLocaleString("en")}`;
    this.output.textContent = `${name} (${Number(this.input.value) + 1} of ${this.list.length})`;
    this.picture.alt = `Samples, ${name}`;
    this.caption.textContent = `The same latents, ${name}`;
  }

  play() {
    if (this.timer) return this.stop();
    if (Number(this.input.value) >= this.list.length - 1) this.input.value = 0;
    this.show();
    this.button.textContent = "Stop";
    this.timer = setInterval(() => {
      if (Number(this.input.value) >= this.list.length - 1) return this.stop();
      this.input.value = Number(this.input.value) + 1;
      this.show();
    }, 400);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.button.textContent = "Play";
  }
}

/// Samples beside the training images that are nearest to them.
function neighbours(found) {
  const { images, mirrored, step, rows, reference, reference_count: count, sample_median: ours } = found;
  const cell = (kind, src, text) =>
    make("figure", { class: kind }, make("img", { class: "pixels", src, alt: "" }), make("figcaption", {}, text));
  const distance = (value) => value.toFixed(1);
  const row = ({ sample, nearest }) =>
    make(
      "div",
      { class: "row" },
      cell("sample", sample, "sample"),
      ...nearest.map((one, index) => {
        const close = index === 0 && reference !== null && one.distance < reference.least;
        return cell(close ? "near close" : "near", one.src, `${distance(one.distance)}${one.mirrored ? " mirrored" : ""}`);
      }),
    );
  const close = reference === null ? 0 : rows.filter((row) => row.nearest[0].distance < reference.least).length;
  const verdict =
    reference === null
      ? "There are too few training images to say which distance is small."
      : `The median distance of a sample to its nearest training image is ${distance(ours)}. Among ${count} training images the median distance to the ` +
        `nearest other one is ${distance(reference.median)}, and the least is ${distance(reference.least)}. ` +
        (close === 0
          ? "No sample is nearer than that to a training image: none of these is a copy, pixel by pixel."
          : `${close === 1 ? "1 sample is" : `${close} samples are`} nearer than that to a training image, and framed: look whether ${close === 1 ? "it is a copy" : "they are copies"}.`);
  return make(
    "section",
    {},
    make("h2", {}, "Nearest training images"),
    make("p", {}, `Samples of step ${step.toLocaleString("en")}, each beside the nearest of ${images.toLocaleString("en")} training images` +
      `${mirrored ? ", mirrored ones among them" : ""}. The number is the distance: the root of the mean squared difference of the pixels' values, 0 to 255; a copy has 0.`),
    make("p", {}, verdict),
    make("p", { class: "faint" }, "Plain pixel distance finds copies pixel by pixel. It does not find an image that was shifted, recoloured or redrawn."),
    make("div", { class: "neighbours" }, ...rows.map(row)),
  );
}

function table(head, rows, numbers = []) {
  const cell = (name) => (text, index) => make(name, numbers.includes(index) ? { class: "number" } : {}, text === null || text === undefined ? "–" : text);
  return make(
    "div",
    { class: "scroll", tabindex: "0" },
    make("table", { class: "data" }, make("thead", {}, make("tr", {}, ...head.map(cell("th")))), make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell("td")))))),
  );
}

function section(title, ...children) {
  return make("section", {}, make("h2", {}, title), ...children);
}

const stateOf = (run) => (["done", "empty"].includes(run.state) ? run.state : `${run.state} at ${run.step.toLocaleString("en")}`);

function settings(run) {
  if (run.settings === null) return section("Settings", make("p", {}, "config.toml is not one that this version reads, or its preset is not known."));
  if (run.settings.length === 0) return section("Settings", make("p", {}, `All settings are those of preset ${run.preset}.`));
  const rows = run.settings.map(({ key, value, preset }) => [make("code", {}, key), value, preset]);
  return section("Settings that differ from the preset", table(["setting", "this run", `preset ${run.preset}`], rows));
}

function environment(run) {
  if (run.starts.length === 0) return null;
  const text = (value) => (Array.isArray(value) ? value.join(" ") : typeof value === "string" ? value : JSON.stringify(value));
  const keys = [...new Set(run.starts.flatMap((start) => Object.keys(start)))];
  const head = ["", ...run.starts.map((_, index) => (run.starts.length === 1 ? "this run" : `start ${index + 1}`))];
  return section("Environment", table(head, keys.map((key) => [make("span", { class: "key" }, key.replaceAll("_", " ")), ...run.starts.map((start) => (key in start ? text(start[key]) : null))])));
}

function comparison(data) {
  const keys = [...new Set(data.runs.flatMap((run) => Object.keys(run.last)))];
  const first = ["loss_d", "loss_g", "kl_real", "kl_fake", "beta", "d_real", "d_fake"].filter((key) => keys.includes(key));
  const last = ["images_per_s", "elapsed_s"].filter((key) => keys.includes(key));
  const order = [...first, ...keys.filter((key) => !first.includes(key) && !last.includes(key) && key !== "epoch"), ...last];
  const value = (run, key) => (key in run.last ? (key === "elapsed_s" ? duration(run.last[key]) : shown(run.last[key])) : null);
  const name = (run, number) => {
    const mark = make("span", {}, "● ");
    mark.style.color = colour(number);
    return make("span", {}, mark, `${number + 1}  ${run.name}`);
  };
  const rows = data.runs.map((run, number) => [name(run, number), run.preset, stateOf(run), ...order.map((key) => value(run, key))]);
  const numbers = order.map((_, index) => index + 3);
  const parts = [
    section("Runs", table(["run", "preset", "state", ...order], rows, numbers), make("p", { class: "faint" }, "Figures are means over the last 10 records; beta, balance and elapsed_s are the last one's.")),
  ];
  if (data.differences && data.differences.length > 0) {
    const head = ["setting", ...data.runs.map((_, index) => `#${index + 1}`)];
    parts.push(section("Settings in which they differ", table(head, data.differences.map(({ key, values }) => [make("code", {}, key), ...values]))));
  }
  return parts;
}

function lastSamples(data) {
  const card = (run, number) => {
    const snapshot = run.snapshots.at(-1);
    const name = `${number + 1}  ${run.name}`;
    if (!snapshot) return make("figure", {}, make("figcaption", {}, `${name}: no picture that can be read`));
    return make("figure", {}, make("figcaption", {}, `${name}, step ${snapshot.step.toLocaleString("en")}`), make("img", { src: snapshot.src, alt: `Samples of ${run.name}` }));
  };
  return section("Newest samples", make("div", { class: "pictures" }, ...data.runs.map(card)));
}

function facts(run) {
  const entries = [["state", run.state], ["step", run.steps ? `${run.step.toLocaleString("en")} of ${run.steps.toLocaleString("en")}` : run.step.toLocaleString("en")]];
  if (run.preset) entries.unshift(["preset", run.preset]);
  if ("epoch" in run.last) entries.push(["epoch", shown(run.last.epoch)]);
  if ("elapsed_s" in run.last) entries.push(["training", duration(run.last.elapsed_s)]);
  if ("images_per_s" in run.last) entries.push(["images/s", shown(run.last.images_per_s)]);
  return entries.map(([name, value]) => make("li", {}, `${name} `, make("b", {}, value)));
}

class Page {
  constructor(data) {
    this.main = document.getElementById("page");
    [this.head, this.curves, this.snapshots] = [make("header", {}), new Curves(), new Snapshots()];
    this.lost = make("p", { class: "notes", role: "status", hidden: true });
    [this.below, this.foot] = [make("div", {}), make("footer", {})];
    const single = data.runs.length === 1;
    this.above = make("div", {});
    this.main.replaceChildren(this.head, this.lost, this.above, single ? this.snapshots.root : "", this.curves.root, this.below, this.foot);
    this.update(data);
  }

  update(data) {
    const single = data.runs.length === 1;
    const notes = data.runs.flatMap((run) => run.notes.map((note) => (single ? note : `${run.name}: ${note}`)));
    const messages = data.runs.filter((run) => run.message).map((run) => (single ? run.message : `${run.name}: ${run.message}`));
    const title = single ? data.runs[0].name : `${data.runs.length} runs`;
    this.head.replaceChildren(
      make("h1", {}, title),
      ...(single ? [make("ul", { class: "facts" }, ...facts(data.runs[0]))] : []),
      ...messages.map((message) => make("p", { class: "notes" }, message)),
      notes.length > 0 ? make("div", { class: "notes" }, ...notes.map((note) => make("p", {}, note))) : "",
    );
    document.title = single && data.live ? `${data.runs[0].step} · ${title}` : title;
    this.curves.update(data);
    if (single) this.snapshots.update(data.runs[0]);
    else this.above.replaceChildren(...comparison(data), lastSamples(data));
    // Made anew only if something is new: a reader may have marked text in a table.
    const below = single ? JSON.stringify([data.runs[0].settings, data.runs[0].starts]) : "";
    const parts = single && below !== this.shownBelow ? [data.runs[0].nearest ? neighbours(data.runs[0].nearest) : null, settings(data.runs[0]), environment(data.runs[0])] : [];
    const made = `Made by vgan-cuda ${data.version}, ${data.made.replace("T", " ").replace("Z", " UTC")}.`;
    const thinned = data.runs.some((run) => run.thinned) ? " Of long curves the page has the lowest and the highest value of each stretch." : "";
    if (below !== this.shownBelow) this.below.replaceChildren(...parts.filter((part) => part));
    this.shownBelow = below;
    this.foot.replaceChildren((data.live ? "Live: the page asks for news every three seconds. " : "") + made + thinned);
  }

  async follow() {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, REFRESH));
      if (document.hidden) continue;
      try {
        const answer = await fetch("data.json", { cache: "no-store" });
        if (!answer.ok) throw new Error(String(answer.status));
        this.update(await answer.json());
        this.lost.hidden = true;
      } catch {
        this.lost.textContent = "No answer from the run: its process has ended, or the connection is down. The page shows what it had last.";
        this.lost.hidden = false;
      }
    }
  }
}

const data = JSON.parse(document.getElementById("data").textContent);
const page = new Page(data);
if (data.live) page.follow();
