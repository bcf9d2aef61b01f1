// Numbers: what has happened within the last minute, quantiles, and how all of it is written. Nothing here touches the page.

/** Seconds of what is called the last minute. */
export const WINDOW = 60;
/** Seconds of a trend. */
export const TREND = 300;
/** Seconds over which each point of a trend is a mean; a little more, for the polls are not on the second. */
const SMOOTHED = 10.5;

/** Which cache results were answered without asking the upstream, and which by asking it. */
const KINDS = { hit: "copy", stale: "copy", negative: "copy", miss: "fetched", revalidated: "fetched", partial: "fetched" };

/**
 * All that a snapshot has counted, and only that: the difference of two tallies is a tally.
 * @returns {{resources: object, upstreams: object, routes: object}}
 */
export function tally(snapshot) {
  const width = snapshot.latencyBounds.length + 1;
  const none = () => new Array(width).fill(0);
  const resources = {};
  for (const { name, entities, misses } of snapshot.resources) {
    resources[name] = { entities, misses, copy: none(), fetched: none() };
  }
  const routes = {};
  for (const { route, resource, failed, results } of snapshot.routes) {
    const own = (routes[route] = { failed, count: 0, buckets: none() });
    for (const { cache, count, buckets } of results) {
      own.count += count;
      add(own.buckets, buckets);
      if (resource in resources && cache in KINDS) add(resources[resource][KINDS[cache]], buckets);
    }
  }
  const upstreams = {};
  for (const { name, requests, errors, retries, count, seconds } of snapshot.upstreams) {
    upstreams[name] = { requests, errors, retries, count, seconds };
  }
  return { resources, upstreams, routes };
}

function add(buckets, more) {
  more.forEach((count, at) => (buckets[at] += count));
}

/** The difference of two tallies, or of parts of them: what was not there before was 0. */
export function minus(now, before) {
  if (typeof now === "number") return now - (before ?? 0);
  if (Array.isArray(now)) return now.map((each, at) => minus(each, before?.[at]));
  return Object.fromEntries(Object.entries(now).map(([name, each]) => [name, minus(each, before?.[name])]));
}

/** What was counted lately. Times are in seconds on a clock that never steps. */
export class History {
  #samples = [];
  #start = "";

  /** Another snapshot; one of another process begins anew. */
  add(snapshot, at) {
    if (snapshot.startedAt !== this.#start) this.#samples = [];
    this.#start = snapshot.startedAt;
    this.#samples.push({ at, tally: tally(snapshot) });
    while (this.#samples[0].at < at - TREND) this.#samples.shift();
  }

  /** What was counted within the last minute, and of how many seconds that is; null before there are two samples. */
  window() {
    const last = this.#samples.at(-1);
    const first = last && this.#samples.find((sample) => sample.at >= last.at - WINDOW - 1);
    if (!last || first === last) return null;
    return { seconds: last.at - first.at, tally: minus(last.tally, first.tally) };
  }

  /** What was counted since the start. */
  get total() {
    return this.#samples.at(-1).tally;
  }

  /** The hit ratio of a resource, of ten seconds each, with its age in seconds; null where nothing was asked for. */
  trend(resource) {
    const entities = (sample) => sample.tally.resources[resource].entities;
    const last = this.#samples.at(-1);
    let before = 0;
    return this.#samples.slice(1).map((sample) => {
      while (this.#samples[before].at < sample.at - SMOOTHED) before++;
      const since = minus(entities(sample), entities(this.#samples[before]));
      return { age: last.at - sample.at, ratio: hitRatio(since) };
    });
  }
}

/** The sum of a map of counts. */
export function sum(counts) {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

/** The share of ids that were answered without waiting for the upstream; null if none was asked for. */
export function hitRatio(entities) {
  const asked = sum(entities);
  return asked ? ((entities.hit ?? 0) + (entities.stale ?? 0) + (entities.negative ?? 0)) / asked : null;
}

/**
 * A quantile in seconds, interpolated within its bucket: Infinity above the last bound, null of nothing.
 * @param {number[]} buckets counts within each bound, the last above them all
 */
export function quantile(q, buckets, bounds) {
  const rank = q * buckets.reduce((total, count) => total + count, 0);
  if (rank === 0) return null;
  let below = 0;
  for (const [at, bound] of bounds.entries()) {
    const within = buckets[at];
    if (within && below + within >= rank) {
      const from = at ? bounds[at - 1] : 0;
      return from + ((bound - from) * (rank - below)) / within;
    }
    below += within;
  }
  return Infinity;
}

const whole = new Intl.NumberFormat("en");
const NOTHING = "–";

/** 1234 → "1,234" */
export function count(value) {
  return whole.format(value);
}

/** 0.98765 → "98.7 %", rounded down: what is not all is never 100 %. */
export function percent(ratio) {
  if (ratio === null) return NOTHING;
  if (ratio > 0 && ratio < 0.001) return "under 0.1 %";
  return ratio === 1 || ratio === 0 ? `${ratio * 100} %` : `${(Math.floor(ratio * 1000) / 10).toFixed(1)} %`;
}

/** So many within so many seconds. */
export function rate(events, seconds) {
  const each = events / seconds;
  return each >= 100 || each === 0 ? count(Math.round(each)) : each.toFixed(each < 1 ? 2 : 1);
}

/** A latency: 0.00042 → "0.42 ms". */
export function latency(seconds, bounds) {
  if (seconds === null || Number.isNaN(seconds)) return NOTHING;
  if (seconds === Infinity) return `> ${bounds.at(-1)} s`;
  if (seconds >= 1) return `${seconds.toFixed(1)} s`;
  const ms = seconds * 1000;
  return `${ms.toFixed(ms < 1 ? 2 : ms < 10 ? 1 : 0)} ms`;
}

/** p50, p95 and p99 of buckets. */
export function quantiles(buckets, bounds) {
  return [0.5, 0.95, 0.99].map((q) => latency(quantile(q, buckets, bounds), bounds));
}

const UNITS = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];

/** A duration in its two largest units: 11520 → "3 h 12 min". */
export function duration(seconds) {
  let left = Math.round(Math.abs(seconds));
  const at = UNITS.findIndex(([unit]) => left >= unit);
  if (at < 0) return "0 s";
  const parts = [];
  for (const [unit, name] of UNITS.slice(at, at + 2)) {
    const fits = Math.floor(left / unit);
    left -= fits * unit;
    if (fits) parts.push(`${fits} ${name}`);
  }
  return parts.join(" ");
}

/** 1572864 → "1.5 MiB" */
export function bytes(value) {
  const names = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; value >= 1024 && at < names.length - 1; at++) value /= 1024;
  return `${at && value < 100 && value % 1 ? value.toFixed(1) : Math.round(value)} ${names[at]}`;
}

/** The time of day, as this browser's user reads it. */
export function clock(time) {
  return new Date(time).toLocaleTimeString([], { hourCycle: "h23" });
}

/** A name of the API in words: "never_seen" → "never seen". */
export function words(name) {
  return name.replaceAll("_", " ");
}
