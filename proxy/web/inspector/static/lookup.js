// Look an entity up by either of its ids, and refresh or erase it.

import { Problem, call, indented } from "./api.js";
import { by, el, say, terms } from "./dom.js";
import { clock, duration, words } from "./figures.js";

const UNAUTHORIZED = 401;
const INVALID = 422;
const ERASE = "erase";
/** What stands before the last member of an answer of explain. */
const ENTITY = ',"entity":';
const STATES = {
  fresh: ["good", "A copy is held, and it is fresh."],
  stale: ["note", "A copy is held, past its freshness."],
  invalidated: ["note", "Its ids are kept. The copy was dropped: it was invalidated, or had to make room."],
  absent: ["note", "The owner said a moment ago that it does not exist."],
  unknown: ["", "Nothing is held of it."],
};
/** The least share of a stage that shows in its bar. */
const VISIBLE = 0.03;
const NEXT = {
  hit: "would be a hit.",
  stale: "would be given the stale copy.",
  absent: "would be told that there is none.",
  revalidate: "would have the copy revalidated.",
  miss: "would be a miss.",
  bypass: "would bypass the cache.",
};
const SCOPES = {
  replica: "On this replica alone: each replica has a store of its own, and has to be asked too.",
  shared: "On all replicas that share the store.",
};

/** The look-up. `onUnauthorized` is called when the listener wants another token. */
export class LookUp {
  #onUnauthorized;
  #resources = [];
  #scope = "replica";
  #asOf = "";
  /** What is shown: the resource and what explain says of the entity. */
  #subject = null;

  constructor(onUnauthorized) {
    this.#onUnauthorized = onUnauthorized;
    by("look-up-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#attempt(() => this.#look());
    });
    this.#dialog("refresh", () => this.#refresh());
    this.#dialog("erase", () => this.#erase());
    by("erase-word").addEventListener("input", () => {
      by("erase-go").disabled = by("erase-word").value.trim().toLowerCase() !== ERASE;
    });
  }

  /** Offer the resources of a snapshot. */
  offer({ resources, scope, time }) {
    this.#scope = scope;
    this.#asOf = time;
    const names = resources.map(({ name }) => name).join();
    if (names === this.#resources.map(({ name }) => name).join()) return;
    this.#resources = resources;
    by("resource").replaceChildren(...resources.map(({ name }) => el("option", { value: name }, name)));
  }

  /** Show nothing. */
  clear() {
    this.#subject = null;
    by("found").replaceChildren();
    by("found").hidden = true;
    by("entity").value = "";
    say(by("look-up-error"), "");
    say(by("look-up-status"), "");
  }

  /** Do something, and say what is wrong if it fails. */
  async #attempt(action) {
    say(by("look-up-error"), "");
    say(by("look-up-status"), "");
    by("look-up").setAttribute("aria-busy", "true");
    try {
      await action();
    } catch (error) {
      if (error instanceof Problem && error.status === UNAUTHORIZED) return this.#onUnauthorized();
      say(by("look-up-error"), error.message);
    } finally {
      by("look-up").removeAttribute("aria-busy");
    }
  }

  async #look() {
    by("found").hidden = true;
    this.#subject = null;
    const resource = this.#resources.find(({ name }) => name === by("resource").value);
    const id = by("entity").value.trim();
    this.#present(resource, await explained(resource, id));
    by("found-title").focus();
  }

  /** Look again at what is shown, after it has been changed. */
  async #lookAgain() {
    const { resource, held } = this.#subject;
    const external = { [resource.idMember]: held[resource.idMember] };
    const { document } = await call("POST", `/v1/${resource.plural}/explain`, external);
    this.#present(resource, document);
    by("found-title").focus();
  }

  async #refresh() {
    const { resource, held } = this.#subject;
    const external = { [resource.idMember]: held[resource.idMember] };
    try {
      const { document } = await call("POST", `/v1/${resource.plural}/refresh`, external);
      say(by("look-up-status"), `Fetched: version ${document.version}.`);
    } finally {
      await this.#lookAgain();
    }
  }

  async #erase() {
    const { resource, held } = this.#subject;
    try {
      const { document } = await call("DELETE", `/v1/${resource.plural}/${held.id}`);
      say(by("look-up-status"), document.scope === "shared" ? "Erased on all replicas." : "Erased on this replica.");
    } finally {
      await this.#lookAgain();
    }
  }

  async #showData(place) {
    const { resource, held } = this.#subject;
    const external = { [resource.idMember]: held[resource.idMember] };
    const { text } = await call("POST", `/v1/${resource.plural}/explain?include=data`, external);
    // As it was written, so that no number is rounded. A quote within a string is escaped: this is no part of one.
    const entity = text.slice(text.indexOf(ENTITY) + ENTITY.length, -1);
    place.replaceChildren(el("pre", { tabindex: "0", role: "region", "aria-label": "Data" }, indented(entity)));
  }

  #present(resource, held) {
    this.#subject = { resource, held };
    const [kind, meaning] = STATES[held.state];
    const facts = el("dl", { class: "facts long" });
    terms(facts, factsOf(resource, held, this.#asOf));
    const { next } = held;
    const data = el("div");
    by("found").replaceChildren(
      el("h3", { id: "found-title", tabindex: "-1" }, el("span", { class: "code" }, held[resource.idMember]), " ", el("span", { class: `pill ${kind}` }, held.state)),
      el("p", {}, meaning),
      ...(held.freshness && held.state !== "absent" ? timeline(held) : []),
      el("h4", {}, "The next request for it"),
      el("p", {}, `${NEXT[next.result]} ${next.why} The upstream would ${next.upstream ? "" : "not "}be asked.`),
      facts,
      this.#buttons(held, data),
      data,
    );
    by("found").hidden = false;
  }

  #buttons(held, data) {
    const show = el("button", { type: "button" }, "Show data");
    show.addEventListener("click", () => this.#attempt(() => this.#showData(data)));
    const refresh = el("button", { type: "button" }, "Refresh…");
    refresh.addEventListener("click", () => this.#open("refresh"));
    const erase = el("button", { type: "button", class: "danger" }, "Erase…");
    erase.addEventListener("click", () => this.#open("erase"));
    const all = held.id ? [show, refresh, erase] : [refresh];
    return el("div", { class: "buttons" }, ...all);
  }

  /** Have a dialog confirm an action. Focus is on Cancel first. */
  #dialog(name, action) {
    const dialog = by(`${name}-dialog`);
    dialog.querySelector("[value=cancel]").addEventListener("click", () => dialog.close());
    by(`${name}-form`).addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close();
      this.#attempt(action);
    });
  }

  #open(name) {
    const { resource, held } = this.#subject;
    say(by("refresh-title"), `Fetch this ${words(resource.name)} now?`);
    say(by("erase-title"), `Erase this ${words(resource.name)}?`);
    say(by("erase-scope"), SCOPES[this.#scope]);
    terms(by(`${name}-facts`), idsOf(held, resource));
    by("erase-word").value = "";
    by("erase-go").disabled = true;
    by(`${name}-dialog`).showModal();
  }
}

/** What explain says of an id, whichever it is: the API knows its own from the owner's. */
async function explained(resource, id) {
  const path = `/v1/${resource.plural}/explain`;
  try {
    return (await call("POST", path, { [resource.idMember]: id })).document;
  } catch (error) {
    const isInternal = error instanceof Problem && error.status === INVALID && error.errors[0]?.detail.startsWith("is an internal id");
    if (!isInternal) throw error;
    return (await call("POST", path, { id })).document;
  }
}

function idsOf(held, resource) {
  return [
    ["external id", el("span", { class: "code" }, held[resource.idMember])],
    ["internal id", el("span", { class: "code" }, held.id ?? "none")],
  ];
}

function factsOf(resource, held, asOf) {
  const synced = held.lastSyncedAt && new Date(held.lastSyncedAt).toLocaleString();
  return [
    ...idsOf(held, resource),
    ["version", held.version === null ? "–" : String(held.version)],
    ["owner’s version", held.sourceVersion ?? "–"],
    ["last synced", synced ?? "–"],
    ["age", held.age === null ? "–" : duration(held.age)],
    ["as of", clock(asOf)],
  ];
}

/** The stages of a copy's life, one after the other, and which one it is in: as a bar, and in words. */
function timeline({ freshness }) {
  const { lifetime, ttl, staleWhileRevalidate, staleIfError } = freshness;
  const stages = [
    ["fresh", "served as it is", ttl - lifetime, ttl],
    ["stale", "served, and fetched again behind", ttl, staleWhileRevalidate],
    ["outage", "served while the upstream fails", Math.max(ttl, staleWhileRevalidate), staleIfError],
  ].filter(([, , from, to]) => to > from);
  const bar = el("div", { class: "life", "aria-hidden": "true" });
  const list = el("ol", { class: "timeline", "aria-label": "Freshness" });
  for (const [name, what, from, to] of stages) {
    const isNow = from <= 0 && to > 0;
    const share = isNow ? Math.max(VISIBLE, -from / (to - from)) : Number(to <= 0);
    const when = to <= 0 ? `ended ${duration(to)} ago` : isNow ? `now, ${duration(to)} left` : `in ${duration(from)}`;
    bar.append(el("progress", { max: "1", value: String(share), class: isNow ? "now" : "" }));
    const step = isNow ? { class: "now", "aria-current": "step" } : {};
    list.append(el("li", step, el("span", {}, `${name}: ${what}`), el("span", {}, when)));
  }
  return [bar, list];
}
