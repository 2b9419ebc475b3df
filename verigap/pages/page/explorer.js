"use strict";
// The explorer: reads the tables that the library computed, between whose nodes it interpolates. Its state is the URL's.
(() => {
  const place = document.getElementById("explorer");
  if (!place) return;
  const told = JSON.parse(document.getElementById("explored").textContent);
  const { rates, sizes, steps, surfaces } = told;
  const last = steps.length - 1;
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Effective rollouts, 1 + phi^2 (G - 1): theory.effective_rollouts of pass rate a, fpr x, fnr d, errors shared c.
  const worth = (a, x, d, G, c) => { const s = (1 - x - d) ** 2 * a * (1 - a), w = (1 - a) * x * (1 - x), r = a * d * (1 - d); return 1 + Math.min(1, s / (s + w + r - c * ((1 - a) * w + a * r)) || 0) * (G - 1); };

  // Barycentric weights of the Chebyshev nodes at one rate.
  const shares = (rate) => {
    const at = rates.findIndex((node) => Math.abs(node - rate) < 1e-12);
    if (at >= 0) return rates.map((_, k) => (k === at ? 1 : 0));
    const parts = rates.map((node, k) => ((k % 2 ? -1 : 1) * (k === 0 || k === rates.length - 1 ? 0.5 : 1)) / (rate - node));
    const sum = parts.reduce((total, part) => total + part, 0);
    return parts.map((part) => part / sum);
  };
  // The curve of one table along the steps' nodes.
  const curve = (table, state) => {
    const [f, n] = [shares(state.fpr), shares(state.fnr)];
    const block = table[sizes.indexOf(state.rollouts)];
    return steps.map((_, t) => {
      let sum = 0;
      for (let i = 0; i < f.length; i++) for (let j = 0; j < n.length; j++) sum += f[i] * n[j] * block[i][j][t];
      return Math.min(1, Math.max(0, sum / 1e4));
    });
  };
  // Between steps: the cubic through four nodes, which lie evenly in the root of the steps.
  const along = (line, step) => {
    const u = Math.sqrt(step / steps[last]) * last;
    const j = Math.min(Math.max(Math.floor(u), 1), last - 2), t = u - j;
    return line[j - 1] * (-t * (t - 1) * (t - 2) / 6) + line[j] * ((t + 1) * (t - 1) * (t - 2) / 2)
      + line[j + 1] * (-(t + 1) * t * (t - 2) / 2) + line[j + 2] * ((t + 1) * t * (t - 1) / 6);
  };

  const inputs = [...place.querySelectorAll("[data-of]")];
  const start = () => ({ fpr: 0.1, fnr: 0.1, rollouts: told.size, rate: told.pass_rate, steps: Math.round(steps[last] / 1.5), shared: 0, optimiser: told.optimiser });
  let state = start();
  const limits = { fpr: [0, 0.5], fnr: [0, 0.5], rate: [0.01, 0.99], steps: [0, steps[last]], shared: [0, 1] };
  const fromUrl = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const [name, [low, high]] of Object.entries(limits)) {
      const value = Number(asked.get(name));
      if (asked.has(name) && Number.isFinite(value)) state[name] = Math.min(high, Math.max(low, value));
    }
    if (sizes.includes(Number(asked.get("rollouts")))) state.rollouts = Number(asked.get("rollouts"));
    if (asked.get("optimiser") in surfaces) state.optimiser = asked.get("optimiser");
  };
  const toUrl = () => history.replaceState(null, "", "#" + new URLSearchParams(state));

  const say = (name, text, value) => {
    const element = place.querySelector(`[data-says=${name}]`);
    element.textContent = text;
    element.dataset.value = value ?? "";
  };
  let chart;
  const show = () => {
    for (const input of inputs) {
      const name = input.dataset.of;
      if (input.type === "radio") input.checked = input.value === state.optimiser;
      else input.value = name === "rollouts" ? sizes.indexOf(state.rollouts) : state[name];
      const out = input.parentElement.querySelector("output");
      const digits = { steps: 0, rollouts: 0, rate: 2, shared: 2 }[name] ?? 3;
      if (out) out.textContent = state[name].toFixed?.(digits) ?? state[name];
      if (input.type === "range") input.setAttribute("aria-valuetext", out.textContent);
    }
    const { accuracy, low, high } = surfaces[state.optimiser];
    const noisy = curve(accuracy, state), clean = curve(accuracy, { ...state, fpr: 0, fnr: 0 });
    const band = [curve(low, state), curve(high, state)];
    const at = along(noisy, state.steps), best = along(clean, state.steps);
    const few = worth(state.rate, state.fpr, state.fnr, state.rollouts, state.shared);
    say("worth", `${few.toFixed(2)} of ${state.rollouts}`, few);
    say("accuracy", `${at.toFixed(3)} [${along(band[0], state.steps).toFixed(3)}, ${along(band[1], state.steps).toFixed(3)}]`, at);
    say("lost", `${(best - at).toFixed(3)} (clean ${best.toFixed(3)})`, best - at);
    const point = 0.01;
    const gain = (name) => worth(state.rate, ...["fpr", "fnr"].map((one) => Math.max(0, state[one] - (one === name ? point : 0))), state.rollouts, state.shared) - few;
    const [fp, fn] = [gain("fpr"), gain("fnr")];
    const more = Math.abs(fp - fn) < 5e-4 ? "no difference" : fp > fn ? "false positives" : "false negatives";
    say("error", `${more}: a point less of fpr gains ${fp.toFixed(3)} effective rollouts, of fnr ${fn.toFixed(3)}`, more);
    // Steps at which the noisy arm is where the clean one is at the chosen ones.
    let reached = null;
    if (at >= best - 1e-9) reached = state.steps;
    else for (let k = 0, fine = 400; k < fine; k++) {
      const step = state.steps + (steps[last] - state.steps) * (k + 1) / fine;
      if (along(noisy, step) >= best) { reached = step; break; }
    }
    const price = reached === null || !state.steps ? null : reached / state.steps;
    say("price", price === null ? `not within ${steps[last].toFixed(0)} steps` : `${price.toFixed(2)} times the steps`, price);
    draw(noisy, clean, band);
  };
  const home = place.querySelector(".plot");
  const size = () => { const width = Math.max(200, home.clientWidth); return { width, height: Math.round(Math.max(240, Math.min(360, width * 0.5))) }; };
  const draw = (noisy, clean, [low, high]) => {
    const data = [steps, clean, noisy, high, low];
    if (chart) return chart.setData(data);
    const axis = { stroke: () => css("--soft"), grid: { stroke: () => css("--line"), width: 1 }, ticks: { stroke: () => css("--line"), width: 1 }, font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif" };
    const edge = { stroke: "transparent", points: { show: false } };
    chart = new uPlot({
      ...size(), legend: { show: false },
      scales: { x: { time: false }, y: { range: [0, 1] } },
      series: [{}, { stroke: () => css("--ink"), width: 1.8, points: { show: false } },
        { stroke: () => css("--persists"), width: 2, dash: [7, 3], points: { show: false } }, edge, edge],
      bands: [{ series: [3, 4], fill: "rgba(200, 80, 50, .18)" }],
      axes: [{ ...axis, label: "optimiser steps", labelSize: 20 }, { ...axis, label: "accuracy", size: 50, labelSize: 18 }],
      hooks: { drawClear: [(plot) => {
        const x = plot.valToPos(state.steps, "x", true), { ctx, bbox } = plot;
        ctx.save(); ctx.strokeStyle = css("--soft"); ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]); ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke(); ctx.restore();
      }] },
    }, data, home);
  };

  for (const input of inputs) {
    input.addEventListener("input", () => {
      const name = input.dataset.of;
      state[name] = name === "optimiser" ? input.value : name === "rollouts" ? sizes[Number(input.value)] : Number(input.value);
      toUrl();
      show();
    });
  }
  place.querySelector("button").addEventListener("click", () => { state = start(); toUrl(); show(); });
  // A link within the page takes the state's place in the URL: it comes back, where there is one.
  addEventListener("hashchange", (event) => {
    if (location.hash.includes("=")) { fromUrl(); show(); }
    else if (new URL(event.oldURL).hash.includes("=")) toUrl();
  });
  fromUrl();
  show();
  let wide = place.clientWidth;
  new ResizeObserver(() => { if (place.clientWidth !== wide) { wide = place.clientWidth; chart.setSize(size()); } }).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
})();
