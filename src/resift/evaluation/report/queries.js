// The queries: a list to search and sort, and a page for each, drawn from the data when it is looked at.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const explorer = document.getElementById("explorer");
  const SVG = "http://www.w3.org/2000/svg";
  const STEP = 40;
  const LINE = 32;

  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children);
    return node;
  };
  const draw = (tag, attributes) => {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const signed = (value) => (value > 0.00005 ? "+" : value < -0.00005 ? "−" : "±") + Math.abs(value).toFixed(3);
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

  const queries = data.collections.flatMap((collection) =>
    collection.queries.map((query) => ({ ...query, collection, found: `${query.text} ${query.id}`.toLowerCase() })),
  );
  const addresses = new Map(queries.map((query) => [addressOf(query), query]));
  const last = data.rows.length - 1;
  const best = data.rows
    .map((_, row) => row)
    .slice(1)
    .reduce((a, b) => (b === undefined || worth(a) >= worth(b) ? a : b), last);
  const state = { words: "", collection: "", before: 0, after: Math.max(best, 0), order: "gain", shown: STEP };

  function worth(row) {
    return mean(queries.map((query) => query.values[row]));
  }
  function addressOf(query) {
    return `#query/${encodeURIComponent(query.collection.name)}/${encodeURIComponent(query.id)}`;
  }
  function listOf(query, row) {
    const list = query.lists[row];
    return typeof list === "number" ? Array.from({ length: list }, (_, at) => at) : list;
  }
  function gain(query) {
    return query.values[state.after] - query.values[state.before];
  }

  const ORDERS = {
    gain: ["largest gain first", (a, b) => gain(b) - gain(a)],
    loss: ["largest loss first", (a, b) => gain(a) - gain(b)],
    change: ["largest difference first", (a, b) => Math.abs(gain(b)) - Math.abs(gain(a))],
    worst: ["worst result first", (a, b) => a.values[state.after] - b.values[state.after]],
    name: ["by id", (a, b) => a.id.localeCompare(b.id, "en", { numeric: true })],
  };

  // parts of both views

  const field = (label, control) => make("label", {}, make("span", {}, label), control);
  const select = (chosen, options, change) =>
    make(
      "select",
      { onchange: (event) => change(event.target.value) },
      ...options.map(([value, text]) => make("option", { value, selected: String(value) === String(chosen) }, text)),
    );
  const rowsToChoose = () => data.rows.map((row, at) => [at, row.name]);
  const mark = (row) => make("i", { class: `dot ${row.look} s${row.shape}`, "aria-hidden": "true" });
  const change = (value) =>
    make(
      "span",
      { class: `change ${value > 0.00005 ? "up" : value < -0.00005 ? "down" : "same"}` },
      make("b", { style: `--w:${Math.min(Math.abs(value), 1) * 100}%`, "aria-hidden": "true" }),
      signed(value),
    );

  // the list

  const rows = make("tbody");
  const told = make("p", { class: "told", "aria-live": "polite" });
  const more = make("button", { type: "button", class: "more", onclick: () => ((state.shown += STEP), fill()) }, "Show more");
  const heads = make("tr");
  const listing = make(
    "div",
    {},
    make(
      "div",
      { class: "controls" },
      field("search", make("input", { type: "search", placeholder: "words of the query, or its id", oninput: (event) => update({ words: event.target.value }) })),
      ...(data.collections.length > 1
        ? [field("collection", select("", [["", "all"], ...data.collections.map((one) => [one.name, one.name])], (collection) => update({ collection })))]
        : []),
      field("before", select(state.before, rowsToChoose(), (row) => update({ before: Number(row) }))),
      field("after", select(state.after, rowsToChoose(), (row) => update({ after: Number(row) }))),
      field("order", select(state.order, Object.entries(ORDERS).map(([name, [text]]) => [name, text]), (order) => update({ order }))),
    ),
    told,
    make("div", { class: "scroll" }, make("table", { class: "queries" }, make("caption", {}, `${data.measure} of each query`), make("thead", {}, heads), rows)),
    more,
  );

  const chosen = () => {
    const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
    return queries
      .filter((query) => !state.collection || query.collection.name === state.collection)
      .filter((query) => words.every((word) => query.found.includes(word)))
      .sort(ORDERS[state.order][1]);
  };
  const update = (changes) => {
    Object.assign(state, changes, { shown: STEP });
    fill();
  };
  const fill = () => {
    const found = chosen();
    const total = data.collections.reduce((sum, one) => sum + one.total, 0);
    const kept = queries.length < total ? ` The page has the ${queries.length} of ${total} queries on which the rows differ most.` : "";
    told.textContent = `${found.length} ${found.length === 1 ? "query" : "queries"}.${kept}`;
    const titles = ["query", data.rows[state.before].name, data.rows[state.after].name, "difference"];
    heads.replaceChildren(...titles.map((title, at) => make("th", { scope: "col", class: at ? "n" : null }, title)));
    rows.replaceChildren(...found.slice(0, state.shown).map(line));
    more.hidden = found.length <= state.shown;
  };
  const line = (query) =>
    make(
      "tr",
      {},
      make(
        "th",
        { scope: "row" },
        make("a", { href: addressOf(query) }, query.text || query.id),
        make("small", {}, data.collections.length > 1 ? `${query.collection.name} · ${query.id}` : query.id),
      ),
      make("td", { class: "n" }, query.values[state.before].toFixed(3)),
      make("td", { class: "n" }, query.values[state.after].toFixed(3)),
      make("td", { class: "n" }, change(gain(query))),
    );

  // the page of one query

  const gradeOf = (query, document) => query.grades[document];
  const badge = (query, document) => {
    const grade = gradeOf(query, document);
    const kind = grade === undefined ? "unjudged" : grade > 0 ? "relevant" : "irrelevant";
    const text = grade === undefined ? "not judged" : grade > 0 ? `relevant, grade ${grade}` : "judged irrelevant";
    return make("span", { class: `grade ${kind}`, title: text, "aria-label": text }, grade === undefined ? "·" : String(grade));
  };
  const textOf = (query, document) => {
    const [id, text] = query.collection.documents[query.documents[document]];
    return { id, text: text || id };
  };
  const placesOf = (list) => new Map(list.map((document, at) => [document, at + 1]));

  const moved = (from, to) => {
    if (from === undefined) return make("span", { class: "move up" }, "new");
    if (from === to) return make("span", { class: "move", title: "where it was" }, "=");
    const up = from > to;
    return make("span", { class: `move ${up ? "up" : "down"}`, title: `was ${from}` }, `${up ? "▲" : "▼"} ${Math.abs(from - to)}`);
  };
  const entry = (query, document, place, movement) => {
    const { id, text } = textOf(query, document);
    const relevant = gradeOf(query, document) > 0;
    return make(
      "li",
      { class: relevant ? "relevant" : null, title: `${id}: ${text}` },
      make("span", { class: "place" }, String(place)),
      badge(query, document),
      make("span", { class: "text" }, text),
      ...(movement ? [movement] : []),
    );
  };
  const column = (query, row, others) => {
    const list = listOf(query, row).slice(0, data.shown);
    const items = list.map((document, at) => entry(query, document, at + 1, others && moved(others.get(document), at + 1)));
    return make("div", { class: "column" }, make("h4", {}, mark(data.rows[row]), data.rows[row].name), make("ol", {}, ...items));
  };
  const slopes = (query) => {
    const before = listOf(query, state.before);
    const after = listOf(query, state.after);
    const height = Math.max(Math.min(before.length, data.shown), Math.min(after.length, data.shown)) * LINE;
    const picture = draw("svg", { viewBox: `0 0 100 ${height}`, preserveAspectRatio: "none", class: "slopes", "aria-hidden": "true", height });
    const there = placesOf(after);
    const at = (place) => (place === undefined || place > data.shown ? height + LINE : (place - 0.5) * LINE);
    const lines = [...new Set([...before, ...after])].map((document) => [document, at(before.indexOf(document) + 1 || undefined), at(there.get(document))]);
    lines.sort((a, b) => (gradeOf(query, a[0]) > 0) - (gradeOf(query, b[0]) > 0));
    for (const [document, from, to] of lines) {
      if (from > height && to > height) continue;
      const kind = gradeOf(query, document) > 0 ? "slope relevant" : "slope";
      picture.append(draw("path", { d: `M0 ${from}C45 ${from} 55 ${to} 100 ${to}`, class: kind }));
    }
    return picture;
  };
  const weight = (move) => Math.abs(1 / Math.log2(move.from + 1) - 1 / Math.log2(move.to + 1)); // as nDCG sees a place
  const movers = (query) => {
    const before = placesOf(listOf(query, state.before));
    const moves = listOf(query, state.after)
      .map((document, at) => ({ document, from: before.get(document), to: at + 1 }))
      .filter((move) => move.from !== undefined && move.from !== move.to)
      .sort((a, b) => weight(b) - weight(a))
      .slice(0, 5);
    if (!moves.length) return make("p", {}, "No document has another place.");
    return make(
      "ol",
      { class: "movers" },
      ...moves.map((move) =>
        make(
          "li",
          { class: gradeOf(query, move.document) > 0 ? "relevant" : null },
          moved(move.from, move.to),
          make("span", { class: "way" }, `${move.from} → ${move.to}`),
          badge(query, move.document),
          make("span", { class: "text" }, textOf(query, move.document).text),
        ),
      ),
    );
  };
  const standing = (query) => {
    const relevantAt = (row) =>
      listOf(query, row)
        .map((document, at) => (gradeOf(query, document) > 0 ? at + 1 : 0))
        .filter(Boolean);
    const body = data.rows.map((row, at) =>
      make(
        "tr",
        { class: at === state.after ? "chosen" : null },
        make("th", { scope: "row" }, mark(row), row.name),
        make("td", { class: "n" }, query.values[at].toFixed(3)),
        make("td", { class: "n" }, at === state.before ? "" : change(query.values[at] - query.values[state.before])),
        make("td", {}, relevantAt(at).slice(0, 12).join(", ") || "none found"),
        make("td", {}, at === state.before ? "before" : at === state.after ? "after" : make("button", { type: "button", onclick: () => ((state.after = at), open(query)) }, "show")),
      ),
    );
    const heads = ["row", data.measure, "difference", "places of relevant documents", "shown"];
    return make(
      "div",
      { class: "scroll" },
      make(
        "table",
        {},
        make("caption", {}, `What each row is worth here; the best order of these documents is worth ${query.values[query.values.length - 1].toFixed(3)}`),
        make("thead", {}, make("tr", {}, ...heads.map((head, at) => make("th", { scope: "col", class: at === 1 || at === 2 ? "n" : null }, head)))),
        make("tbody", {}, ...body),
      ),
    );
  };
  const open = (query) => {
    const found = chosen();
    const at = found.indexOf(query);
    const neighbour = (step, text) => {
      const other = at < 0 ? undefined : found[at + step];
      return other ? make("a", { href: addressOf(other), class: "step" }, text) : make("span", { class: "step" }, text);
    };
    const lost = query.lost ? ` ${query.lost} relevant ${query.lost === 1 ? "document is" : "documents are"} in no list.` : "";
    const list = listOf(query, state.after);
    const rest = list.length > data.shown ? ` The first ${data.shown} of ${list.length} places are shown.` : "";
    const title = make("h3", { tabindex: "-1" }, query.text || query.id);
    explorer.replaceChildren(
      make("p", { class: "steps" }, make("a", { href: "#queries" }, "← all queries"), neighbour(-1, "previous"), neighbour(1, "next")),
      title,
      make("p", { class: "told" }, `${query.collection.name} · ${query.id}.${lost}${rest}`),
      standing(query),
      make("h4", {}, "Biggest movers"),
      movers(query),
      make(
        "div",
        { class: "orders" },
        column(query, state.before, null),
        slopes(query),
        column(query, state.after, placesOf(listOf(query, state.before))),
      ),
    );
    title.focus({ preventScroll: true });
  };

  const route = () => {
    const query = addresses.get(location.hash);
    if (query) {
      open(query);
      document.getElementById("queries").scrollIntoView();
    } else {
      explorer.replaceChildren(listing);
      fill();
    }
  };
  addEventListener("hashchange", route);
  route();
})();
