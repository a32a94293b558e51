// The page without a server: hover values on the plots, and a browser for the answers.
// Text from a run is written with textContent only; nothing here parses HTML or fetches anything.
"use strict";

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

/* ---------- answers: one card for each pair and mode, before and after together ---------- */

const { images, rows } = JSON.parse(document.getElementById("data").textContent);
const section = document.getElementById("samples");
if (section) browse(section);

function browse(section) {
  const groups = new Map();
  for (const row of rows) {
    const key = JSON.stringify([row.id, row.mode]);
    if (!groups.has(key)) groups.set(key, { id: row.id, mode: row.mode, rows: [], words: "" });
    groups.get(key).rows.push(row);
  }
  const pairs = [...groups.values()];
  for (const pair of pairs) {
    const order = { before: 0, after: 1 };
    pair.rows.sort((a, b) => (order[a.phase] ?? 2) - (order[b.phase] ?? 2));
    pair.words = pair.rows.map((r) => [r.id, r.prompt, r.response, r.answer, r.expected].join(" "))
      .join(" ").toLowerCase();
  }

  let unveiled = false;
  let found = pairs;
  let open = -1;
  let shown = 60;

  /* filters */
  const distinct = (key) => [...new Set(rows.map((row) => row[key]).filter(Boolean))];
  const select = (name, label, options, first) => make("label", {}, label,
    make("select", { name, onchange: refilter }, make("option", { value: "", text: "all" }),
      ...options.map(([value, text]) => make("option", { value, text, selected: value === first }))));
  const same = (values) => values.map((value) => [value, value]);
  const search = make("input", { type: "search", name: "words", placeholder: "words in prompt or answer", oninput: refilter });
  const veil = make("input", { type: "checkbox", onchange: () => { unveiled = veil.checked; list(); } });
  const filters = make("form", { class: "filters", role: "search", onsubmit: (e) => e.preventDefault() },
    make("label", { class: "wide" }, "Search", search),
    // One mode at first, or every question would stand in the list twice.
    select("mode", "Mode", same(distinct("mode")), "guided"),
    select("phase", "Phase", same(distinct("phase"))),
    select("kind", "Kind", same(distinct("kind").sort())),
    select("verdict", "Verdict", same(distinct("verdict"))),
    select("outcome", "Outcome", [["right", "right"], ["wrong", "wrong"], ["fixed", "wrong, then right"], ["broken", "right, then wrong"]]),
    make("label", { class: "tick" }, veil, "Show unsafe images"),
    make("button", { class: "button", type: "reset", text: "Clear", onclick: () => setTimeout(() => { unveiled = veil.checked; refilter(); }) }));
  const count = make("p", { class: "count", role: "status" });
  const cards = make("div", { class: "cards" });
  const more = make("button", { class: "button more", type: "button", text: "Show more", onclick: () => { shown += 120; list(); } });
  section.append(filters, count, cards, more);

  function refilter() {
    const want = Object.fromEntries(new FormData(filters));
    const words = (want.words || "").toLowerCase().split(/\s+/).filter(Boolean);
    found = pairs.filter((pair) => {
      if (!words.every((word) => pair.words.includes(word))) return false;
      const change = changed(pair);
      if (want.outcome === "fixed" || want.outcome === "broken") {
        if (change !== want.outcome) return false;
      }
      // The other filters must hold together for one answer of the pair, not for each somewhere.
      return pair.rows.some((row) =>
        ["mode", "phase", "kind", "verdict"].every((key) => !want[key] || row[key] === want[key]) &&
        (want.outcome === "right" ? row.correct === true : want.outcome === "wrong" ? row.correct === false : true));
    });
    shown = 60;
    list();
  }

  function changed(pair) {
    const before = pair.rows.find((row) => row.phase === "before");
    const after = pair.rows.find((row) => row.phase === "after");
    if (!before || !after || before.correct === after.correct) return null;
    return after.correct ? "fixed" : "broken";
  }

  function list() {
    count.textContent = `${found.length} of ${pairs.length} questions`;
    cards.replaceChildren(...found.slice(0, shown).map((pair, i) => card(pair, i)));
    more.hidden = found.length <= shown;
  }

  function card(pair, i) {
    const row = pair.rows[0];
    const went = make("span", { class: "went" });
    pair.rows.forEach((r, j) => went.append(...(j ? [make("span", { "aria-hidden": "true", text: "→" })] : []), verdict(r)));
    return make("button", { class: "card", type: "button", onclick: () => detail(i) },
      thumb(row),
      make("span", { class: "ask", text: row.prompt || "(no text)" }),
      make("span", { class: "meta", text: [row.kind, pair.mode, pair.id].filter(Boolean).join(" · ") }),
      went);
  }

  function verdict(row) {
    const mark = row.correct === true ? " ✓" : row.correct === false ? " ✗" : "";
    const said = row.correct === true ? ", right" : row.correct === false ? ", wrong" : "";
    return make("span", { class: "chip " + (row.correct === true ? "yes" : row.correct === false ? "no" : ""),
      "aria-label": `${row.phase}: ${row.verdict}${said}`, text: (row.verdict || "?") + mark });
  }

  const unsafe = (row) => !!row.target && row.target.visual === "unsafe" && !unveiled;

  function picture(key, alt) {
    const image = make("img", { src: images[key], alt, loading: "lazy", decoding: "async" });
    const sharpen = () => image.classList.toggle("pixel", image.naturalWidth <= 128);
    image.addEventListener("load", sharpen);
    return image;
  }

  function thumb(row) {
    if (!row.images.length) return make("span", { class: "thumb", text: row.missing.length ? "not shown" : "no image" });
    return make("span", { class: "thumb" + (unsafe(row) ? " veiled" : "") }, picture(row.images[0], ""));
  }

  /* one pair, opened */
  const head = make("div", { class: "bar-top" });
  const body = make("div", { class: "detail" });
  const dialog = make("dialog", { "aria-label": "Answer" }, head, body);
  dialog.addEventListener("close", () => {
    open = -1;
    history.replaceState(null, "", location.pathname + location.search);
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (way && found[open + way]) { event.preventDefault(); detail(open + way); }
  });
  document.body.append(dialog);

  function detail(i) {
    const pair = found[i];
    open = i;
    const row = pair.rows[0];
    const link = "#" + new URLSearchParams({ sample: pair.id, mode: pair.mode });
    history.replaceState(null, "", link);
    const button = (text, onclick, extra) => make("button", { class: "button", type: "button", text, onclick, ...extra });
    const modes = pairs.filter((other) => other.id === pair.id);
    const close = button("Close", () => dialog.close());
    head.replaceChildren(
      make("h2", { text: pair.id }, make("small", { text: `${row.kind} · ${i + 1} of ${found.length}` })),
      ...(modes.length > 1 ? modes.map((other) => button(other.mode, () => go(other), { "aria-pressed": String(other === pair) })) : []),
      button("← Previous", () => detail(i - 1), { disabled: i === 0 }),
      button("Next →", () => detail(i + 1), { disabled: i + 1 >= found.length }),
      button("Copy JSON", (e) => copy(JSON.stringify(pair.rows.map(plain), null, 2), e.target)),
      button("Copy link", (e) => copy(location.href.split("#")[0] + link, e.target)),
      close);
    const left = make("div", {},
      ...row.images.map((key, n) => frame(key, row, n)),
      ...row.missing.map((why) => make("p", { class: "count", text: why })),
      make("h4", { text: "Prompt" }), make("p", { class: "text prompt", text: row.prompt }),
      row.expected == null ? null : make("h4", { text: "Expected" }),
      row.expected == null ? null : make("p", { class: "text", text: row.expected }),
      row.target ? make("h4", { text: "Right tags" }) : null,
      row.target ? targets(row.target) : null);
    body.replaceChildren(left, make("div", { class: "sides" }, ...pair.rows.map(side)));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    close.focus({ preventScroll: true });
  }

  function go(pair) {
    // The other mode under the same filters if they let it through, else without any.
    for (const widen of [false, true]) {
      if (found.includes(pair)) break;
      if (widen) filters.reset();
      filters.elements.mode.value = pair.mode;
      refilter();
    }
    detail(found.indexOf(pair));
  }

  function plain(row) {
    const { images: _, missing: __, ...rest } = row;
    return rest;
  }

  function frame(key, row, n) {
    const box = make("div", { class: "picture" + (unsafe(row) ? " veiled" : "") }, picture(key, `Image ${n + 1} of the pair`));
    if (unsafe(row)) {
      const reveal = make("button", { class: "button", type: "button", text: "Marked unsafe: show it",
        onclick: () => { box.classList.remove("veiled"); reveal.remove(); } });
      box.append(reveal);
    }
    return box;
  }

  const names = { visual: "Image", text: "Text", combined: "Together" };

  function tag(value) {
    return make("span", { class: "tag " + (value === "safe" || value === "unsafe" ? value : ""), text: value == null ? "none" : value });
  }

  function targets(target) {
    return make("table", { class: "tags" }, ...Object.keys(names).filter((key) => target[key] != null)
      .map((key) => make("tr", {}, make("th", { scope: "row", text: names[key] }), make("td", {}, tag(target[key])))));
  }

  function side(row) {
    const { thought, answer } = split(row);
    const target = row.target || {};
    const tags = row.tags && Object.keys(row.tags).length ? make("table", { class: "tags" },
      ...Object.keys(names).map((key) => {
        const right = target[key] == null ? null : target[key] === row.tags[key];
        return make("tr", {}, make("th", { scope: "row", text: names[key] }), make("td", {}, tag(row.tags[key])),
          make("td", { class: right ? "yes-mark" : "no-mark", text: right === null ? "" : right ? "✓ right" : "✗ wrong" }));
      })) : null;
    const rewards = Object.entries(row.rewards).map(([name, value]) => `${name} ${format(value, false)}`).join(" · ");
    return make("article", { class: "side " + (row.phase === "after" ? "after" : "before") },
      make("h3", { text: row.phase ? row.phase[0].toUpperCase() + row.phase.slice(1) : "Answer" }, verdict(row)),
      thought ? make("h4", { text: "Thinking" }) : null,
      thought ? coloured(thought) : null,
      make("h4", { text: "Answer" }),
      make("p", { class: "text answer", text: answer || "(empty)" }),
      tags ? make("h4", { text: "Tags written, against the right ones" }) : null, tags,
      rewards ? make("h4", { text: "Reward" }) : null, rewards ? make("p", { text: rewards }) : null,
      row.faults.length ? make("h4", { text: "Faults" }) : null,
      row.faults.length ? make("p", {}, ...row.faults.map((fault) => make("span", { class: "chip no", text: fault }))) : null);
  }

  // Where thinking ends and the answer begins, for reading only: the verdict is the run's own.
  function split(row) {
    const text = row.response;
    const end = text.lastIndexOf("</think>");
    const start = text.indexOf("<answer>", Math.max(end, 0));
    const cut = end >= 0 ? end : start;
    const thought = cut >= 0 ? text.slice(0, cut).replace(/^\s*<think>/, "").trim() : "";
    let answer = row.answer;
    if (answer == null) {
      answer = start >= 0 ? text.slice(start + 8).replace(/<\/answer>\s*$/, "")
        : end >= 0 ? text.slice(end + 8) : text;
    }
    return { thought, answer: answer.trim() };
  }

  function coloured(text) {
    const node = make("p", { class: "text thought" });
    const pattern = /<(visual|text|combined)_safe>\s{0,20}(safe|unsafe)\s{0,20}<\/\1_safe>/g;
    let from = 0;
    for (const match of text.matchAll(pattern)) {
      node.append(text.slice(from, match.index),
        make("span", { class: "tag " + match[2], text: `${names[match[1]]}: ${match[2]}` }));
      from = match.index + match[0].length;
    }
    node.append(text.slice(from));
    return node;
  }

  function copy(text, button) {
    const done = (said) => {
      const label = button.textContent;
      button.textContent = said;
      setTimeout(() => { button.textContent = label; }, 1200);
    };
    const byHand = () => {
      const area = make("textarea", {});
      area.value = text;
      dialog.append(area);
      area.select();
      const worked = document.execCommand("copy");
      area.remove();
      done(worked ? "Copied" : "Not copied");
    };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => done("Copied"), byHand);
    else byHand();
  }

  function follow() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    if (!wanted.has("sample")) return;
    const pair = pairs.find((p) => p.id === wanted.get("sample") && (!wanted.get("mode") || p.mode === wanted.get("mode")));
    if (pair) go(pair);
  }

  refilter();
  follow();
  addEventListener("hashchange", follow);
}
