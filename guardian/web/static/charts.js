// Charts that answer to the pointer, in the place of the drawn ones. Without this script, or without
// uPlot, the drawn ones stay.
"use strict";
(() => {
  if (typeof uPlot === "undefined") return;
  const sizes = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

  function size(value) {
    let place = 0;
    while (value >= 999.5 && place < sizes.length - 1) { value /= 1024; place += 1; }
    return `${value.toFixed(place === 0 || value >= 99.95 ? 0 : value < 9.995 ? 2 : 1)} ${sizes[place]}`;
  }

  function duration(value) {
    if (value < 10) return `${Number(value.toFixed(1))}s`;
    let rest = Math.round(value);
    const words = [];
    for (const [unit, long] of [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]]) {
      const count = Math.floor(rest / long);
      rest -= count * long;
      if (count) words.push(count + unit);
    }
    return words.slice(0, 2).join(" ") || "0s";
  }

  const forms = {
    bytes: size,
    seconds: duration,
    percent: (value) => `${Number(value.toFixed(1))}%`,
    count: (value) => Math.round(value).toLocaleString(),
    intervals: (value) => String(Number(value.toFixed(1))),
  };
  // Steps that fall on round numbers of the unit.
  const steps = {
    bytes: [...Array(50).keys()].map((power) => 2 ** power),
    seconds: [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800],
  };

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    return { accent: of("accent"), second: of("second"), line: of("line"), faint: of("faint") };
  }

  function draw(figure) {
    const { unit, series } = JSON.parse(figure.dataset.chart);
    const lines = series.filter((one) => one[2].length);
    const numbers = (found) => [found[0][2].map((point) => point[0]), ...found.map((one) => one[2].map((point) => point[1]))];
    const svg = figure.querySelector(".plot");
    if (!lines.length || !svg) return;
    const paint = colours();
    const form = forms[unit] || String;
    const axis = { stroke: paint.faint, grid: { stroke: paint.line, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const values = { ...axis, size: 70, values: (_, splits) => splits.map(form) };
    if (steps[unit]) values.incrs = steps[unit];
    const plot = new uPlot({
      width: figure.clientWidth - 24,
      height: 210,
      cursor: { y: false, points: { size: 7 } },
      scales: { y: { range: (_, low, high) => [0, (high || 1) * 1.08] } },
      axes: [axis, values],
      series: [
        { label: "at", value: (_, at) => (at == null ? "–" : new Date(at * 1000).toLocaleString()) },
        ...lines.map(([kind, label]) => ({
          label, stroke: paint[kind] || paint.accent, width: 1.6, points: { show: false },
          value: (_, value) => (value == null ? "–" : form(value)),
        })),
      ],
    }, numbers(lines), (made, ready) => { svg.before(made.root); ready(); });
    svg.style.display = "none";
    // Where nobody points, the legend tells the last values.
    const rest = () => plot.setLegend({ idx: plot.data[0].length - 1 });
    plot.over.addEventListener("mouseleave", () => setTimeout(rest, 50));
    setTimeout(rest, 50);
    plot.root.setAttribute("aria-hidden", "true");
    figure.setAttribute("data-drawn", "");
    figure.addEventListener("redraw", () => {
      const found = JSON.parse(figure.dataset.chart).series.filter((one) => one[2].length);
      if (found.length === lines.length) plot.setData(numbers(found));
    });
    new ResizeObserver(() => {
      const width = figure.clientWidth - 24;
      if (width > 0 && Math.abs(width - plot.width) > 2) plot.setSize({ width, height: 210 });
    }).observe(figure);
  }

  const figures = [...document.querySelectorAll("[data-chart]")];
  figures.forEach(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => location.reload());
})();
