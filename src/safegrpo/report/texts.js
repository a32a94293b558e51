/* ---------- texts and images: blocks of JSON further down, parsed only when they are shown ---------- */

// A page of many megabytes is used before its end has been read: a block may have yet to come.
async function block(kind, number) {
  for (;;) {
    const node = document.getElementById(`${kind}-${number}`);
    // Its text is complete once the parser has gone past it.
    if (document.readyState !== "loading" || (node && node.nextElementSibling)) {
      if (!node) throw new Error(`${kind} ${number} is not in this page`);
      return node.textContent;
    }
    await new Promise((resume) => setTimeout(resume, 40));
  }
}

function keeper(kind, most) {
  const kept = new Map();
  return async (number) => {
    let found = kept.get(number);
    if (found === undefined) {
      found = JSON.parse(await block(kind, number));
      if (kept.size >= most) kept.delete(kept.keys().next().value);
    } else {
      kept.delete(number); // and put back as the one used last
    }
    kept.set(number, found);
    return found;
  };
}

const texts = keeper("texts", 6);
const pictures = keeper("images", 8);

async function rowTexts(row, size) {
  const found = await texts(Math.floor(row / size));
  const said = found.rows[row % size];
  return { item: found.items[said.item], said };
}

/* ---------- search: lower-case text of every answer, made ready while nothing else is to be done ---------- */

function searcher(count, size) {
  const words = []; // block by block, a text for each row
  const blocks = Math.ceil(count / size);
  let making = null;

  async function add(number) {
    const { items, rows } = JSON.parse(await block("texts", number));
    const asked = items.map((item) => said(item));
    words[number] = rows.map((row) => asked[row.item] + "\n" +
      [(row.parts || []).map((part) => part[1]).join(""), said(row.steps), said(row.judgements), row.problem]
        .join("\n").toLowerCase());
  }

  function said(value) {
    if (typeof value === "string") return value.toLowerCase();
    return value && typeof value === "object" ? Object.values(value).map(said).join("\n") : "";
  }

  function idle() {
    return new Promise((resume) => (window.requestIdleCallback || setTimeout)(resume, { timeout: 2000 }));
  }

  // All of it, once; `hurry` is asked before each block whether somebody waits.
  function prepare(hurry) {
    making ||= (async () => {
      for (let i = 0; i < blocks; i += 1) {
        await (hurry() ? new Promise((resume) => setTimeout(resume)) : idle());
        await add(i);
      }
    })();
    return making;
  }

  return { prepare, has: (row, wanted) => {
    const text = words[Math.floor(row / size)][row % size];
    return wanted.every((word) => text.includes(word));
  } };
}
