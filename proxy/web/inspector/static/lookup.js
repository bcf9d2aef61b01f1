// Look an entity up by either of its ids, and refresh or erase it.

import { Abandoned, Problem, call, indented, sentence } from "./api.js";
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
const SPACED = "White space stands before or after this id, and is part of it: without it, it is another id.";
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

/**
 * An entity that is looked up: what explain says of it is `held`, null before there is an answer. One call is made about
 * it at a time.
 * @typedef {{resource: object, id: string, held: object | null, isBusy: boolean}} Subject
 */

/** The look-up. `onUnauthorized` is called when the listener wants another token. */
export class LookUp {
  #onUnauthorized;
  #resources = [];
  #scope = "replica";
  #asOf = "";
  /** @type {Subject | null} What is shown, or waited for. An answer about another one comes too late to be shown. */
  #subject = null;
  /** What the open dialog is there to confirm: about the entity that it names, whatever is shown by then. */
  #confirmed = () => {};

  constructor(onUnauthorized) {
    this.#onUnauthorized = onUnauthorized;
    by("look-up-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#look();
    });
    this.#dialog("refresh");
    this.#dialog("erase");
    by("erase-word").addEventListener("input", () => {
      by("erase-go").disabled = by("erase-word").value.trim().toLowerCase() !== ERASE;
    });
  }

  /** Offer the resources of a snapshot. */
  offer({ resources, scope, time }) {
    this.#scope = scope;
    this.#asOf = time;
    by("look-up-form").hidden = !resources.length;
    by("no-resources").hidden = resources.length > 0;
    const before = this.#resources.map(({ name }) => name).join();
    this.#resources = resources;
    if (resources.map(({ name }) => name).join() === before) return;
    by("resource").replaceChildren(...resources.map(({ name }) => el("option", { value: name }, name)));
  }

  /** Show nothing. */
  clear() {
    this.#subject = null;
    by("found").replaceChildren();
    by("found").hidden = true;
    by("look-up").removeAttribute("aria-busy");
    by("entity").value = "";
    say(by("look-up-error"), "");
    say(by("look-up-status"), "");
  }

  /** Make a call about an entity, and say what is wrong if it fails. */
  async #attempt(subject, action) {
    if (subject.isBusy) return;
    say(by("look-up-error"), "");
    say(by("look-up-status"), "");
    this.#setBusy(subject, true);
    try {
      await action();
    } catch (error) {
      if (error instanceof Abandoned) return;
      if (error instanceof Problem && error.status === UNAUTHORIZED) return this.#onUnauthorized();
      this.#tell("look-up-error", subject, sentence(error));
    } finally {
      this.#setBusy(subject, false);
    }
  }

  #setBusy(subject, isBusy) {
    subject.isBusy = isBusy;
    if (subject !== this.#subject) return;
    by("look-up").setAttribute("aria-busy", String(isBusy));
    // Not by `disabled`, which would take the focus away.
    for (const button of by("found").querySelectorAll("button")) button.setAttribute("aria-disabled", String(isBusy));
  }

  /** Say how it went with an entity: by its id, if another one is shown by now. */
  #tell(place, subject, text) {
    if (subject === this.#subject) say(by(place), text);
    // A look-up that another one has overtaken is of no interest; what was done to an entity is.
    else if (subject.held) by(place).replaceChildren(el("bdi", { class: "code" }, externalOf(subject)), `: ${text}`);
  }

  #look() {
    const resource = this.#resources.find(({ name }) => name === by("resource").value);
    const subject = { resource, id: by("entity").value, held: null, isBusy: false };
    this.#subject = subject;
    by("found").hidden = true;
    this.#attempt(subject, async () => {
      this.#present(subject, await explained(resource, subject.id));
      if (subject === this.#subject) by("found-title").focus();
    });
  }

  /** Change an entity, and look at it again if it is still what is shown. */
  async #change(subject, change) {
    try {
      await change();
    } catch (error) {
      await this.#lookAgain(subject).catch(() => {}); // why the change failed says more
      throw error;
    }
    await this.#lookAgain(subject);
  }

  async #lookAgain(subject) {
    if (subject !== this.#subject) return;
    const { document: held } = await call("POST", `${pathOf(subject)}/explain`, bodyOf(subject));
    const hadFocus = by("found").contains(document.activeElement);
    this.#present(subject, held);
    if (hadFocus && subject === this.#subject) by("found-title").focus();
  }

  async #refresh(subject) {
    const { document } = await call("POST", `${pathOf(subject)}/refresh`, bodyOf(subject));
    this.#tell("look-up-status", subject, `Fetched: version ${document.version}.`);
  }

  async #erase(subject) {
    const { document } = await call("DELETE", `${pathOf(subject)}/${subject.held.id}`);
    const text = document.scope === "shared" ? "Erased on all replicas." : "Erased on this replica.";
    this.#tell("look-up-status", subject, text);
  }

  async #showData(subject, place) {
    const { text } = await call("POST", `${pathOf(subject)}/explain?include=data`, bodyOf(subject));
    // As it was written, so that no number is rounded. A quote within a string is escaped: this is no part of one.
    const entity = text.slice(text.indexOf(ENTITY) + ENTITY.length, -1);
    place.replaceChildren(el("pre", { tabindex: "0", role: "region", "aria-label": "Data" }, indented(entity)));
  }

  /** Show what is held of an entity, unless another one is looked up by now. */
  #present(subject, held) {
    subject.held = held;
    if (subject !== this.#subject) return;
    const { resource } = subject;
    const external = externalOf(subject);
    const [kind, meaning] = STATES[held.state];
    const facts = el("dl", { class: "facts long" });
    terms(facts, factsOf(resource, held, this.#asOf));
    const { next } = held;
    const data = el("div");
    by("found").replaceChildren(
      el("h3", { id: "found-title", tabindex: "-1" }, el("span", { class: "code" }, external), " ", el("span", { class: `pill ${kind}` }, held.state)),
      el("p", {}, meaning),
      ...(!held.id && external !== external.trim() ? [el("p", {}, SPACED)] : []),
      ...(held.freshness && held.state !== "absent" ? timeline(held) : []),
      el("h4", {}, "The next request for it"),
      el("p", {}, `${NEXT[next.result]} ${next.why} The upstream would ${next.upstream ? "" : "not "}be asked.`),
      facts,
      this.#buttons(subject, data),
      data,
    );
    by("found").hidden = false;
  }

  #buttons(subject, data) {
    const show = el("button", { type: "button" }, "Show data");
    show.addEventListener("click", () => this.#attempt(subject, () => this.#showData(subject, data)));
    const refresh = el("button", { type: "button" }, "Refresh…");
    refresh.addEventListener("click", () => this.#confirm("refresh", subject, () => this.#refresh(subject)));
    const erase = el("button", { type: "button", class: "danger" }, "Erase…");
    erase.addEventListener("click", () => this.#confirm("erase", subject, () => this.#erase(subject)));
    const all = subject.held.id ? [show, refresh, erase] : [refresh];
    return el("div", { class: "buttons" }, ...all);
  }

  /** Make a dialog work. Focus is on Cancel first. */
  #dialog(name) {
    const dialog = by(`${name}-dialog`);
    dialog.querySelector("[value=cancel]").addEventListener("click", () => dialog.close());
    by(`${name}-form`).addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close();
      this.#confirmed();
    });
  }

  /** Open the dialog that has a change confirmed. */
  #confirm(name, subject, change) {
    if (subject.isBusy) return;
    const { resource, held } = subject;
    this.#confirmed = () => this.#attempt(subject, () => this.#change(subject, change));
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

function pathOf({ resource }) {
  return `/v1/${resource.plural}`;
}

function externalOf({ resource, held }) {
  return held[resource.idMember];
}

function bodyOf(subject) {
  return { [subject.resource.idMember]: externalOf(subject) };
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
