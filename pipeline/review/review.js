"use strict";
// Text from papers is only ever put into text nodes and values of form fields, so it is never parsed as markup.
//
// `pages`: what review_pages.py makes of each page. `choices`: the fields of a dataset with a fixed set of values, and
// those values. `texts`: the fields with free text.
//
// A label has `complete`, `time`, `text` (hash of the text that was labelled) and `mentions`: the decisions by span.
const { pages, choices, texts } = JSON.parse(document.getElementById("data").textContent);
const key = "dataset-mentions-review:" + document.documentElement.dataset.key;
const byId = (id) => document.getElementById(id);
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

// The same review may be open in another tab. The newest label of each page is kept.
function merge(stored) {
  for (const [place, label] of Object.entries(stored.pages)) {
    if (!(state.pages[place]?.time >= label.time)) state.pages[place] = label;
  }
}

function save() {
  try {
    merge(load());
    localStorage.setItem(key, JSON.stringify(state));
    byId("saved").textContent = "Saved in this browser";
  } catch {
    byId("saved").textContent = "This browser cannot save: download labels.jsonl before you close the page";
  }
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// Pages and mentions: the pipeline's, overridden by the reviewer's

const keyOf = (page) => page.source + "\u0000" + page.page;
const labelOf = (page) => {
  const label = state.pages[keyOf(page)];
  return label?.text === page.text_sha256 ? label : undefined;
};
const spanOf = (mention) => mention.start + "-" + mention.end;

// Changes the label of a page, saves it and draws the page again.
function change(page, edit) {
  const label = labelOf(page) ?? { complete: false, mentions: {}, text: page.text_sha256 };
  state.pages[keyOf(page)] = label;
  edit(label);
  label.time = new Date().toISOString();
  save();
  draw();
}

function mentionsOf(page) {
  const decisions = labelOf(page)?.mentions ?? {};
  const found = page.mentions.map((mention) => ({ ...mention, ...decisions[spanOf(mention)] }));
  const known = new Set(page.mentions.map(spanOf));
  const added = Object.entries(decisions).filter(([span]) => !known.has(span)).map(([, mention]) => mention);
  return [...found, ...added].sort((one, other) => one.start - other.start || one.end - other.end);
}

function verdict(mention) {
  if (mention.decision) return mention.decision === "reject" ? "invalid" : "valid";
  if (mention.valid === null) return "open";
  return mention.valid ? "valid" : "invalid";
}

const DECISIONS = { accept: "Accepted by you.", reject: "Rejected by you.", edit: "Edited by you.", add: "Added by you." };

// What the stages decided, whatever the reviewer says. A mention that the reviewer has added has no verdict.
function pipelineVerdict({ valid, invalid_reason: reason }) {
  if (valid === undefined) return "";
  if (valid === null) return "Pipeline: no verdict yet";
  return valid ? "Pipeline: valid" : ["Pipeline: invalid", reason].filter(Boolean).join(": ");
}

const wordsOf = (name) => name.replaceAll("_", " ").replace("devils", "devil's");

function decide(mention, decision, fields = mention.fields) {
  const page = pages[current.page];
  change(page, (label) => {
    // A mention that the reviewer has added stays added when it is edited. When it is rejected, it is gone.
    const added = mention.decision === "add";
    if (added && decision === "reject") delete label.mentions[spanOf(mention)];
    else label.mentions[spanOf(mention)] = decided(mention, added ? "add" : decision, fields);
  });
}

function decided({ start, end, quote }, decision, fields) {
  return { start, end, quote, fields, decision };
}

function complete() {
  saveEdited();
  const page = pages[current.page];
  const wasComplete = labelOf(page)?.complete;
  change(page, (label) => {
    label.complete = !wasComplete;
    if (wasComplete) return;
    // The reviewer agrees with the pipeline on all mentions without a decision.
    for (const mention of mentionsOf(page).filter((one) => !one.decision)) {
      const decision = verdict(mention) === "invalid" ? "reject" : "accept";
      label.mentions[spanOf(mention)] = decided(mention, decision, mention.fields);
    }
  });
}

// Drawing

function draw() {
  const page = pages[current.page];
  const mentions = mentionsOf(page);
  current.mention = Math.max(0, Math.min(current.mention, mentions.length - 1));
  byId("title").textContent = `${page.source}, page ${page.page}`;
  drawText(page, mentions);
  drawCards(page, mentions);
  drawList();
  byId("complete").textContent = labelOf(page)?.complete ? "Page is complete ✓" : "Mark page as complete";
  byId("complete").setAttribute("aria-pressed", Boolean(labelOf(page)?.complete));
  const completed = pages.filter((one) => labelOf(one)?.complete).length;
  byId("progress").textContent = `${completed} of ${pages.length} ${pages.length === 1 ? "page" : "pages"} complete`;
}

// Offsets count Unicode characters. A JavaScript string counts some of them as two, an array of characters does not.
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
  byId("text").replaceChildren(...parts);
}

function drawCards(page, mentions) {
  const cards = mentions.map((mention, number) => card(mention, number));
  if (page.contradictions.length) {
    const heading = element("b", { textContent: "Judged both ways in this document" });
    const lines = page.contradictions.map((text) => element("div", { textContent: text }));
    cards.unshift(element("p", { className: "contradiction" }, heading, ...lines));
  }
  if (!mentions.length) cards.push(hint("No dataset is marked on this page."));
  if (page.unlocated.length) {
    const names = page.unlocated.join(", ");
    cards.push(hint(`Found by the pipeline, but not in the text of this page: ${names}`));
  }
  byId("cards").replaceChildren(...cards);
}

function hint(text) {
  return element("p", { className: "hint", textContent: text });
}

function card(mention, number) {
  const isEdited = editing === spanOf(mention);
  const classes = [verdict(mention), number === current.mention ? "current" : "", isEdited ? "edited" : ""];
  const made = element("article", { className: classes.join(" ").trim() });
  made.addEventListener("click", () => number !== current.mention && choose(number));
  const canonical = mention.canonical_name ? `Canonical name: ${mention.canonical_name}` : "";
  made.append(element("h3", { textContent: mention.quote.replace(/\s+/g, " ") }));
  for (const text of [DECISIONS[mention.decision], pipelineVerdict(mention), canonical].filter(Boolean)) {
    made.append(element("div", { className: "state", textContent: text }));
  }
  const actions = element("div", { className: "actions" });
  if (isEdited) {
    actions.append(button("Save", () => saveFields(mention, made), "main"), button("Cancel", cancel));
  } else {
    const added = mention.decision === "add";
    if (!added) actions.append(button("Accept", () => { saveEdited(); decide(mention, "accept"); }));
    actions.append(
      button(added ? "Remove" : "Reject", () => { saveEdited(); decide(mention, "reject"); }),
      button("Edit", () => edit(mention)),
    );
  }
  made.append(actions, fieldsOf(mention, isEdited), ...verdictsOf(mention));
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
    list.append(element("dt", { textContent: wordsOf(name) }));
    list.append(isEdited ? element("dd", {}, input(name, value, mention)) : element("dd", { textContent: value.replaceAll("_", " ") }));
  }
  return list;
}

// A class that the pipeline does not know starts empty, and can stay so: then nobody has labelled it.
function input(name, value, mention) {
  if (!choices[name]) return element("input", { name, value: value ?? "" });
  const found = pages[current.page].mentions.find((one) => spanOf(one) === spanOf(mention));
  const options = (found?.fields[name] ? [] : [""]).concat(choices[name]);
  const made = element("select", { name },
    ...options.map((one) => element("option", { value: one, textContent: one ? one.replaceAll("_", " ") : "not labelled" })));
  made.value = value ?? "";
  return made;
}

// The verdict of each stage, and the arguments that it gives: all other values that are text.
function verdictsOf(mention) {
  const lines = Object.entries(mention.verdicts ?? {}).flatMap(([stage, { valid, reason, invalid_reason: older, ...rest }]) => [
    [stage, [valid ? "valid" : "invalid", reason || older].filter(Boolean).join(": ")],
    ...Object.entries(rest).filter(([, value]) => typeof value === "string"),
  ]);
  if (!lines.length) return [];
  const paragraphs = lines.map(([name, text]) =>
    element("p", {}, element("b", { textContent: `${wordsOf(name)}: ` }), text));
  return [element("details", { open: true }, element("summary", { textContent: "Verdicts" }), ...paragraphs)];
}

function drawList() {
  const only = byId("only-mentions").checked;
  let source = null;
  const parts = [];
  pages.forEach((page, number) => {
    const hasMentions = mentionsOf(page).length > 0;
    if (only && !hasMentions && number !== current.page) return;
    if (page.source !== source) {
      source = page.source;
      parts.push(element("h2", { textContent: source }), element("div", { className: "pages" }));
    }
    const label = labelOf(page);
    const state = label?.complete ? "complete" : label ? "touched" : "";
    const made = button(String(page.page), () => go(number), `${hasMentions ? "has-mentions" : ""} ${state}`.trim());
    made.setAttribute("aria-label", `${page.source}, page ${page.page}${state ? `, ${state}` : ""}`);
    if (number === current.page) made.setAttribute("aria-current", "page");
    parts.at(-1).append(made);
  });
  byId("list").replaceChildren(...parts);
}

// Moving and editing

// Saves what was typed when the reviewer goes on with something else.
function saveEdited() {
  const card = document.querySelector("article.edited");
  const mention = mentionsOf(pages[current.page]).find((one) => spanOf(one) === editing);
  if (card && mention) saveFields(mention, card);
}

function go(number) {
  saveEdited();
  current = { page: Math.max(0, Math.min(number, pages.length - 1)), mention: 0 };
  editing = null;
  draw();
  byId("main").scrollTo(0, 0);
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest" });
  document.querySelector("mark.current")?.scrollIntoView({ block: "center" });
}

// Goes to the next page in this direction that the list shows.
function step(direction) {
  const shown = (number) => !byId("only-mentions").checked || mentionsOf(pages[number]).length > 0;
  let number = current.page + direction;
  while (number in pages && !shown(number)) number += direction;
  if (number in pages) go(number);
}

function choose(number) {
  saveEdited();
  current.mention = number;
  draw();
  for (const found of document.querySelectorAll(".current")) found.scrollIntoView({ block: "nearest" });
}

function edit(mention) {
  saveEdited();
  editing = spanOf(mention);
  current.mention = mentionsOf(pages[current.page]).findIndex((one) => spanOf(one) === editing);
  draw();
  document.querySelector("article.current input")?.focus();
}

function cancel() {
  editing = null;
  draw();
}

function saveFields(mention, card) {
  const fields = { ...mention.fields };
  for (const field of card.querySelectorAll("input, select")) fields[field.name] = field.value.trim() || null;
  editing = null;
  decide(mention, "edit", fields);
}

// The name that is selected in the text, in whole words, and its offsets.
function selected() {
  const selection = getSelection();
  if (!selection.rangeCount || selection.isCollapsed) return null;
  const range = selection.getRangeAt(0);
  if (!byId("text").contains(range.commonAncestorContainer)) return null;
  const before = document.createRange();
  before.selectNodeContents(byId("text"));
  before.setEnd(range.startContainer, range.startOffset);
  const quote = range.toString();
  if (!quote.trim()) return null;
  const place = Array.from(before.toString()).length;
  const leading = Array.from(quote).length - Array.from(quote.trimStart()).length;
  return wholeWords(place + leading, place + leading + Array.from(quote.trim()).length);
}

// A selection that begins or ends inside a word is extended to the whole word.
function wholeWords(start, end) {
  const characters = Array.from(pages[current.page].text);
  const isWord = (place) => place >= 0 && place < characters.length && /[\p{L}\p{N}\p{M}]/u.test(characters[place]);
  while (isWord(start) && isWord(start - 1)) start -= 1;
  while (isWord(end - 1) && isWord(end)) end += 1;
  return { start, end, quote: characters.slice(start, end).join("") };
}

function add() {
  const found = selected();
  byId("mark").hidden = true;
  if (!found) return;
  saveEdited();
  const known = mentionsOf(pages[current.page]).find((one) => spanOf(one) === spanOf(found));
  if (known) return edit(known);
  const fields = Object.fromEntries([...texts, ...Object.keys(choices)].map((name) => [name, null]));
  const mention = { ...found, fields, decision: "add" };
  change(pages[current.page], (label) => { label.mentions[spanOf(mention)] = mention; });
  getSelection().removeAllRanges();
  edit(mention);
}

// Shows the button that adds a mention, below the selected text.
function offerMark() {
  const found = selected();
  byId("mark").hidden = !found;
  if (!found) return;
  const box = getSelection().getRangeAt(0).getBoundingClientRect();
  byId("mark").style.left = `${Math.min(box.left, innerWidth - 180)}px`;
  byId("mark").style.top = `${Math.min(box.bottom + 6, innerHeight - 40)}px`;
}

// Labels as rows of labels.jsonl. A class without a value is left out: a field that is not there is not labelled.

const labelled = (fields) =>
  Object.fromEntries(Object.entries(fields).filter(([name, value]) => value !== null || !choices[name]));

function rows() {
  return pages.filter(labelOf).map((page) => {
    const label = labelOf(page);
    const mentions = Object.values(label.mentions)
      .sort((one, other) => one.start - other.start)
      .map(({ decision, start, end, quote, fields }) => ({ decision, start, end, quote, ...labelled(fields) }));
    return {
      source: page.source, page: page.page, text_sha256: page.text_sha256, annotator: state.annotator || "anonymous",
      time: label.time, page_complete: label.complete, mentions,
    };
  });
}

function download() {
  saveEdited();
  const made = rows();
  if (!made.length) {
    byId("saved").textContent = "Nothing to download yet";
    return;
  }
  const lines = made.map((row) => JSON.stringify(row) + "\n");
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
  if (event.key === "Escape" && editing) return cancel();
  const card = event.target.closest("article.edited");
  if (event.key === "Enter" && card && typing) {
    // The first button is Save.
    card.querySelector(".actions button").click();
    event.preventDefault();
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
document.addEventListener("selectionchange", offerMark);
byId("mark").addEventListener("mousedown", (event) => event.preventDefault());
byId("mark").addEventListener("click", add);
byId("complete").addEventListener("click", complete);
byId("next").addEventListener("click", () => step(1));
byId("previous").addEventListener("click", () => step(-1));
byId("download").addEventListener("click", download);
byId("only-mentions").addEventListener("change", draw);
addEventListener("storage", (event) => {
  if (event.key !== key) return;
  const stored = load();
  merge(stored);
  // The other tab may have saved before it saw the changes of this one.
  if (Object.entries(state.pages).some(([place, label]) => stored.pages[place]?.time !== label.time)) save();
  draw();
});
byId("annotator").value = state.annotator;
byId("annotator").addEventListener("input", (event) => { state.annotator = event.target.value.trim(); save(); });
go(Math.max(0, pages.findIndex((page) => !labelOf(page)?.complete && mentionsOf(page).some((one) => !one.decision))));
