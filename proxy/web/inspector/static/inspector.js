// The page: asks for a snapshot every two seconds while somebody can see it, and shows it.

import { Abandoned, Problem, call, sentence, token } from "./api.js";
import { unreachable } from "./attention.js";
import { by, say } from "./dom.js";
import { History, clock, duration } from "./figures.js";
import { show } from "./live.js";
import { LookUp } from "./lookup.js";

const EVERY = 2000;
const UNAUTHORIZED = 401;
const STATES = { ready: "good", draining: "note", starting: "note" };
const CONNECTING = ["connecting", ""];
/** What a browser can put into a header whatever its version. */
const SENDABLE = /^[\x20-\x7e]+$/;

const history = new History();
const lookUp = new LookUp(askForToken);
let timer = 0;
let isPaused = false;
let isLocked = false;
/** The epoch of the poll that is under way; null if none is. */
let asking = null;
/** What is known of the instance, and the class of that. */
let known = CONNECTING;
let lastSeen = null;

async function poll() {
  clearTimeout(timer);
  const { epoch } = token;
  if (asking === epoch || isPaused || isLocked || document.hidden) return;
  asking = epoch;
  try {
    const { document: snapshot } = await call("GET", "/v1/inspector");
    present(snapshot);
  } catch (error) {
    if (error instanceof Abandoned) return;
    if (error instanceof Problem && error.status === UNAUTHORIZED) return askForToken();
    miss(error);
  } finally {
    if (asking === epoch) asking = null;
  }
  timer = setTimeout(poll, EVERY);
}

function present(snapshot) {
  history.add(snapshot, performance.now() / 1000);
  lookUp.offer(snapshot);
  show(snapshot, history);
  const up = duration((Date.parse(snapshot.time) - Date.parse(snapshot.startedAt)) / 1000);
  say(by("instance"), `${snapshot.version} · up ${up} · as of ${clock(snapshot.time)}`);
  lastSeen = Date.now();
  known = [snapshot.state, STATES[snapshot.state]];
  head();
  by("main").hidden = false;
  by("main").classList.remove("old");
  by("pause").hidden = false;
  by("forget").hidden = !token.get();
  if (by("token").hidden) return;
  by("token").hidden = true;
  by("attention-title").focus(); // it was in the form, which is gone
}

/** Say that there was no answer that could be shown. */
function miss(error) {
  known = ["no answer", "bad"];
  head();
  const why = sentence(error);
  // Nothing is shown on the word of a token that has not been accepted yet.
  if (!by("token").hidden) return say(by("token-error"), why);
  by("main").hidden = false;
  by("main").classList.add("old");
  unreachable(by("attention"), lastSeen, why);
}

/** Say at the top how things are. */
function head() {
  const [text, kind] = isLocked ? ["locked", "note"] : isPaused ? ["paused", "note"] : known;
  say(by("state"), text);
  by("state").className = kind ? `pill ${kind}` : "pill";
}

/** Ask for the token; where one was sent, it was not the right one. */
function askForToken() {
  clearTimeout(timer);
  isLocked = true;
  head();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  say(by("token-error"), token.get() ? "That token was not accepted." : "");
  token.forget();
  lookUp.clear();
  for (const id of ["main", "forget", "pause"]) by(id).hidden = true;
  by("token").hidden = false;
  by("token-input").focus();
}

function pause(on) {
  isPaused = on;
  say(by("pause"), on ? "Resume" : "Pause");
  resume();
}

/** Ask again after a while in which nobody did: how things were then says little. */
function resume() {
  known = CONNECTING;
  head();
  poll();
}

by("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = by("token-input").value.trim();
  by("token-input").value = "";
  if (!SENDABLE.test(given)) {
    say(by("token-error"), "That token was not accepted: a browser can send printable ASCII characters alone.");
    return;
  }
  say(by("token-error"), "");
  token.set(given);
  isLocked = false;
  pause(false);
});

by("forget").addEventListener("click", () => {
  token.forget();
  askForToken();
});

by("pause").addEventListener("click", () => pause(!isPaused));

document.addEventListener("visibilitychange", resume);

poll();
