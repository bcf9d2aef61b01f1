// The figures, of one snapshot after another.

import { by, el, rows, say, svg, table, terms } from "./dom.js";
import * as figures from "./figures.js";
import { attention } from "./attention.js";
import { below } from "./below.js";

const RESULTS = [
  ["hit", "fresh copy"],
  ["stale", "stale copy"],
  ["negative", "known absent"],
  ["miss", "fetched"],
  ["error", "failed"],
];
const MISSES = {
  never_seen: "never seen before",
  expired: "past its freshness",
  invalidated: "invalidated, or had made room",
  evicted: "evicted from memory",
  absence_expired: "absence had to be asked again",
  no_cache: "the request wanted no copy",
  bypass_credential: "bypass: bears a credential",
  bypass_shape: "bypass: no plain bulk call",
  bypass_query: "bypass: has a query string",
};
const COLUMNS = ["last minute", "since start"];

/** The cards by name; made once. */
const cards = new Map();

/**
 * Show a snapshot.
 * @param {object} snapshot
 * @param {figures.History} history
 */
export function show(snapshot, history) {
  const recent = history.window();
  const { total } = history;
  attention(by("attention"), snapshot, recent);
  const names = snapshot.resources.map(({ name }) => name);
  if (names.join() !== [...cards.keys()].join()) begin(names);
  for (const resource of snapshot.resources) {
    cards.get(resource.name)(resource, snapshot.latencyBounds, recent, total, history.trend(resource.name));
  }
  below(by("below"), snapshot, recent);
  rows(by("routes"), snapshot.routes.map(({ route }) => ofRoute(route, snapshot.latencyBounds, recent, total)), [
    "", "", "wide", "", "wide", "", "wide",
  ]);
  by("no-invalidations").hidden = snapshot.invalidations.length > 0;
  by("invalidations-table").hidden = !snapshot.invalidations.length;
  rows(
    by("invalidations"),
    snapshot.invalidations.map(({ time, resource, source, ref }) => [figures.clock(time), resource, source, ref]),
    ["", "words", "words", "words code"],
  );
}

function ofRoute(route, bounds, recent, total) {
  const before = total.routes[route];
  const now = recent?.tally.routes[route];
  return [
    route,
    now ? figures.rate(now.count, recent.seconds) : "–",
    ...(now ? figures.quantiles(now.buckets, bounds) : ["–", "–", "–"]),
    now ? figures.count(now.failed) : "–",
    figures.count(before.count),
  ];
}

function begin(names) {
  cards.clear();
  by("resources").replaceChildren(
    ...names.map((name) => {
      const { card, update } = resourceCard(name);
      cards.set(name, update);
      return card;
    }),
  );
}

/** The card of a resource, and what brings it up to date. */
function resourceCard(name) {
  const id = `resource-${name}`;
  const title = el("p", { class: "quiet" });
  const big = el("p", { class: "big" });
  const caption = el("p", { class: "quiet" });
  const trend = trendLine();
  const bar = svg("svg", { class: "bar", "aria-hidden": "true" });
  const answers = table("How ids were answered", ...COLUMNS);
  const misses = table("Why they were not in the cache", ...COLUMNS);
  const times = table("Latency", "p50", "p95", "p99");
  times.whole.className = "times";
  const facts = el("dl", { class: "facts" });
  const storage = el("span", { class: "tag" });
  const card = el(
    "article",
    { class: "card", "aria-labelledby": id },
    el("h3", { id }, name, " ", storage),
    el(
      "div",
      { class: "headline" },
      el("div", {}, title, big, caption),
      el("div", { "aria-hidden": "true" }, trend.whole, el("p", { class: "quiet" }, "last five minutes")),
    ),
    bar,
    answers.whole,
    misses.whole,
    times.whole,
    facts,
  );

  function update(resource, bounds, recent, total, ratios) {
    const all = total.resources[name];
    const now = recent?.tally.resources[name];
    say(storage, resource.storage);
    headline(title, big, caption, now, all);
    trend.draw(ratios);
    stack(bar, now && figures.sum(now.entities) ? now.entities : all.entities);
    rows(answers.body, RESULTS.map(([result, text]) => [text, ...both(now?.entities, all.entities, result)]));
    RESULTS.forEach(([result], at) => (answers.body.children[at].className = `key ${result}`));
    const reasons = Object.keys(all.misses).sort((one, other) => all.misses[other] - all.misses[one]);
    misses.whole.hidden = !reasons.length;
    rows(misses.body, reasons.map((reason) => [MISSES[reason] ?? figures.words(reason), ...both(now?.misses, all.misses, reason)]));
    const isRecent = now && figures.sum(now.copy) + figures.sum(now.fetched) > 0;
    const timed = isRecent ? now : all;
    say(times.title, `Latency of its calls, ${isRecent ? "last minute" : "since start"}`);
    rows(times.body, [
      ["from the copy", ...figures.quantiles(timed.copy, bounds)],
      ["fetched", ...figures.quantiles(timed.fetched, bounds)],
    ]);
    terms(facts, factsOf(resource));
  }

  return { card, update };
}

function headline(title, big, caption, now, all) {
  const recent = now ? figures.hitRatio(now.entities) : null;
  const ever = figures.hitRatio(all.entities);
  say(title, recent === null ? "hit ratio since start" : "hit ratio, last minute");
  say(big, figures.percent(recent ?? ever));
  say(caption, recent !== null ? `${figures.percent(ever)} since start` : ever !== null ? "idle in the last minute" : "nothing asked yet");
}

function both(now, all, name) {
  return [now ? figures.count(now[name] ?? 0) : "–", figures.count(all[name] ?? 0)];
}

function factsOf(resource) {
  const { stored, stale, freshness, upstreamIds, coalescedIds, evictions, invalidations } = resource;
  const share = stale ? `, ${figures.percent(stale / stored)}` : "";
  return [
    ["held", figures.count(stored)],
    ["stale", `${figures.count(stale)}${share}`],
    ["fresh for", figures.duration(freshness.ttl)],
    ["ids fetched", figures.count(upstreamIds)],
    ["joined a fetch", figures.count(coalescedIds)],
    ["evicted", figures.count(figures.sum(evictions))],
    ["invalidated", figures.count(figures.sum(invalidations))],
  ];
}

/** Shares of a whole, side by side. The table beside it says the same in figures. */
function stack(bar, entities) {
  const asked = figures.sum(entities);
  let x = 0;
  const parts = [];
  for (const [result] of RESULTS) {
    const width = asked ? (100 * (entities[result] ?? 0)) / asked : 0;
    if (width) parts.push(svg("rect", { class: result, x: `${x}%`, width: `${width}%`, height: "100%" }));
    x += width;
  }
  bar.replaceChildren(...parts);
}

const [WIDTH, HEIGHT, EDGE] = [150, 36, 2];

/** The hit ratio of the last five minutes; where nothing was asked for the line has a gap. */
function trendLine() {
  const line = svg("path", { class: "line" });
  const whole = svg(
    "svg",
    { class: "trend", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { class: "grid", d: `M0 ${EDGE}H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - EDGE}H${WIDTH}` }),
    line,
  );
  const draw = (ratios) => {
    let d = "";
    let pen = "M";
    for (const { age, ratio } of ratios) {
      if (ratio === null) {
        pen = "M";
        continue;
      }
      const x = WIDTH * (1 - age / figures.TREND);
      const y = EDGE + (HEIGHT - 2 * EDGE) * (1 - ratio);
      d += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
      pen = "L";
    }
    line.setAttribute("d", d);
  };
  return { whole, draw };
}
