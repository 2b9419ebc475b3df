"use strict";
// Figures of the page: uPlot draws, everything that a person operates is plain HTML (radio buttons, a select, buttons).
(() => {
  const data = JSON.parse(document.getElementById("charts").textContent);
  const root = document.documentElement;
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  };
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const compact = (x) => {
    const size = Math.abs(x);
    if (size >= 1e9) return +(x / 1e9).toPrecision(3) + "G";
    if (size >= 1e6) return +(x / 1e6).toPrecision(3) + "M";
    if (size >= 1e3) return +(x / 1e3).toPrecision(3) + "k";
    return String(+x.toPrecision(4));
  };
  const shade = (colour, alpha) => {
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    return `rgba(${r}, ${g}, ${b}, ${alpha})`;
  };
  // The palette is made for paper: on a dark page its colours are lightened.
  const onPage = (colour) => {
    if (colour === "ink") return css("--ink");
    if (!matchMedia("(prefers-color-scheme: dark)").matches) return colour;
    const mix = [1, 3, 5].map((at) => Math.round(parseInt(colour.slice(at, at + 2), 16) * 0.7 + 255 * 0.3));
    return "#" + mix.map((part) => part.toString(16).padStart(2, "0")).join("");
  };
  let count = 0;

  class Figure {
    constructor(figure) {
      this.x = figure.dataset.x;
      this.panels = data[Number(figure.dataset.chart)];
      this.place = figure.querySelector(".interactive");
      this.title = figure.getAttribute("aria-label");
      this.panel = 0;
      this.quantity = 0;
      this.log = false;
      this.hidden = new Set();
      this.id = `figure${count++}`;
      this.tools = make("div", { class: "tools" });
      this.plot = make("div", { class: "plot", tabindex: "0", role: "img" });
      this.at = make("p", { class: "at", "aria-live": "polite" });
      this.key = make("ul", { class: "key", "aria-label": "Curves: press to hide or show" });
      this.place.append(this.tools, this.plot, this.at, this.key);
      this.addTools(figure.dataset.chooses);
      this.plot.addEventListener("keydown", (event) => this.step(event));
      this.draw();
      new ResizeObserver(() => this.resize()).observe(this.place);
    }

    addTools(chooses) {
      if (this.panels.length > 1) {
        const select = make("select", { id: `${this.id}-panel` },
          ...this.panels.map((panel, at) => make("option", { value: at }, panel.name)));
        select.addEventListener("change", () => { this.panel = Number(select.value); this.hidden.clear(); this.draw(); });
        this.tools.append(make("label", {}, `${chooses} `, select));
      }
      const kinds = this.panels[0].quantities.map((one) => one.name);
      if (kinds.length > 1) this.tools.append(this.choice("show", kinds, (at) => { this.quantity = at; this.draw(); }));
      if (this.panels.every((panel) => panel.x.some((x) => x > 0) && panel.x.length > 2)) {
        this.tools.append(this.choice(`${this.x} axis`, ["linear", "log"], (at) => { this.log = at === 1; this.draw(); }));
      }
      if (this.panels.some((panel) => panel.quantities.some((one) => this.beyond(one)))) {
        this.tools.append(this.choice("range", ["near", "whole"], (at) => { this.whole = at === 1; this.draw(); }));
      }
      const all = make("button", { type: "button" }, "all");
      const none = make("button", { type: "button" }, "none");
      all.addEventListener("click", () => { this.hidden.clear(); this.draw(); });
      none.addEventListener("click", () => { this.hidden = new Set(this.lines.map((one) => one.name)); this.draw(); });
      this.tools.append(make("span", { role: "group", "aria-label": "Curves" }, all, " ", none));
    }

    choice(legend, names, chosen) {
      const set = make("fieldset", {}, make("legend", {}, legend));
      names.forEach((name, at) => {
        const input = make("input", { type: "radio", name: `${this.id}-${legend}`, value: name, checked: at === 0 });
        input.addEventListener("change", () => chosen(at));
        set.append(make("label", {}, input, name));
      });
      return set;
    }

    get shown() { return this.panels[this.panel].quantities[this.quantity]; }
    get lines() { return this.shown.lines; }

    draw() {
      const panel = this.panels[this.panel];
      const kept = panel.x.map((x, at) => at).filter((at) => !this.log || panel.x[at] > 0);
      const pick = (values) => kept.map((at) => values[at]);
      this.xs = pick(panel.x);
      const many = this.lines.length > 6;
      const columns = [this.xs];
      const series = [{}];
      const bands = [];
      this.columns = [];
      for (const line of this.lines) {
        const colour = onPage(line.colour);
        const show = !this.hidden.has(line.name);
        this.columns.push(columns.length);
        columns.push(pick(line.y));
        series.push({
          label: line.name, show, stroke: colour, width: line.dots ? 0 : 1.8, dash: line.dash, spanGaps: true,
          points: { show: line.dots || this.xs.length < 40, size: line.dots ? 6 : 4, fill: colour, stroke: colour },
        });
        if (line.low.length && !many) {
          const at = columns.length;
          columns.push(pick(line.high), pick(line.low));
          const edge = { show, stroke: "transparent", points: { show: false } };
          series.push({ ...edge }, { ...edge });
          bands.push({ series: [at, at + 1], fill: colour.startsWith("#") ? shade(colour, 0.16) : "rgba(128,128,128,.16)" });
        }
      }
      const axis = {
        stroke: css("--soft"), font: "12px system-ui, sans-serif", grid: { stroke: css("--line"), width: 1 },
        ticks: { stroke: css("--line"), width: 1 },
      };
      const level = this.shown.level;
      const zero = this.shown.zero;
      const options = {
        width: this.width(), height: this.height(), series, bands,
        legend: { show: false },
        cursor: { focus: { prox: 24 }, points: { size: 7 }, drag: { x: false, y: false } },
        focus: { alpha: many ? 0.35 : 1 },
        scales: { x: { time: false, distr: this.log ? 3 : 1 }, y: { range: (plot, low, high) => this.range(low, high) } },
        axes: [
          { ...axis, values: (plot, ticks) => ticks.map((x) => (x === null ? "" : compact(x))), label: this.x,
            labelFont: "12px system-ui, sans-serif", labelSize: 20 },
          { ...axis, size: 58, label: this.shown.name, labelFont: "12px system-ui, sans-serif", labelSize: 18 },
        ],
        hooks: {
          setCursor: [(plot) => this.tell(plot.cursor.idx)],
          setSeries: [(plot, at) => this.mark(at)],
          drawClear: [(plot) => {
            const { ctx, bbox } = plot;
            const rule = (value, colour, dash) => {
              const y = plot.valToPos(value, "y", true);
              if (y < bbox.top || y > bbox.top + bbox.height) return;
              ctx.save(); ctx.strokeStyle = colour; ctx.setLineDash(dash); ctx.lineWidth = devicePixelRatio;
              ctx.beginPath(); ctx.moveTo(bbox.left, y); ctx.lineTo(bbox.left + bbox.width, y); ctx.stroke(); ctx.restore();
            };
            if (many) this.band(plot);
            if (zero) rule(0, css("--ink"), []);
            if (level !== null) rule(level, css("--soft"), [5 * devicePixelRatio, 4 * devicePixelRatio]);
          }],
        },
      };
      if (this.chart) this.chart.destroy();
      this.plot.setAttribute("aria-label",
        `${this.title}, ${panel.name}: ${this.shown.name} against ${this.x}, ${this.lines.length} curves. ` +
        "Arrow keys read the values along the curves.");
      this.chart = new uPlot(options, columns, this.plot);
      this.list();
      // Who read at the end goes on reading at the end, of another setting too.
      const read = this.atEnd ? -1 : this.xs.indexOf(this.readAt);
      this.tell(read < 0 ? this.xs.length - 1 : read);
    }

    // The band of the curve in focus, where all bands together would hide each other.
    band(plot) {
      const line = this.lines.find((one) => one.name === this.near);
      if (!line || !line.low.length || this.hidden.has(line.name)) return;
      const { x } = this.panels[this.panel], { ctx, bbox } = plot;
      const along = (values) => this.xs.map((at) => [at, values[x.indexOf(at)]]).filter(([, y]) => y !== null);
      ctx.save(); ctx.beginPath(); ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height); ctx.clip(); ctx.beginPath();
      [...along(line.high), ...along(line.low).reverse()].forEach(([at, y]) => ctx.lineTo(plot.valToPos(at, "x", true), plot.valToPos(y, "y", true)));
      ctx.fillStyle = shade(onPage(line.colour), 0.3); ctx.fill(); ctx.restore();
    }

    // Whether a curve leaves what is seen at first.
    beyond(quantity) {
      if (!quantity.reach) return false;
      return quantity.lines.some((line) => line.y.some((y) => y !== null && (y > quantity.reach[1] || y < quantity.reach[0])));
    }

    // The axis holds the lines that are shown, not the bands of few seeds; nor, at first, a collapse beside small gaps.
    range() {
      if (!this.whole && this.beyond(this.shown) && !this.hidden.size) return this.shown.reach;
      const values = [];
      this.lines.forEach((line) => {
        if (!this.hidden.has(line.name)) values.push(...line.y.filter((y) => y !== null));
      });
      if (this.shown.level !== null) values.push(this.shown.level * 1.5);
      if (this.shown.zero) values.push(0);
      if (!values.length) return [0, 1];
      const low = Math.min(...values), high = Math.max(...values);
      const room = 0.06 * (high - low) || 0.01;
      return [low - room, high + room];
    }

    list() {
      this.values = [];
      this.key.replaceChildren(...this.lines.map((line) => {
        const on = !this.hidden.has(line.name);
        const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
        svg.setAttribute("width", "26"); svg.setAttribute("height", "10"); svg.setAttribute("aria-hidden", "true");
        const mark = document.createElementNS("http://www.w3.org/2000/svg", line.dots ? "circle" : "line");
        const looks = line.dots ? { cx: 13, cy: 5, r: 3, fill: onPage(line.colour) }
          : { x1: 0, x2: 26, y1: 5, y2: 5, stroke: onPage(line.colour), "stroke-width": 2.4, "stroke-dasharray": line.dash.join(" ") };
        for (const [name, value] of Object.entries(looks)) mark.setAttribute(name, value);
        svg.append(mark);
        const value = make("span", { class: "value" });
        this.values.push(value);
        const button = make("button", { type: "button", "aria-pressed": String(on) }, svg, make("span", { class: "name" }, line.name), value);
        const focus = (at) => () => this.chart.setSeries(at, { focus: true });
        for (const name of ["mouseenter", "focus"]) button.addEventListener(name, focus(this.columns[this.lines.indexOf(line)]));
        for (const name of ["mouseleave", "blur"]) button.addEventListener(name, focus(null));
        button.addEventListener("click", () => {
          if (on) this.hidden.add(line.name); else this.hidden.delete(line.name);
          const place = this.lines.indexOf(line);
          this.draw();
          this.key.children[place].firstChild.focus();
        });
        return make("li", {}, button);
      }));
    }

    tell(at) {
      if (at === null || at === undefined) return;
      this.read = at;
      this.atEnd = at === this.xs.length - 1;
      const x = this.readAt = this.xs[at];
      const panel = this.panels[this.panel];
      const place = panel.x.indexOf(x);
      this.at.textContent = `at ${this.x} ${x.toLocaleString("en")}`;
      const sign = this.shown.zero ? (y) => (y >= 0 ? "+" : "\u2212") + Math.abs(y).toFixed(4) : (y) => y.toFixed(4);
      this.lines.forEach((line, number) => {
        const y = line.y[place];
        this.values[number].textContent = y === null || y === undefined ? "\u2013" : sign(y);
      });
    }

    mark(at) {
      const place = at === null ? -1 : this.columns.indexOf(at);
      this.near = place < 0 ? null : this.lines[place].name;
      [...this.key.children].forEach((item, number) => item.classList.toggle("near", number === place));
    }

    step(event) {
      const last = this.xs.length - 1;
      const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -last, End: last };
      if (!(event.key in moves)) return;
      event.preventDefault();
      const at = Math.max(0, Math.min(last, this.read + moves[event.key]));
      this.chart.setCursor({ left: this.chart.valToPos(this.xs[at], "x"), top: this.chart.bbox.height / 3 / devicePixelRatio });
      this.tell(at);
    }

    width() { return Math.max(200, Math.floor(this.place.clientWidth)); }
    height() { return Math.round(Math.max(260, Math.min(420, this.width() * 0.48))); }
    resize() {
      if (this.place.clientWidth && this.chart.width !== this.width()) this.chart.setSize({ width: this.width(), height: this.height() });
    }
  }

  const figures = [...document.querySelectorAll("figure[data-chart]")].map((figure) => new Figure(figure));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => figures.forEach((one) => one.draw()));
})();
