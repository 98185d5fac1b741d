// The page: signs in, shows views, and turns keys, clicks and touches into answers.

import { api, begin, endSession, isLeaving, leave, onChange, Refused, sent, unsent } from "./net.js";
import { Stage } from "./stage.js";
import { showDashboard } from "./dashboard.js";
import { showMap } from "./map.js";
import { Sliders } from "./sliders.js";

const at = (id) => document.getElementById(id);
const NEWS_MS = 5000;
const WAITS =
  "could not be sent yet. Sign out anyway? What waits is kept in this browser, and sent when you sign in again.";
let session = null;
let view = "pair";
let known = null;
let newsTimer = 0;

const stage = new Stage({ trouble: (text) => session && say(text), signIn });

const sliders = new Sliders(at("sliders"), say);

export function say(text) {
  at("trouble").textContent = text ?? "";
  at("trouble").hidden = !text;
}

onChange((change) => {
  if (change.trouble) say(change.trouble);
  if (change.signedOut) signIn();
  const left = unsent();
  const lost = change.online === false;
  if (change.online !== undefined || left === 0) at("net").dataset.lost = lost ? "yes" : "";
  at("net").textContent =
    at("net").dataset.lost && left
      ? `No connection: ${answers(left)} kept here until it is back.`
      : "";
});

function answers(count) {
  return `${count} answer${count === 1 ? "" : "s"}`;
}

async function start() {
  if (isLeaving()) {
    endSession(); // that of who signed out while the server was away
    return signIn();
  }
  try {
    enter(await api("GET", "/api/session"));
  } catch (error) {
    if (error instanceof Refused) return signIn();
    say("The server cannot be reached; trying again.");
    setTimeout(start, 1000);
  }
}

function enter(found) {
  session = found;
  begin(found);
  sliders.forget(); // of another rater
  at("sign-in").hidden = true;
  at("bar").hidden = false;
  at("who").textContent = found.rater;
  say();
  open(here());
  news();
}

function signIn() {
  if (!at("sign-in").hidden) return;
  const left = unsent();
  const then = left ? `; ${answers(left)} kept for ${session?.rater} will be sent` : "";
  say(session && `Signed out here. Sign in again${then}.`);
  session = null;
  for (const id of ["bar", "stage", "map", "sliders", "dashboard", "news"]) at(id).hidden = true;
  at("sign-in").hidden = false;
  at("rater").focus();
}

at("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = { token: at("token").value.trim(), rater: at("rater").value };
  try {
    enter(await api("POST", "/api/session", body));
    at("token").value = "";
  } catch (error) {
    say(error instanceof Refused ? error.message : "The server cannot be reached.");
  }
});

at("leave").addEventListener("click", async () => {
  if (at("net").dataset.lost !== "yes") await sent();
  const left = unsent();
  if (left && !confirm(`${answers(left)} ${WAITS}`)) return;
  if (!left) session = null; // then there is nothing to say
  leave();
});

// The address names the view: a reload stays in it, and the browser's back button leaves it.
function here() {
  const name = location.hash.slice(1);
  return Object.values(VIEWS).includes(name) ? name : "pair";
}
addEventListener("popstate", () => open(here()));

export function open(name, showing) {
  if (!session) return;
  view = name;
  say();
  if (here() !== name) history.pushState(null, "", `#${name}`);
  const staged = ["pair", "rank", "progress"].includes(name);
  at("stage").hidden = !staged;
  at("map").hidden = name !== "map";
  at("sliders").hidden = name !== "sliders";
  at("dashboard").hidden = name !== "dashboard";
  for (const button of document.querySelectorAll("nav button"))
    button.classList.toggle("here", button.dataset.view === name);
  if (staged) stage.open(name, showing);
  if (name === "map") showMap(at("map"), (picked) => open("pair", picked), say);
  if (name === "sliders") sliders.open();
  if (name === "dashboard") showDashboard(at("dashboard"), say);
}

for (const button of document.querySelectorAll("nav button"))
  button.addEventListener("click", () => open(button.dataset.view));

async function news() {
  clearTimeout(newsTimer);
  if (!session) return;
  try {
    const found = await api("GET", "/api/news");
    at("count").textContent = answers(found.labels);
    const version = found.model?.version ?? 0;
    if (known !== null && version > known) {
      at("news").textContent = learnt(found.model, found.improved);
      at("news").hidden = false;
      if (view === "sliders") sliders.open();
      if (view === "dashboard") showDashboard(at("dashboard"), say);
    }
    known = version;
  } catch {
    // the next round will tell
  }
  newsTimer = setTimeout(news, NEWS_MS);
}

function learnt(model, improved) {
  const percent = (share) => `${Math.round(100 * share)} %`;
  const how = improved ? "improved" : improved === false ? "did not improve" : "learned";
  const said = `The model ${how} (version ${model.version}, ${model.labels} answers)`;
  if (model.accuracy === null) return `${said}.`;
  const before = improved === null ? "" : `; the version before on ${percent(model.accuracy_before)}`;
  return `${said}: right on ${percent(model.accuracy)} of ${model.pairs} pairs held out${before}.`;
}

const KEYS = [
  ["← →", "left or right is better"], ["↓", "equally good"], ["↑", "both bad"],
  ["S", "can't tell"], ["X", "skip"], ["U", "undo the last answer"],
  ["space", "play or pause"], [", .", "one frame back or on"], ["- +", "slower, faster"],
  ["1 2 3 4", "success, safety, smoothness, speed: left, right, equal, not said"],
  ["T", "strength of the next answer"], ["C", "the other clip is the active one"],
  ["G B", "start, then end, of a good or bad interval in the active clip"],
  ["W", "remove the intervals"], ["N", "note"],
  ["1…4, Enter", "rank mode: best first, then send"],
  ["↑ ↓, Enter", "progress mode: mark this frame, then send; W removes the marks"],
  ["P R O M L D", "compare, rank, progress, map, sliders, dashboard"], ["?", "this list"],
];
at("keys").innerHTML = KEYS.map(([key, what]) => `<tr><td><kbd>${key}</kbd><td>${what}`).join("");
at("help-button").addEventListener("click", () => at("help").showModal());

const VIEWS = { p: "pair", r: "rank", o: "progress", m: "map", l: "sliders", d: "dashboard" };
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !session || at("help").open) return;
  if (event.target.matches("input:not([type=range]), select")) {
    if (event.key === "Escape" || event.key === "Enter") event.target.blur();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "?") at("help").showModal();
  else if (VIEWS[key]) event.repeat || open(VIEWS[key]);
  else if (at("stage").hidden || !stage.key(key, event.repeat)) return;
  event.preventDefault();
});

start();
