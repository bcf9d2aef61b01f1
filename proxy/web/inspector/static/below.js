// What the resources stand on: upstreams with their circuits, memory, the database.

import { el, rows, say, svg, table, terms } from "./dom.js";
import * as figures from "./figures.js";

const CIRCUITS = {
  closed: ["good", "circuit closed", "Calls go through."],
  half_open: ["note", "circuit half open", "One call finds out whether the upstream is back."],
  open: ["bad", "circuit open", "Calls fail at once; one is tried now and then."],
};
/** The share of a bound from which it is said to be nearly reached. */
const NEARLY = 0.9;

const updates = new Map();

/**
 * Show the cards.
 * @param {Element} place
 * @param {object} snapshot
 * @param {{seconds: number, tally: object} | null} recent
 */
export function below(place, snapshot, recent) {
  const names = snapshot.upstreams.map(({ name }) => name);
  if (!updates.size || names.join() !== place.dataset.names) {
    updates.clear();
    place.dataset.names = names.join();
    place.replaceChildren(...names.map(upstreamCard), storeCard());
  }
  for (const upstream of snapshot.upstreams) updates.get(`upstream ${upstream.name}`)(upstream, recent);
  updates.get("store")(snapshot);
}

function upstreamCard(name) {
  const id = `upstream-${name}`;
  const pill = el("span", { class: "pill" });
  const meaning = el("p", { class: "quiet" });
  const calls = table("Its answers, and calls without one", "last minute", "since start");
  const facts = el("dl", { class: "facts" });
  updates.set(`upstream ${name}`, (upstream, recent) => {
    const [kind, text, what] = CIRCUITS[upstream.circuit];
    pill.className = `pill ${kind}`;
    say(pill, text);
    say(meaning, what);
    const now = recent?.tally.upstreams[name];
    const lines = (counts, lately, label) =>
      Object.keys(counts).map((key) => [label(key), lately ? figures.count(lately[key] ?? 0) : "–", figures.count(counts[key])]);
    const listed = [
      ...lines(upstream.requests, now?.requests, (code) => `status ${code}`),
      ...lines(upstream.errors, now?.errors, (reason) => figures.words(reason)),
    ];
    rows(calls.body, listed.length ? listed : [["no call yet", "–", "–"]]);
    const timed = now?.count ? now : upstream;
    terms(facts, [
      ["mean time", timed.count ? figures.latency(timed.seconds / timed.count) : "–"],
      ["retries", figures.count(upstream.retries)],
    ]);
  });
  return el("article", { class: "card", "aria-labelledby": id }, el("h3", { id }, name, " ", pill), meaning, calls.whole, facts);
}

function storeCard() {
  const pill = el("span", { class: "pill" });
  const memory = meter("memory");
  const database = meter("database");
  const facts = el("dl", { class: "facts roomy" });
  updates.set("store", ({ memory: tier, store }) => {
    pill.className = `pill ${store.degraded ? "bad" : "good"}`;
    say(pill, store.degraded ? "degraded" : "working");
    memory.show(tier);
    database.show(store);
    const errors = Object.entries(store.errors).map(([operation, each]) => `${figures.words(operation)} ${figures.count(each)}`);
    terms(facts, [
      ["failed calls", errors.join(", ") || "0"],
      ["invalidation lag", store.invalidationLag ? figures.duration(store.invalidationLag) : "none"],
    ]);
  });
  return el(
    "article",
    { class: "card", "aria-labelledby": "store-title" },
    el("h3", { id: "store-title" }, "store ", pill),
    memory.whole,
    database.whole,
    facts,
  );
}

/** A size against its bound, in figures and as a bar. */
function meter(name) {
  const text = el("p", { class: "measure" });
  const fill = svg("rect", { class: "fill", height: "100%" });
  const bar = svg("svg", { class: "bar", "aria-hidden": "true" }, fill);
  const show = ({ bytes, maxBytes }) => {
    const share = maxBytes ? bytes / maxBytes : 0;
    const nearly = share >= NEARLY ? ", near its bound" : "";
    say(text, `${name}: ${figures.bytes(bytes)} of ${figures.bytes(maxBytes)}, ${figures.percent(share)}${nearly}`);
    fill.setAttribute("width", `${Math.min(100, 100 * share)}%`);
    fill.setAttribute("class", nearly ? "fill nearly" : "fill");
  };
  return { whole: el("div", { class: "meter" }, text, bar), show };
}
