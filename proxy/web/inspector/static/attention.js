// What somebody on call has to know first, in sentences; nothing, when all is well.

import { el } from "./dom.js";
import { clock, count, duration, sum, words } from "./figures.js";

/** Seconds for which an invalidation may wait for the database before it is worth a word. */
const LAG = 5;
/** Seconds by which the event loop may be late. */
const LATE = 0.1;

/** @typedef {["bad" | "note" | "good", string]} Remark */

/**
 * Show what needs attention.
 * @param {Element} list
 * @param {object} snapshot
 * @param {{seconds: number, tally: object} | null} recent
 */
export function attention(list, snapshot, recent) {
  const found = [...ofInstance(snapshot), ...snapshot.upstreams.flatMap((one) => ofUpstream(one, recent)), ...ofTraffic(snapshot, recent)];
  write(list, found.length ? found : [["good", "Nothing needs attention."]]);
}

/** Say that there is no answer, and of when is what is shown: null, if there has never been one. */
export function unreachable(list, since, why) {
  write(list, [["bad", since === null ? `${why} Trying again.` : `${why} What is shown is of ${clock(since)}; trying again.`]]);
}

/** @param {Remark[]} remarks */
function write(list, remarks) {
  const key = JSON.stringify(remarks);
  if (list.dataset.shown === key) return;
  list.dataset.shown = key;
  const signs = { bad: "Trouble: ", note: "Note: ", good: "" };
  list.replaceChildren(
    ...remarks.map(([kind, text]) => el("li", { class: kind }, el("span", { class: "unseen" }, signs[kind]), text)),
  );
}

/** @returns {Remark[]} */
function ofInstance({ state, store, eventLoopLag }) {
  const remarks = [];
  if (state === "draining") remarks.push(["note", "This instance is draining: it takes no further connections."]);
  if (state === "starting") remarks.push(["note", "This instance is starting."]);
  if (store.degraded)
    remarks.push(["bad", "The store is degraded: answers come from memory and the upstream. The log says why."]);
  if (store.invalidationLag > LAG)
    remarks.push(["bad", `An invalidation has waited for the database for ${duration(store.invalidationLag)}.`]);
  if (eventLoopLag > LATE)
    remarks.push(["note", `The processor is short: the event loop was ${Math.round(eventLoopLag * 1000)} ms late.`]);
  return remarks;
}

/** @returns {Remark[]} */
function ofUpstream({ name, circuit }, recent) {
  const remarks = [];
  if (circuit === "open")
    remarks.push(["bad", `The circuit of ${name} is open: what is not held fails at once, stale copies are served.`]);
  if (circuit === "half_open") remarks.push(["note", `The circuit of ${name} is half open: the next call finds out.`]);
  const errors = Object.entries(recent?.tally.upstreams[name]?.errors ?? {}).filter(([, each]) => each > 0);
  if (errors.length) {
    errors.sort(([, one], [, other]) => other - one);
    const listed = errors.map(([reason, each]) => `${words(reason)} ${count(each)}`).join(", ");
    remarks.push(["bad", `Calls to ${name} without a usable answer in the last minute: ${listed}.`]);
  }
  return remarks;
}

/** @returns {Remark[]} */
function ofTraffic({ resources }, recent) {
  if (!resources.length) return [["note", "No resource is configured: nothing is held, every call is passed through."]];
  const remarks = [];
  if (resources.every(({ entities }) => !sum(entities)))
    remarks.push(["note", "No id has been asked for since the start. Does the application use this proxy?"]);
  for (const { name } of resources) {
    const failed = recent?.tally.resources[name].entities.error ?? 0;
    if (failed)
      remarks.push(["bad", `${count(failed)} ${name} ${failed === 1 ? "id" : "ids"} asked for in the last minute had no answer.`]);
  }
  return remarks;
}
