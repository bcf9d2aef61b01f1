// The page: asks for a snapshot every two seconds while somebody can see it, and shows it.

import { Problem, call, token } from "./api.js";
import { unreachable } from "./attention.js";
import { by, say } from "./dom.js";
import { History, clock, duration } from "./figures.js";
import { show } from "./live.js";
import { LookUp } from "./lookup.js";

const EVERY = 2000;
const UNAUTHORIZED = 401;
const STATES = { ready: "good", draining: "note", starting: "note" };

const history = new History();
const lookUp = new LookUp(askForToken);
let timer = 0;
let isPaused = false;
let isAsking = false;
let isLocked = false;
let lastSeen = Date.now();

async function poll() {
  clearTimeout(timer);
  if (isAsking || isPaused || isLocked || document.hidden) return;
  isAsking = true;
  try {
    const { document: snapshot } = await call("GET", "/v1/inspector");
    history.add(snapshot, performance.now() / 1000);
    lastSeen = Date.now();
    present(snapshot);
  } catch (error) {
    if (error instanceof Problem && error.status === UNAUTHORIZED) return askForToken();
    by("main").hidden = false;
    by("main").classList.add("old");
    unreachable(by("attention"), lastSeen, error.message);
  } finally {
    isAsking = false;
  }
  timer = setTimeout(poll, EVERY);
}

function present(snapshot) {
  by("main").hidden = false;
  by("main").classList.remove("old");
  by("token").hidden = true;
  by("forget").hidden = !token.get();
  const state = by("state");
  say(state, snapshot.state);
  state.className = `pill ${STATES[snapshot.state]}`;
  const up = duration((Date.parse(snapshot.time) - Date.parse(snapshot.startedAt)) / 1000);
  say(by("instance"), `${snapshot.version} · up ${up} · as of ${clock(snapshot.time)}`);
  lookUp.offer(snapshot);
  show(snapshot, history);
}

/** Ask for the token; where one was sent, it was not the right one. */
function askForToken() {
  clearTimeout(timer);
  isLocked = true;
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  say(by("token-error"), token.get() ? "That token was not accepted." : "");
  token.forget();
  by("main").hidden = true;
  by("forget").hidden = true;
  say(by("state"), "locked");
  by("state").className = "pill note";
  by("token").hidden = false;
  by("token-input").focus();
}

by("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(by("token-input").value.trim());
  by("token-input").value = "";
  isLocked = false;
  poll();
});

by("forget").addEventListener("click", () => {
  token.forget();
  lookUp.clear();
  askForToken();
});

by("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  by("pause").setAttribute("aria-pressed", String(isPaused));
  poll();
});

document.addEventListener("visibilitychange", poll);

poll();
