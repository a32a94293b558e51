// The page without a server: hover values on the plots, and a browser for the answers.
// Text from a run is written with textContent only; nothing here parses HTML or fetches anything.

function make(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "text") node.textContent = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

/* ---------- plots: the nearest step under the pointer, in every plot at once ---------- */

const plots = [...document.querySelectorAll("figure[data-plot]")].map((figure) => {
  const data = JSON.parse(figure.dataset.plot);
  const values = [...figure.querySelectorAll(".legend b")];
  const at = figure.querySelector(".at");
  return { data, values, at, svg: figure.querySelector("svg"), note: at.textContent,
           last: values.map((value) => value.textContent) };
});

function show(plot, step) {
  const { data, svg } = plot;
  const cursor = svg.querySelector(".cursor");
  cursor.replaceChildren();
  if (step === null) {
    plot.values.forEach((value, i) => { value.textContent = plot.last[i]; });
    plot.at.textContent = plot.note;
    return;
  }
  const [first, last] = data.steps;
  const [left, right, top, bottom] = data.box;
  let shown = null;
  data.lines.forEach((line, i) => {
    const near = line.reduce((a, b) => (Math.abs(b[0] - step) < Math.abs(a[0] - step) ? b : a));
    plot.values[i].textContent = format(near[1], data.rates);
    if (shown === null || Math.abs(near[0] - step) < Math.abs(shown - step)) shown = near[0];
  });
  plot.at.textContent = "step " + Math.round(shown);
  const across = last > first ? (shown - first) / (last - first) : 0.5;
  const x = left + Math.min(Math.max(across, 0), 1) * (right - left);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", `M${x} ${top}V${bottom}`);
  cursor.append(line);
}

function format(value, rates) {
  if (rates) return (100 * value).toFixed(1) + " %";
  const size = Math.abs(value);
  if (size === 0 || (size >= 1e-3 && size < 1e3)) return String(+value.toPrecision(3));
  return size >= 1e3 && size < 1e4 ? value.toFixed(0) : value.toExponential(1).replace(".0e", "e").replace("e+", "e");
}

for (const plot of plots) {
  const [first, last] = plot.data.steps;
  const [left, right] = plot.data.box;
  let step = last;
  const everywhere = (value) => plots.forEach((other) => show(other, value));
  plot.svg.addEventListener("pointermove", (event) => {
    const area = plot.svg.getBoundingClientRect();
    const x = ((event.clientX - area.left) / area.width) * plot.svg.viewBox.baseVal.width;
    step = first + Math.min(Math.max((x - left) / (right - left), 0), 1) * (last - first);
    everywhere(step);
  });
  plot.svg.addEventListener("pointerleave", () => everywhere(null));
  plot.svg.addEventListener("blur", () => everywhere(null));
  plot.svg.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way) return;
    event.preventDefault();
    step = Math.min(Math.max(step + (way * (last - first)) / 50, first), last);
    everywhere(step);
  });
}

// On paper nobody can open it.
addEventListener("beforeprint", () => document.querySelector(".reading")?.setAttribute("open", ""));
