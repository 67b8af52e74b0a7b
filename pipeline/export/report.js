"use strict";
// Text from papers is only ever put into text nodes and attributes, so it is never parsed as markup.
//
// The data: `fields`, the names of the values of a mention; `mentions`, one list of values each; `papers` and `datasets`,
// which mentions name by their number; `about`, what the report was made from. A dataset number of -1 means unnamed data.
const data = JSON.parse(document.getElementById("data").textContent);
const { papers, datasets, about } = data;
const at = Object.fromEntries(data.fields.map((name, place) => [name, place]));
const byId = (id) => document.getElementById(id);
const PER_PAGE = 50;
const LISTED = 6; // names in a cell
const AROUND = 250; // characters of a sentence that are shown on each side of the name
const BARS = { datasets: 20, other: 8 };
const USED = new Set(["primary", "supporting"]);
const FILTERS = ["query", "use", "from", "to", "place", "country", "producer", "type"];
const number = new Intl.NumberFormat("en");

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const counted = (count, one, more = one + "s") => number.format(count) + " " + (count === 1 ? one : more);

// Mentions. `kind` decides in which table a mention is.

const value = (mention, name) => mention[at[name]];
const isInvalid = (mention) => value(mention, "valid") === false;
const isUncertain = (mention) => !isInvalid(mention) && value(mention, "uncertain") !== null;
const isNamed = (mention) => value(mention, "dataset") >= 0;
const placesOf = (mention) => value(mention, "countries") ?? [];
const paperOf = (mention) => papers[value(mention, "paper")];
const nameOf = (mention) => (isNamed(mention) ? datasets[value(mention, "dataset")].name : value(mention, "raw_name"));
const titleOf = (paper) => paper.title || paper.document;

// What is shown: kept in the address, so that the browser's "back" works.

const initial = { tab: "datasets", page: 0, sort: "", down: true, dataset: "", paper: "" };
for (const name of FILTERS) initial[name] = "";
let state = { ...initial };

// In the address, datasets and papers have names, because their numbers change when another paper is added.
const datasetKey = (number) => datasets[number].name + "\n" + (datasets[number].id ?? "");
const paperKey = (number) => papers[number].document;
const numbers = {
  dataset: new Map(datasets.map((_, number) => [datasetKey(number), number])),
  paper: new Map(papers.map((_, number) => [paperKey(number), number])),
};

function read() {
  let stored;
  try {
    stored = { ...initial, ...JSON.parse(decodeURIComponent(location.hash.slice(1)) || "{}") };
  } catch {
    return { ...initial };
  }
  if (!TABLES[stored.tab]) stored.tab = initial.tab;
  for (const name of ["dataset", "paper"]) if (!numbers[name].has(stored[name])) stored[name] = "";
  return stored;
}

function show(changes, replace = false) {
  state = { ...state, page: 0, ...changes };
  const different = Object.entries(state).filter(([name, set]) => set !== initial[name]);
  const hash = "#" + encodeURIComponent(JSON.stringify(Object.fromEntries(different)));
  if (replace) history.replaceState(null, "", hash);
  else history.pushState(null, "", hash);
  draw();
}

const isFiltered = () => state.dataset !== "" || state.paper !== "" || FILTERS.some((name) => state[name] !== "");

// Searching

const haystacks = new Map();

function haystack(mention) {
  let text = haystacks.get(mention);
  if (text === undefined) {
    const paper = paperOf(mention);
    const parts = [nameOf(mention), value(mention, "raw_name"), value(mention, "sentence"), paper.document, paper.title];
    text = parts.join("\n").toLowerCase();
    haystacks.set(mention, text);
  }
  return text;
}

// The mentions that all filters allow. `without`: a filter that does not count, for the plot that sets it.
function selected(without = "") {
  const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
  const from = state.from === "" ? -Infinity : Number(state.from);
  const to = state.to === "" ? Infinity : Number(state.to);
  const years = (state.from !== "" || state.to !== "") && without !== "year";
  const dataset = without === "dataset" || state.dataset === "" ? null : numbers.dataset.get(state.dataset);
  const paper = state.paper === "" ? null : numbers.paper.get(state.paper);
  const place = without === "place" ? "" : state.place;
  const country = without === "country" ? "" : state.country;
  const producer = without === "producer" ? "" : state.producer;
  const type = without === "type" ? "" : state.type;
  return data.mentions.filter((mention) => {
    if (dataset !== null && value(mention, "dataset") !== dataset) return false;
    if (paper !== null && value(mention, "paper") !== paper) return false;
    if (producer && value(mention, "producer") !== producer) return false;
    if (type && value(mention, "data_type") !== type) return false;
    if (place && !placesOf(mention).includes(place)) return false;
    const known = paperOf(mention);
    if (country && known.country !== country) return false;
    if (years && (known.year === null || known.year < from || known.year > to)) return false;
    return words.every((word) => haystack(mention).includes(word));
  });
}

// Whether a paper uses a dataset is known from all its mentions of it, so this filter comes last.
function byUse(mentions) {
  if (!state.use) return mentions;
  const used = new Set();
  for (const mention of mentions) if (USED.has(value(mention, "context"))) used.add(pairOf(mention));
  return mentions.filter((mention) => used.has(pairOf(mention)) === (state.use === "used"));
}

const pairOf = (mention) =>
  value(mention, "paper") + " " + (isNamed(mention) ? value(mention, "dataset") : value(mention, "raw_name"));

// For each key of a mention: papers, papers that use the data, mentions. `keyOf` returns a key, a list of them, or null.
function groups(mentions, keyOf) {
  const found = new Map();
  const add = (key, mention) => {
    if (key === null || key === undefined || key === "") return;
    let group = found.get(key);
    if (!group) found.set(key, (group = { key, papers: new Set(), used: new Set(), mentions: 0, first: mention }));
    group.mentions += 1;
    group.papers.add(value(mention, "paper"));
    if (USED.has(value(mention, "context"))) group.used.add(value(mention, "paper"));
  };
  for (const mention of mentions) {
    const keys = keyOf(mention);
    if (Array.isArray(keys)) for (const key of keys) add(key, mention);
    else add(keys, mention);
  }
  return [...found.values()];
}

const mostPapers = (one, other) =>
  other.papers.size - one.papers.size || other.mentions - one.mentions || String(one.key).localeCompare(String(other.key));

// Plots

function bars(title, rows, isPressed, choose, large = false) {
  const caption = element("figcaption", {}, title);
  if (large) {
    caption.append(
      element("span", { className: "key" }, "papers that use it"),
      element("span", { className: "key light" }, "papers that only mention it"),
    );
  }
  const figure = element("figure", { className: large ? "large" : "" }, caption);
  const longest = Math.max(1, ...rows.map((row) => row.papers.size));
  for (const row of rows) {
    const used = element("i"), rest = element("i", { className: "light" });
    used.style.width = (100 * row.used.size) / longest + "%";
    rest.style.width = (100 * (row.papers.size - row.used.size)) / longest + "%";
    const label = row.label ?? row.key;
    const button = element(
      "button", { type: "button", className: "row", title: label },
      element("span", { className: "label" }, label),
      element("span", { className: "track" }, used, rest),
      element("span", { className: "number" }, number.format(row.papers.size)),
    );
    button.setAttribute("aria-label", `${label}: ${counted(row.papers.size, "paper")}, of which use it: ${row.used.size}`);
    button.setAttribute("aria-pressed", isPressed(row));
    button.addEventListener("click", () => choose(row, isPressed(row)));
    figure.append(button);
  }
  return figure;
}

function yearColumns(mentions) {
  const rows = new Map(groups(mentions, (mention) => paperOf(mention).year).map((row) => [row.key, row]));
  const figure = element("figure", {}, element("figcaption", {}, "Papers by year of publication"));
  if (!rows.size) {
    figure.append(element("p", { className: "soft" }, "The years of the papers are not known: see metadata.csv in the documentation."));
    return figure;
  }
  const first = Math.min(...rows.keys()), last = Math.max(...rows.keys());
  const highest = Math.max(...[...rows.values()].map((row) => row.papers.size));
  const columns = element("div", { className: "columns" });
  const isShort = last - first < 12; // there is room for a number above each column
  const step = Math.ceil((last - first + 1) / 12);
  for (let year = first; year <= last; year += 1) {
    const row = rows.get(year);
    const papersOfYear = row?.papers.size ?? 0, used = row?.used.size ?? 0;
    const light = element("i", { className: "light" }), dark = element("i");
    light.style.height = (70 * (papersOfYear - used)) / highest + "%";
    dark.style.height = (70 * used) / highest + "%";
    const pressed = state.from === String(year) && state.to === String(year);
    const title = `${year}: ${counted(papersOfYear, "paper")}`;
    const column = element("button", { type: "button", className: "column", title },
      element("small", {}, isShort && papersOfYear ? number.format(papersOfYear) : ""), light, dark,
      element("small", {}, (year - first) % step === 0 ? String(year) : ""));
    column.setAttribute("aria-label", title);
    column.setAttribute("aria-pressed", pressed);
    column.addEventListener("click", () =>
      show(pressed ? { from: "", to: "" } : { from: String(year), to: String(year) }));
    columns.append(column);
  }
  figure.append(columns);
  return figure;
}

function drawPlots() {
  const counts = (without) => byUse(selected(without)).filter((mention) => !isInvalid(mention));
  const named = groups(counts("dataset").filter(isNamed), (mention) => value(mention, "dataset"))
    .map((row) => ({ ...row, label: datasets[row.key].name }))
    .sort(mostPapers)
    .slice(0, BARS.datasets);
  const made = [];
  if (named.length) made.push(bars("Datasets by papers", named, (row) => state.dataset === datasetKey(row.key),
    (row, pressed) => show(pressed ? { dataset: "" } : { dataset: datasetKey(row.key), tab: "papers", sort: "" }), true));
  const ofYears = counts("year");
  if (ofYears.length) made.push(yearColumns(ofYears));
  for (const [title, name, keyOf] of [
    ["Countries of the data", "place", placesOf],
    ["Countries of the papers", "country", (mention) => paperOf(mention).country],
    ["Producers of the data", "producer", (mention) => value(mention, "producer")],
    ["Types of data", "type", (mention) => value(mention, "data_type")],
  ]) {
    const rows = groups(counts(name), keyOf).sort(mostPapers).slice(0, BARS.other);
    if (rows.length) made.push(bars(title, rows, (row) => state[name] === row.key,
      (row, pressed) => show({ [name]: pressed ? "" : row.key })));
  }
  byId("plots").replaceChildren(...made);
}

// Tables. A column: title, value of a row, what happens on a click on the value, and how many names of a list are shown.

const years = (group) => {
  const known = [...group.papers].map((paper) => papers[paper].year).filter((year) => year !== null && year !== undefined);
  if (!known.length) return "";
  const first = Math.min(...known), last = Math.max(...known);
  return first === last ? String(first) : `${first}–${last}`;
};

const TABLES = {
  datasets: {
    title: "Datasets",
    rows: (mentions) => groups(mentions.filter((one) => !isInvalid(one) && isNamed(one)), (one) => value(one, "dataset")),
    columns: [
      ["dataset", (row) => datasets[row.key].name, (row) => ({ dataset: datasetKey(row.key), tab: "papers", sort: "" })],
      ["id", (row) => datasets[row.key].id ?? ""],
      ["papers", (row) => row.papers.size],
      ["use it", (row) => row.used.size],
      ["only mention it", (row) => row.papers.size - row.used.size],
      ["mentions", (row) => row.mentions],
      ["years of papers", years],
    ],
    sort: "papers",
    hint: (mentions) => {
      const unnamed = TABLES.unnamed.rows(mentions).length;
      return unnamed && `Not in this table: ${counted(unnamed, "mention")} without a proper name, under “${TABLES.unnamed.title}”.`;
    },
  },
  papers: {
    title: "Papers",
    rows: (mentions) => groups(mentions.filter((one) => !isInvalid(one)), (one) => value(one, "paper")).map((row) => ({
      ...row, datasets: new Set(),
    })),
    prepare: (rows, mentions) => {
      const byPaper = new Map(rows.map((row) => [row.key, row]));
      for (const one of mentions) if (!isInvalid(one) && isNamed(one)) byPaper.get(value(one, "paper")).datasets.add(nameOf(one));
    },
    columns: [
      ["paper", (row) => titleOf(papers[row.key]), (row) => ({ paper: paperKey(row.key), tab: "mentions", sort: "" })],
      ["year", (row) => papers[row.key].year ?? ""],
      ["country", (row) => papers[row.key].country ?? ""],
      ["DOI", (row) => papers[row.key].doi ?? ""],
      ["mentions", (row) => row.mentions],
      ["named datasets", (row) => [...row.datasets].join("; "), null, LISTED],
    ],
    sort: "mentions",
  },
  mentions: { title: "Mentions", rows: (mentions) => mentions.filter((one) => !isInvalid(one)), cards: true },
  unnamed: {
    title: "Unnamed data", cards: true,
    rows: (mentions) => mentions.filter((one) => !isInvalid(one) && !isNamed(one)),
    hint: () => "The model says that these mentions have no proper name: their specificity is not properly_named. Small "
      + "models are often wrong about this.",
  },
  uncertain: {
    title: "Uncertain", cards: true,
    rows: (mentions) => mentions.filter(isUncertain),
    hint: () => "Mentions with a note, names that were judged both ways in a paper, and verdicts that the last stage overruled.",
  },
  rejected: {
    title: "Rejected", cards: true,
    rows: (mentions) => mentions.filter(isInvalid),
    hint: () => "What was found and then rejected, with the reasons. It counts nowhere else.",
  },
};

// Columns by which mentions can be downloaded.
const MENTION_COLUMNS = [
  ["document", (one) => paperOf(one).document], ["title", (one) => paperOf(one).title ?? ""],
  ["page", (one) => value(one, "page")], ["dataset", (one) => (isNamed(one) ? nameOf(one) : "")],
  ["name", (one) => value(one, "raw_name")], ["sentence", (one) => value(one, "sentence") ?? ""],
  ...["context", "specificity", "data_type", "geography", "producer", "year", "valid", "invalid_reason", "uncertain"].map(
    (name) => [name, (one) => value(one, name) ?? ""]),
];

let shown = { rows: [], columns: [] };

function drawTable() {
  const table = TABLES[state.tab];
  const mentions = byUse(selected());
  const rows = table.rows(mentions);
  table.prepare?.(rows, mentions);
  const columns = table.columns ?? MENTION_COLUMNS;
  if (!table.cards) sort(rows, columns, table);
  shown = { rows, columns };
  const pages = Math.max(1, Math.ceil(rows.length / PER_PAGE));
  const page = Math.min(state.page, pages - 1);
  const part = rows.slice(page * PER_PAGE, (page + 1) * PER_PAGE);
  byId("count").textContent = table.cards ? counted(rows.length, "mention") : counted(rows.length, "row");
  byId("page").textContent = `${page + 1} of ${pages}`;
  byId("before").disabled = page === 0;
  byId("after").disabled = page >= pages - 1;
  byId("download").disabled = !rows.length;
  byId("hint").textContent = ((rows.length || !table.cards) && table.hint?.(mentions)) || "";
  const nothing = isFiltered() ? "Nothing matches these filters." : "There are none.";
  byId("content").replaceChildren(
    !rows.length ? element("p", { className: "soft" }, nothing) : table.cards ? cards(part) : grid(part, columns, table));
}

function sort(rows, columns, table) {
  const name = state.sort || table.sort;
  const [, of] = columns.find(([title]) => title === name) ?? columns[0];
  const direction = state.sort && !state.down ? 1 : -1;
  rows.sort((one, other) => {
    const first = of(one), second = of(other);
    if (first === second) return mostPapers(one, other);
    if (first === "" || second === "") return first === "" ? 1 : -1; // what is not known comes last
    const order = typeof first === "number" ? first - second : String(first).localeCompare(String(second));
    return direction * order;
  });
}

function grid(rows, columns, table) {
  const head = element("tr");
  for (const [title] of columns) {
    const active = title === (state.sort || table.sort);
    const mark = active ? (state.sort && !state.down ? " ▲" : " ▼") : "";
    const button = element("button", { type: "button" }, title + mark);
    button.addEventListener("click", () => show({ sort: title, down: !(state.sort === title && state.down) }));
    const cell = element("th", { scope: "col" }, button);
    cell.setAttribute("aria-sort", active ? (state.sort && !state.down ? "ascending" : "descending") : "none");
    head.append(cell);
  }
  const body = element("tbody");
  for (const row of rows) {
    const line = element("tr");
    columns.forEach(([, of, click, listed], place) => {
      const content = listed ? shortened(of(row), listed) : of(row);
      const cell = element("td", { className: typeof content === "number" ? "number" : place ? "" : "name" });
      if (click) {
        const button = element("button", { type: "button" }, String(content));
        button.addEventListener("click", () => show(click(row)));
        cell.append(button);
      } else cell.append(String(content));
      line.append(cell);
    });
    body.append(line);
  }
  return element("table", {}, element("thead", {}, head), body);
}

// The first names of a long list. The download has all of them.
function shortened(list, most) {
  const names = list.split("; ");
  return names.length <= most ? list : `${names.slice(0, most).join("; ")} and ${names.length - most} more`;
}

function cards(mentions) {
  const list = element("div");
  for (const mention of mentions) {
    const kind = isInvalid(mention) ? "invalid" : isUncertain(mention) ? "uncertain" : "";
    const paper = paperOf(mention);
    const title = element("button", { type: "button" }, titleOf(paper));
    title.addEventListener("click", () => show({ paper: paperKey(value(mention, "paper")), tab: "mentions" }));
    const where = element("div", { className: "where" }, title, `, page ${value(mention, "page")}`);
    if (paper.year) where.append(`, ${paper.year}`);
    const known = element("dl");
    const add = (name, text) => {
      if (text !== null && text !== undefined && text !== "") known.append(element("dt", {}, name), element("dd", {}, String(text)));
    };
    add("dataset", isNamed(mention) ? nameOf(mention) : "");
    for (const name of ["context", "specificity", "data_type", "geography", "producer", "year"]) add(name.replace("_", " "), value(mention, name));
    add("why uncertain", value(mention, "uncertain"));
    add("why rejected", value(mention, "invalid_reason"));
    const verdicts = Object.entries(about.stages).flatMap(([stage, place]) =>
      mention[place] === null ? [] : [`${stage}: ${mention[place]}`]);
    if (value(mention, "review")) verdicts.push(`person: ${value(mention, "review")}`);
    const article = element("article", { className: kind }, where, quotation(mention), known);
    if (verdicts.length) {
      article.append(element("details", {}, element("summary", {}, "Verdicts"), ...verdicts.map((text) => element("p", {}, text))));
    }
    list.append(article);
  }
  return list;
}

// The name in its sentence. Of a long sentence, such as the text of a table, what is around the name, and a button.
function quotation(mention) {
  const oneLine = (text) => text.replace(/\s+/g, " ").trim();
  const name = oneLine(value(mention, "raw_name")), sentence = oneLine(value(mention, "sentence") ?? "");
  const marked = () => element("mark", {}, name);
  if (!sentence) return element("blockquote", {}, marked(), " (not found in the text of the page)");
  const start = sentence.indexOf(name);
  const before = start < 0 ? "" : sentence.slice(0, start);
  const after = start < 0 ? `: ${sentence}` : sentence.slice(start + name.length);
  const from = before.length > AROUND ? "… " + before.slice(-AROUND).replace(/^\S*\s/, "") : before;
  const to = after.length > AROUND ? after.slice(0, AROUND).replace(/\s\S*$/, "") + " …" : after;
  const quoted = element("blockquote", {}, from, marked(), to);
  if (from !== before || to !== after) {
    const all = element("button", { type: "button" }, "Show the whole sentence");
    all.addEventListener("click", () => quoted.replaceChildren(before, marked(), after));
    quoted.append(" ", all);
  }
  return quoted;
}

// Everything around the table

function drawTiles() {
  const mentions = byUse(selected());
  const valid = mentions.filter((mention) => !isInvalid(mention));
  const named = valid.filter(isNamed);
  const of = (list, name) => new Set(list.map((mention) => value(mention, name))).size;
  const used = new Set(valid.filter((one) => USED.has(value(one, "context"))).map((one) => value(one, "paper"))).size;
  const tiles = [
    [of(valid, "paper"), "paper with mentions", "papers with mentions"],
    [valid.length, "mention", "mentions"],
    [of(named, "dataset"), "named dataset", "named datasets"],
    [used, "paper that uses data", "papers that use data"],
    [valid.length - named.length, "mention of unnamed data", "mentions of unnamed data"],
    [valid.filter(isUncertain).length, "uncertain mention", "uncertain mentions"],
    [mentions.length - valid.length, "rejected mention", "rejected mentions"],
  ];
  byId("tiles").replaceChildren(...tiles.map(([count, one, more]) => element("div", { className: "tile" },
    element("b", {}, number.format(count)), element("span", {}, count === 1 ? one : more))));
}

function drawTabs() {
  const made = Object.entries(TABLES).map(([name, table]) => {
    const tab = element("button", { type: "button", id: "tab-" + name }, table.title);
    const isCurrent = name === state.tab;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-selected", isCurrent);
    tab.setAttribute("aria-controls", "panel");
    tab.tabIndex = isCurrent ? 0 : -1;
    tab.addEventListener("click", () => show({ tab: name, sort: "" }));
    return tab;
  });
  const focused = document.activeElement?.getAttribute("role") === "tab";
  byId("tabs").replaceChildren(...made);
  if (focused) byId("tab-" + state.tab).focus();
}

function drawFilters() {
  for (const name of FILTERS) if (byId(name).value !== state[name]) byId(name).value = state[name];
  const chips = [];
  const chip = (text, changes) => {
    const made = element("button", { type: "button" }, text + " ✕");
    made.setAttribute("aria-label", "Remove the filter " + text);
    made.addEventListener("click", () => show(changes));
    chips.push(made);
  };
  if (state.dataset !== "") chip("Dataset: " + state.dataset.split("\n")[0], { dataset: "" });
  if (state.paper !== "") chip("Paper: " + titleOf(papers[numbers.paper.get(state.paper)]), { paper: "" });
  if (FILTERS.some((name) => state[name] !== "") || chips.length > 1) chip("All filters", { ...Object.fromEntries(FILTERS.map((name) => [name, ""])), dataset: "", paper: "" });
  byId("chips").replaceChildren(...chips);
}

// The values by which the mentions can be filtered. A filter without any is hidden.
function choices(id, found) {
  const values = [...new Set(found)].filter(Boolean).sort();
  byId(id).replaceChildren(
    element("option", { value: "" }, "all"), ...values.map((text) => element("option", { value: text }, text)),
  );
  byId(id).closest("label").hidden = !values.length;
}

function download() {
  const cell = (content) => {
    let text = String(content);
    if (/^'*[=+\-@\t\r\n＝＋－＠]/.test(text) && typeof content !== "number") text = "'" + text; // else a spreadsheet takes it for a formula
    return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  };
  const lines = [shown.columns.map(([title]) => cell(title)), ...shown.rows.map((row) => shown.columns.map(([, of]) => cell(of(row))))];
  const file = new Blob(["\ufeff" + lines.map((line) => line.join(",")).join("\r\n") + "\r\n"], { type: "text/csv" });
  const link = element("a", { href: URL.createObjectURL(file), download: state.tab + ".csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function draw() {
  drawFilters();
  drawTiles();
  drawPlots();
  drawTabs();
  drawTable();
}

byId("scope").textContent = counted(about.documents, "paper");
byId("provenance").textContent = about.text;
choices("place", data.mentions.flatMap(placesOf));
choices("country", papers.map((paper) => paper.country));
choices("producer", data.mentions.map((mention) => value(mention, "producer")));
choices("type", data.mentions.map((mention) => value(mention, "data_type")));
let waiting = 0;
for (const name of FILTERS) {
  byId(name).addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => show({ [name]: byId(name).value.trim() }, name === "query"), name === "query" ? 150 : 0);
  });
}
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("before").addEventListener("click", () => show({ page: state.page - 1 }));
byId("after").addEventListener("click", () => show({ page: state.page + 1 }));
byId("download").addEventListener("click", download);
byId("tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const names = Object.keys(TABLES);
  show({ tab: names[(names.indexOf(state.tab) + step + names.length) % names.length], sort: "" });
});
addEventListener("popstate", () => {
  state = read();
  draw();
});
state = read();
draw();
