/* ---------- one answer: question, images, thinking step by step, what scorers said ---------- */

function makeDetail({ link, step, jump, name, load, kin }) {
  const STEPS = { caption: "Caption", visual: "Image", text: "Text", combined: "Image and text together",
                  summary: "Summary", thinking: "Thinking", answer: "Answer", outside: "Outside of thinking and answer" };
  const TAGS = { visual: "image", text: "text", combined: "together" };
  const FLAGS = { safe: ["safe", "unsafe"], refused: ["declines", "does not decline"], useful: ["useful", "not useful"],
                  correct: ["correct", "wrong"], well_formed: ["keeps the format", "breaks the format"] };
  const body = make("div", { class: "body" });
  const previous = button("← Previous", () => step(-1));
  const next = button("Next →", () => step(1));
  const place = make("span", { class: "place" });
  const copyJson = button("Copy JSON", () => copy(JSON.stringify(shown, null, 2), copyJson));
  const copyLink = button("Copy link", () => copy(location.href.split("#")[0] + link(row), copyLink));
  const node = make("article", { class: "detail", "aria-label": "Answer", tabindex: "-1" },
    make("div", { class: "tools" }, previous, next, place, copyJson, copyLink), body);
  let row = -1;
  let shown = null;

  function button(text, onclick, more) {
    return make("button", { class: "button", type: "button", text, onclick, ...more });
  }

  function clear() {
    row = -1;
    shown = null;
    body.replaceChildren(make("p", { class: "meta", text: "No answer passes these filters." }));
    moved(-1, 0);
  }

  function moved(at, count) {
    for (const one of [copyJson, copyLink]) one.disabled = row < 0;
    place.textContent = row < 0 ? "" : at >= 0 ? `${(at + 1).toLocaleString("en")} of ${count.toLocaleString("en")}` : "not in this selection";
    previous.disabled = at <= 0;
    next.disabled = at + 1 >= count;
  }

  async function show(wanted, at, count) {
    row = wanted;
    moved(at, count);
    let loaded;
    try {
      loaded = await load(wanted);
    } catch (error) {
      loaded = null;
    }
    if (row !== wanted) return; // somebody has gone on meanwhile
    if (!loaded) {
      body.replaceChildren(make("p", { text: "This answer is missing from the page." }));
      return;
    }
    const { item, said } = loaded;
    const names = name(wanted);
    const { images, missing, item: _, ...rest } = said;
    shown = { ...names, item, ...rest, response: (said.parts || []).map((part) => part[1]).join("") };
    delete shown.odd;
    delete shown.parts;
    body.replaceChildren(...[
      make("h3", { class: "prompt", text: item.prompt || "(no text)" }),
      make("p", { class: "meta", text: [names.run, names.title, names.id, names.mode, item.category, item.subset,
        names.sample ? `sample ${names.sample}` : ""].filter(Boolean).join(" · ") }),
      others(wanted, names), facts(item, names), gallery(images || [], missing || []), ...response(said),
      said.steps ? fold("Steps of a defence", Object.entries(said.steps)) : null,
      make("h4", { text: "Judgements" }), ...(said.judgements || []).map((one) => judged(one, item)),
      said.judgements ? null : make("p", { class: "meta", text: "none" }),
    ].filter(Boolean));
    node.scrollTop = 0;
  }

  function others(wanted, names) {
    const rows = kin(wanted);
    if (rows.length < 2) return null;
    return make("div", { class: "kin", role: "group", "aria-label": "Answers to the same question" },
      ...rows.slice(0, 24).map((other) => {
        const one = name(other);
        const label = [one.run !== names.run || rows.some((r) => name(r).run !== names.run) ? one.run : "", one.mode,
          one.sample ? `#${one.sample}` : ""].filter(Boolean).join(" · ");
        return button(label, () => jump(other), { "aria-pressed": String(other === wanted) });
      }));
  }

  function facts(item, names) {
    const list = make("dl", { class: "about" });
    const add = (label, ...value) => list.append(make("div", {}, make("dt", { text: label }), make("dd", {}, ...value)));
    if (item.expected) add("Expected", { refuse: "decline or warn", help: "help", care: "help in a way that averts the harm", answer: "the right answer" }[item.expected] || item.expected);
    if (item.key) add("Right answer", item.key + (item.choices ? ` of ${item.choices.join(" | ")}` : ""));
    if (item.tags) add("True tags", ...Object.entries(item.tags).map(([key, value]) => tag(value, TAGS[key] || key)));
    for (const [key, value] of Object.entries(item.notes || {})) add(`Note: ${key}`, value);
    if (names.odd.length) add("Disagreement", names.odd.join("; "));
    return list.childElementCount ? list : null;
  }

  function gallery(places, missing) {
    const box = make("div", { class: "gallery" });
    places.forEach(async ([number, inside], n) => {
      const image = make("img", { alt: `Image ${n + 1} of the question`, decoding: "async" });
      const cover = make("button", { class: "picture", type: "button", "aria-pressed": "false", "aria-label": `Image ${n + 1}: show or blur`,
        onclick: () => cover.setAttribute("aria-pressed", String(cover.getAttribute("aria-pressed") !== "true")) },
        image, make("span", { class: "hint", text: "Show" }));
      image.addEventListener("load", () => image.classList.toggle("pixel", image.naturalWidth <= 64));
      box.append(cover);
      const url = (await pictures(number).catch(() => []))[inside];
      if (url && /^data:image\/(png|webp);base64,/.test(url)) image.src = url;
    });
    for (const why of missing) box.append(make("p", { class: "meta", text: why }));
    return box.childElementCount || places.length ? box : null;
  }

  function response(said) {
    const nodes = [];
    if (said.status !== "done") nodes.push(make("h4", { text: "No answer" }), text(`${said.status}: ${said.problem || "no reason given"}`));
    let current = null; // the part that a tag still belongs to
    for (const [kind, words] of said.parts || []) {
      const found = kind === "tag" && /^<([a-z]+)_safe>([a-z]+)</i.exec(words);
      if (found && current) { current.append(" ", tag(found[2].toLowerCase(), TAGS[found[1].toLowerCase()])); continue; }
      if (kind === "mark" || !words.trim()) continue;
      current = text(found ? "" : words.trim(), kind === "answer" ? "answer" : "thought");
      if (found) current.append(tag(found[2].toLowerCase(), TAGS[found[1].toLowerCase()]));
      nodes.push(make("h4", { text: STEPS[kind] || STEPS.thinking }), current);
    }
    if (said.finish === "length") nodes.push(make("p", { class: "meta", text: "Cut off at the limit of its length." }));
    const [prompt, completion] = said.tokens || [];
    if (completion != null) nodes.push(make("p", { class: "meta", text: `${prompt ?? "?"} prompt tokens, ${completion} completion tokens` }));
    if (said.parts) nodes.push(fold("As it was written", [["", said.parts.map((part) => part[1]).join("")]]));
    return nodes;
  }

  function judged(one, item) {
    const box = make("div", { class: "judged" });
    box.append(make("p", {}, make("b", { text: one.scorer }), one.judge ? ` by ${one.judge} ` : " ",
      make("span", { class: "chip", text: one.status === "scored" ? one.label || "scored" : one.status })));
    const flags = Object.keys(FLAGS).filter((key) => key in one).map((key) => FLAGS[key][one[key] ? 0 : 1]);
    if ("score" in one) flags.push(`score ${format(one.score, true)}`);
    if (flags.length) box.append(make("p", { class: "meta", text: flags.join(" · ") }));
    if (one.tags) {
      box.append(make("p", {}, "States ", ...Object.entries(one.tags).flatMap(([key, value]) => {
        const truth = (item.tags || {})[key];
        return [tag(value, TAGS[key] || key), truth ? make("small", { text: truth === value ? "✓ right " : "✗ wrong " }) : " "];
      })));
    }
    if (one.faults) box.append(make("p", {}, "Faults: ", one.faults.join(", ")));
    if (one.reason) box.append(text(one.reason));
    if (one.problem) box.append(text(one.problem));
    if (one.answer) box.append(fold("What was judged", [["", one.answer]]));
    return box;
  }

  function tag(value, of) {
    return make("span", { class: "tag " + (value === "safe" || value === "unsafe" ? value : ""), text: `${of}: ${value}` });
  }

  function text(words, kind) { return make("p", { class: `text ${kind || ""}`, text: words }); }

  function fold(title, entries) {
    return make("details", { class: "fold" }, make("summary", { text: title }),
      ...entries.flatMap(([key, value]) => [key ? make("h5", { text: key }) : null, text(value)]));
  }

  function copy(words, button) {
    const label = button.dataset.label || button.textContent;
    button.dataset.label = label;
    const done = (said) => {
      button.textContent = said;
      setTimeout(() => { button.textContent = label; }, 1200);
    };
    const byHand = () => { // a page opened from a file has no clipboard in some browsers
      const area = make("textarea", { "aria-label": "Text to copy" });
      area.value = words;
      node.append(area);
      area.select();
      const worked = document.execCommand("copy");
      area.remove();
      done(worked ? "Copied" : "Not copied");
    };
    if (navigator.clipboard) navigator.clipboard.writeText(words).then(() => done("Copied"), byHand);
    else byHand();
  }

  return { node, show, moved, clear };
}
