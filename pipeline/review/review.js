"use strict";
// What a paper says reaches the page only as text of a text node or value of a field: it can never be markup.
const { pages, choices, texts } = JSON.parse(document.getElementById("data").textContent);
const key = "dataset-mentions-review:" + document.documentElement.dataset.key;
const at = (id) => document.getElementById(id);
const state = load();
let current = { page: 0, mention: 0 };
let editing = null;

function load() {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? { annotator: "", pages: {} };
  } catch {
    return { annotator: "", pages: {} };
  }
}

// Another tab may have gone on with the same review: of each page the newest label counts.
function takeOver(stored) {
  for (const [place, label] of Object.entries(stored.pages)) {
    if (!(state.pages[place]?.time >= label.time)) state.pages[place] = label;
  }
}

function save() {
  try {
    takeOver(load());
    localStorage.setItem(key, JSON.stringify(state));
    at("saved").textContent = "kept in this browser";
  } catch {
    at("saved").textContent = "this browser keeps nothing: download before you close the page";
  }
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// Pages and mentions, the pipeline's and the reviewer's

const place = (page) => page.source + "\u0000" + page.page;
const labelOf = (page) => {
  const label = state.pages[place(page)];
  return label?.text === page.text_sha256 ? label : undefined;
};
const spanOf = (mention) => mention.start + "-" + mention.end;

function change(page, edit) {
  const label = labelOf(page) ?? { complete: false, mentions: {}, text: page.text_sha256 };
  state.pages[place(page)] = label;
  edit(label);
  label.time = new Date().toISOString();
  save();
  draw();
}

function mentionsOf(page) {
  const said = labelOf(page)?.mentions ?? {};
  const own = page.mentions.map((mention) => ({ ...mention, ...said[spanOf(mention)] }));
  const known = new Set(page.mentions.map(spanOf));
  const added = Object.entries(said).filter(([span]) => !known.has(span)).map(([, mention]) => mention);
  return [...own, ...added].sort((one, other) => one.start - other.start || one.end - other.end);
}

const verdict = (mention) =>
  mention.decision ? (mention.decision === "reject" ? "invalid" : "valid")
    : mention.valid === null ? "open" : mention.valid ? "valid" : "invalid";

const DECIDED = { accept: "accepted by you", reject: "rejected by you", edit: "edited by you", add: "added by you" };

function decide(mention, decision, fields = mention.fields) {
  const page = pages[current.page];
  change(page, (label) => {
    if (mention.decision === "add" && decision === "reject") delete label.mentions[spanOf(mention)];
    else {
      const added = mention.decision === "add" && decision !== "reject";
      const { start, end, quote } = mention;
      label.mentions[spanOf(mention)] = { start, end, quote, fields, decision: added ? "add" : decision };
    }
  });
}

function complete() {
  const page = pages[current.page];
  const done = labelOf(page)?.complete;
  change(page, (label) => {
    label.complete = !done;
    for (const mention of done ? [] : mentionsOf(page)) {
      if (!mention.decision) {
        const { start, end, quote, fields } = mention;
        const decision = verdict(mention) === "invalid" ? "reject" : "accept";
        label.mentions[spanOf(mention)] = { start, end, quote, fields, decision };
      }
    }
  });
}

// Drawing

function draw() {
  const page = pages[current.page];
  const mentions = mentionsOf(page);
  current.mention = Math.max(0, Math.min(current.mention, mentions.length - 1));
  at("title").textContent = `${page.source}, page ${page.page}`;
  drawText(page, mentions);
  drawCards(page, mentions);
  drawList();
  at("complete").textContent = labelOf(page)?.complete ? "Page is complete ✓" : "Page is complete";
  at("complete").setAttribute("aria-pressed", Boolean(labelOf(page)?.complete));
  const labelled = pages.filter((one) => labelOf(one)?.complete).length;
  at("progress").textContent = `${labelled} of ${pages.length} pages complete`;
}

// Offsets count characters, of which JavaScript counts some as two.
function drawText(page, mentions) {
  const characters = Array.from(page.text);
  const { sent_start: from = 0, sent_end: to = 0 } = mentions[current.mention] ?? {};
  const inside = mentions.flatMap((one) => [one.start, one.end]);
  const borders = [...new Set([0, characters.length, from ?? 0, to ?? 0, ...inside])];
  borders.sort((one, other) => one - other);
  const parts = borders.slice(1).map((end, index) => {
    const start = borders[index];
    const words = characters.slice(start, end).join("");
    const number = mentions.findIndex((one) => one.start <= start && end <= one.end);
    const inSentence = from <= start && end <= to;
    if (number < 0) return inSentence ? element("span", { className: "sentence", textContent: words }) : words;
    const chosen = number === current.mention ? " current" : "";
    const mark = element("mark", { className: verdict(mentions[number]) + chosen, textContent: words });
    mark.addEventListener("click", () => choose(number));
    return mark;
  });
  at("text").replaceChildren(...parts);
}

function drawCards(page, mentions) {
  const cards = mentions.map((mention, number) => card(mention, number));
  if (!cards.length) cards.push(element("p", { className: "hint", textContent: "No dataset was found on this page." }));
  if (page.unlocated.length) {
    const names = page.unlocated.join(", ");
    cards.push(element("p", { className: "hint", textContent: `Named, but standing nowhere on this page: ${names}` }));
  }
  at("cards").replaceChildren(...cards);
}

function card(mention, number) {
  const isEdited = editing === spanOf(mention);
  const classes = [verdict(mention), number === current.mention ? "current" : "", isEdited ? "edited" : ""];
  const made = element("article", { className: classes.join(" ").trim() });
  made.addEventListener("click", () => number !== current.mention && choose(number));
  const by = mention.decision ? DECIDED[mention.decision] : `${verdict(mention)}, says the pipeline`;
  made.append(
    element("h3", { textContent: mention.quote.replace(/\s+/g, " ") }),
    element("div", { className: "state", textContent: by + (mention.invalid_reason ? `: ${mention.invalid_reason}` : "") }),
  );
  const actions = element("div", { className: "actions" });
  if (isEdited) {
    actions.append(button("Keep", () => keep(mention, made), "main"), button("Leave", () => { editing = null; draw(); }));
  } else {
    actions.append(
      button("Accept", () => decide(mention, "accept")),
      button(mention.decision === "add" ? "Remove" : "Reject", () => decide(mention, "reject")),
      button("Edit", () => edit(mention)),
    );
  }
  made.append(actions, fieldsOf(mention, isEdited), ...argumentsOf(mention));
  return made;
}

function button(label, act, className = "") {
  const made = element("button", { type: "button", textContent: label, className });
  made.addEventListener("click", (event) => { event.stopPropagation(); act(); });
  return made;
}

function fieldsOf(mention, isEdited) {
  const list = element("dl");
  for (const name of [...texts, ...Object.keys(choices)]) {
    const value = mention.fields[name];
    if (!isEdited && !value) continue;
    list.append(element("dt", { textContent: name.replaceAll("_", " ") }));
    list.append(isEdited ? element("dd", {}, input(name, value)) : element("dd", { textContent: value.replaceAll("_", " ") }));
  }
  return list;
}

function input(name, value) {
  if (!choices[name]) return element("input", { name, value: value ?? "" });
  const options = choices[name].map((one) => element("option", { value: one, textContent: one.replaceAll("_", " ") }));
  const made = element("select", { name }, ...options);
  made.value = value;
  return made;
}

function argumentsOf(mention) {
  const { judge, reasoning } = mention.verdicts ?? {};
  const lines = [
    ["Judge", judge && (judge.valid ? "valid" : `invalid: ${judge.invalid_reason}`)],
    ["Reasoner", reasoning && (reasoning.valid ? "valid" : `invalid: ${reasoning.invalid_reason}`)],
    ["Analysis", reasoning?.analysis],
    ["Devil’s advocate", reasoning?.devils_advocate],
  ].filter(([, said]) => said);
  if (!lines.length) return [];
  const told = lines.map(([who, said]) => element("p", {}, element("b", { textContent: `${who}: ` }), said));
  return [element("details", { open: true }, element("summary", { textContent: "What the stages said" }), ...told)];
}

function drawList() {
  const only = at("only").checked;
  let source = null;
  const parts = [];
  pages.forEach((page, number) => {
    const some = mentionsOf(page).length > 0;
    if (only && !some && number !== current.page) return;
    if (page.source !== source) {
      source = page.source;
      parts.push(element("h2", { textContent: source }), element("div", { className: "pages" }));
    }
    const label = labelOf(page);
    const state = label?.complete ? "complete" : label ? "touched" : "";
    const made = button(String(page.page), () => go(number), `${some ? "some" : ""} ${state}`.trim());
    made.setAttribute("aria-label", `${page.source}, page ${page.page}${state ? `, ${state}` : ""}`);
    if (number === current.page) made.setAttribute("aria-current", "page");
    parts.at(-1).append(made);
  });
  at("list").replaceChildren(...parts);
}

// Moving and editing

// What is typed is kept when the reviewer goes on with something else.
function keepEdited() {
  const card = document.querySelector("article.edited");
  const mention = mentionsOf(pages[current.page]).find((one) => spanOf(one) === editing);
  if (card && mention) keep(mention, card);
}

function go(number) {
  keepEdited();
  current = { page: Math.max(0, Math.min(number, pages.length - 1)), mention: 0 };
  editing = null;
  draw();
  at("main").scrollTo(0, 0);
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest" });
  document.querySelector("mark.current")?.scrollIntoView({ block: "center" });
}

// To the next page that the list shows, in this direction.
function step(direction) {
  const shown = (number) => !at("only").checked || mentionsOf(pages[number]).length > 0;
  let number = current.page + direction;
  while (number in pages && !shown(number)) number += direction;
  if (number in pages) go(number);
}

function choose(number) {
  keepEdited();
  current.mention = number;
  draw();
  for (const found of document.querySelectorAll(".current")) found.scrollIntoView({ block: "nearest" });
}

function edit(mention) {
  keepEdited();
  editing = spanOf(mention);
  current.mention = mentionsOf(pages[current.page]).findIndex((one) => spanOf(one) === editing);
  draw();
  document.querySelector("article.current input")?.focus();
}

function keep(mention, card) {
  const fields = { ...mention.fields };
  for (const field of card.querySelectorAll("input, select")) fields[field.name] = field.value.trim() || null;
  editing = null;
  decide(mention, "edit", fields);
}

function selected() {
  const selection = getSelection();
  if (!selection.rangeCount || selection.isCollapsed) return null;
  const range = selection.getRangeAt(0);
  if (!at("text").contains(range.commonAncestorContainer)) return null;
  const before = document.createRange();
  before.selectNodeContents(at("text"));
  before.setEnd(range.startContainer, range.startOffset);
  let start = Array.from(before.toString()).length;
  let quote = range.toString();
  start += Array.from(quote).length - Array.from(quote.trimStart()).length;
  quote = quote.trim();
  return quote ? { start, end: start + Array.from(quote).length, quote } : null;
}

function add() {
  const found = selected();
  at("mark").hidden = true;
  if (!found) return;
  keepEdited();
  const known = mentionsOf(pages[current.page]).find((one) => spanOf(one) === spanOf(found));
  if (known) return edit(known);
  const fields = Object.fromEntries(texts.map((name) => [name, null]));
  for (const [name, values] of Object.entries(choices)) fields[name] = values[0];
  const mention = { ...found, fields, decision: "add" };
  change(pages[current.page], (label) => { label.mentions[spanOf(mention)] = mention; });
  getSelection().removeAllRanges();
  edit(mention);
}

function offerMark() {
  const found = selected();
  at("mark").hidden = !found;
  if (!found) return;
  const box = getSelection().getRangeAt(0).getBoundingClientRect();
  at("mark").style.left = `${Math.min(box.left, innerWidth - 180)}px`;
  at("mark").style.top = `${Math.min(box.bottom + 6, innerHeight - 40)}px`;
}

// Out

function rows() {
  return pages.filter(labelOf).map((page) => {
    const label = labelOf(page);
    const mentions = Object.values(label.mentions)
      .sort((one, other) => one.start - other.start)
      .map(({ decision, start, end, quote, fields }) => ({ decision, start, end, quote, ...fields }));
    return {
      source: page.source, page: page.page, text_sha256: page.text_sha256, annotator: state.annotator || "anonymous",
      time: label.time, page_complete: label.complete, mentions,
    };
  });
}

function download() {
  const lines = rows().map((row) => JSON.stringify(row) + "\n");
  const link = element("a", { href: URL.createObjectURL(new Blob(lines)), download: "labels.jsonl" });
  link.click();
  URL.revokeObjectURL(link.href);
}

const KEYS = {
  j: () => choose(Math.min(current.mention + 1, mentionsOf(pages[current.page]).length - 1)),
  k: () => choose(Math.max(current.mention - 1, 0)),
  n: () => step(1),
  p: () => step(-1),
  c: complete,
  m: add,
  a: () => withMention((mention) => decide(mention, "accept")),
  r: () => withMention((mention) => decide(mention, "reject")),
  e: () => withMention(edit),
};

function withMention(act) {
  const mention = mentionsOf(pages[current.page])[current.mention];
  if (mention) act(mention);
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape" && editing) { editing = null; draw(); return; }
  const card = event.target.closest("article.edited");
  if (event.key === "Enter" && card && typing) {
    card.querySelector(".actions button").click();
    event.preventDefault();
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
document.addEventListener("selectionchange", offerMark);
at("mark").addEventListener("mousedown", (event) => event.preventDefault());
at("mark").addEventListener("click", add);
at("complete").addEventListener("click", complete);
at("next").addEventListener("click", () => step(1));
at("previous").addEventListener("click", () => step(-1));
at("download").addEventListener("click", download);
at("only").addEventListener("change", draw);
addEventListener("storage", (event) => {
  if (event.key !== key) return;
  const stored = load();
  takeOver(stored);
  // It may have been written before what is new here was seen there.
  if (Object.entries(state.pages).some(([place, label]) => stored.pages[place]?.time !== label.time)) save();
  draw();
});
at("annotator").value = state.annotator;
at("annotator").addEventListener("input", (event) => { state.annotator = event.target.value.trim(); save(); });
draw();
