/* ---------- answers: filters over a table of numbers, and a list of which only a screenful exists ---------- */

const index = JSON.parse(document.getElementById("index").textContent);
const section = document.getElementById("samples");
if (section && index.items) browse(section, index);

function browse(section, { blockRows, items, item, sample, facets }) {
  const count = item.length;
  const ROW = 62; // pixels of a row of the list, as in the style sheet
  const column = Object.fromEntries(facets.map((facet) => [facet.key, facet]));
  const words = (key, row) => column[key].values[column[key].codes[row]];
  const search = searcher(count, blockRows);
  let found = Array.from({ length: count }, (_, row) => row);
  let at = -1; // place in `found` of the answer that is shown
  let asked = 0; // number of the latest filtering, so that an older one cannot overtake it
  let waiting = false;

  /* filters */

  const selects = facets.map((facet) => {
    const options = [...new Set(facet.values.flat())].sort();
    const select = make("select", { name: facet.key, onchange: () => filter() },
      make("option", { value: "", text: "all" }),
      ...options.map((option, i) => make("option", { value: String(i), text: option })));
    // Which of the facet's codes hold the chosen option: a row is then one look-up.
    const passes = () => (select.value === "" ? null
      : facet.values.map((held) => held.includes(options[Number(select.value)])));
    const label = make("label", {}, facet.label, select);
    label.hidden = options.length < 2 && facet.key !== "odd" && facet.key !== "verdict";
    if (!options.length) label.hidden = true;
    return { facet, select, passes, label };
  });
  const box = make("input", { type: "search", name: "words", autocomplete: "off", placeholder: "words in question, answer or reason" });
  let typing = 0;
  box.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(filter, 250); });
  const form = make("form", { class: "filters", role: "search", "aria-label": "Filter answers",
    onsubmit: (event) => { event.preventDefault(); clearTimeout(typing); filter(); } },
    make("label", { class: "wide" }, "Search", box), ...selects.map((one) => one.label),
    make("button", { class: "button", type: "reset", text: "Clear", onclick: () => setTimeout(filter) }));
  const unblur = make("button", { class: "button", type: "button", "aria-pressed": "false", text: "Show images unblurred",
    onclick: () => { veil(!unveiled()); } });
  const status = make("p", { class: "count", role: "status" });

  // With `open`, an answer that is not in the selection makes way for the first that is.
  async function filter(open = true) {
    const mine = (asked += 1);
    const wanted = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (wanted.length) {
      waiting = true;
      status.textContent = "Searching…";
      await search.prepare(() => waiting);
      waiting = false;
      if (mine !== asked) return;
    }
    const tests = selects.map((one) => [one.facet.codes, one.passes()]).filter((test) => test[1]);
    const kept = at >= 0 ? found[at] : -1;
    found = [];
    for (let row = 0; row < count; row += 1) {
      if (tests.every(([codes, pass]) => pass[codes[row]]) && (!wanted.length || search.has(row, wanted))) found.push(row);
    }
    at = found.indexOf(kept);
    status.textContent = `${found.length.toLocaleString("en")} of ${count.toLocaleString("en")} answers`;
    list.scrollTop = at >= 0 ? at * ROW - list.clientHeight / 2 : 0;
    if (at >= 0 || !open) { draw(); detail.moved(at, found.length); }
    else if (found.length) show(0, true);
    else { draw(); detail.clear(); }
  }

  /* the list */

  const sheet = make("div", { class: "sheet", role: "presentation" });
  const list = make("div", { class: "list", role: "listbox", tabindex: "0", "aria-label": "Answers", id: "list" }, sheet);
  let drawn = "";

  function draw() {
    sheet.style.height = `${found.length * ROW}px`;
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
    const last = Math.min(found.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 4);
    const state = [first, last, at, asked].join();
    if (state === drawn) return;
    drawn = state;
    const rows = [];
    for (let place = first; place < last; place += 1) rows.push(entry(place));
    sheet.replaceChildren(...rows);
    if (at >= first && at < last) list.setAttribute("aria-activedescendant", `row-${at}`);
    else list.removeAttribute("aria-activedescendant");
  }

  function entry(place) {
    const row = found[place];
    const [, id, start, category] = items[item[row]]; // a category only where the prompt says nothing
    const made = [...words("run", row), ...words("mode", row), ...words("benchmark", row)];
    const where = (category === undefined ? [...made, id] : [id, category, ...made]).filter(Boolean).join(" · ");
    const node = make("div", { class: "entry", role: "option", id: `row-${place}`, "aria-selected": String(place === at),
      "aria-posinset": String(place + 1), "aria-setsize": String(found.length), onclick: () => show(place) },
      make("span", { class: "ask", text: start || (category === undefined ? "(no text)" : id) }), make("span", { class: "meta", text: where }),
      make("span", { class: "went" }, 
        ...[...new Set(words("verdict", row).map((said) => said.slice(said.indexOf(": ") + 2)))].slice(0, 2)
          .map((said) => make("span", { class: "chip", text: said })),
        words("odd", row).length ? make("span", { class: "chip odd", text: "≠", "aria-label": "disagreement", title: words("odd", row).join("; ") }) : null));
    node.style.transform = `translateY(${place * ROW}px)`;
    return node;
  }

  let frame = 0;
  list.addEventListener("scroll", () => { if (!frame) frame = requestAnimationFrame(() => { frame = 0; draw(); }); });
  addEventListener("resize", draw);

  function reveal(place) {
    const top = place * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  }

  /* one answer, and the way to it */

  const link = (row) => "#s=" + [words("run", row)[0], ...items[item[row]].slice(0, 2), words("mode", row)[0], sample[row]]
    .map((part) => encodeURIComponent(part ?? "")).join("/");
  const detail = makeDetail({
    link, step: (way) => show(at + way), jump: (row) => go(row),
    name: (row) => ({ run: words("run", row)[0], benchmark: items[item[row]][0], title: words("benchmark", row)[0], id: items[item[row]][1],
                      mode: words("mode", row)[0], sample: sample[row], odd: words("odd", row) }),
    load: (row) => rowTexts(row, blockRows),
    // Answers to one item lie beside each other.
    kin: (row) => {
      let first = row, last = row;
      while (first > 0 && item[first - 1] === item[row]) first -= 1;
      while (last + 1 < count && item[last + 1] === item[row]) last += 1;
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    },
  });

  function show(place, quietly) {
    if (place < 0 || place >= found.length) return;
    at = place;
    reveal(place);
    draw();
    detail.show(found[place], place, found.length);
    if (quietly) return;
    history.replaceState(null, "", link(found[place]));
    const top = detail.node.getBoundingClientRect().top;
    // On a phone it stands below the list.
    if (top > innerHeight * 0.8) detail.node.scrollIntoView();
  }

  function go(row) {
    if (!found.includes(row)) {
      form.reset();
      found = Array.from({ length: count }, (_, i) => i);
      filter(false);
    }
    show(found.indexOf(row));
  }

  function follow() {
    if (!location.hash.startsWith("#s=")) return;
    let wanted; // compared decoded, for mail and chat programs encode links in their own ways
    try { wanted = location.hash.slice(3).split("/").map(decodeURIComponent).join("\n"); } catch { wanted = null; }
    for (let row = 0; row < count; row += 1) {
      if (link(row).slice(3).split("/").map(decodeURIComponent).join("\n") === wanted) {
        go(row);
        section.scrollIntoView();
        return;
      }
    }
    status.textContent = "The linked answer is not in this page";
  }

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, pre, summary, [data-plot]")) return;
    const inside = list.contains(event.target) || detail.node.contains(event.target);
    const way = { j: 1, k: -1, ...(inside || event.target === document.body ? { ArrowRight: 1, ArrowLeft: -1 } : {}),
                  ...(event.target === list ? { ArrowDown: 1, ArrowUp: -1 } : {}) }[event.key];
    if (!way) return;
    event.preventDefault();
    show(at < 0 ? 0 : Math.min(Math.max(at + way, 0), found.length - 1));
  });

  section.append(form, make("div", { class: "above" }, status, unblur), make("div", { class: "panes" }, list, detail.node));
  function unveiled() { return section.classList.contains("unveiled"); }
  function veil(show) {
    section.classList.toggle("unveiled", show);
    unblur.setAttribute("aria-pressed", String(show));
  }
  const linked = location.hash.startsWith("#s=");
  filter(!linked);
  addEventListener("hashchange", follow);
  if (linked) follow();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
  const later = () => setTimeout(() => search.prepare(() => waiting), 1500);
  if (document.readyState === "complete") later(); else addEventListener("load", later);
}
