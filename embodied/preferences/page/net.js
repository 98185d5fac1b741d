// Talks to the server. An answer goes into an outbox first, which outlives a reload, and is sent
// until the server has it; its uuid lets the server keep it once, however often it arrives. Each is
// kept under a key of its own, since tabs share the outbox, with the name of who gave it.

const PATIENCE_MS = 20000;
const RETRY_MS = 1000;
const LEAVE_MS = 500; // for answers under way when a rater signs out
const BUSY = [408, 429]; // proxies say so; like all from 500 on, it may be otherwise in a moment
const FAILED = 500; // what the server says of something that it was not made for
const TRIES = 4; // of an answer for which the server fails; then those behind it are sent
let csrf = "";
const listeners = new Set();
let owner = "";
let sending = null;
const failures = new Map(); // by uuid: a page that is loaded anew tries again

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID needs https
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

export function signedOut(error) {
  return error.status === 401 || error.status === 403; // 403: another rater signed in in this browser
}

export async function api(method, path, body) {
  const headers = { "X-CSRF-Token": csrf };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const asked = { method, headers, body: body && JSON.stringify(body), signal };
  return (await taken(await fetch(path, asked))).json();
}

// A film may take long on a slow network; one of which nothing came for a while is given up.
export async function film(number) {
  const stop = new AbortController();
  const giveUp = () => stop.abort(new TypeError("the film stopped coming"));
  let timer = setTimeout(giveUp, PATIENCE_MS);
  const parts = [];
  try {
    const response = await taken(await fetch(`/api/clips/${number}/film`, { signal: stop.signal }));
    const reader = response.body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      clearTimeout(timer);
      timer = setTimeout(giveUp, PATIENCE_MS);
      parts.push(part.value);
    }
  } finally {
    clearTimeout(timer);
  }
  return new Blob(parts).arrayBuffer();
}

async function taken(response) {
  if (response.ok) return response;
  const { status } = response;
  const { detail } = await response.json().catch(() => ({}));
  const text = detail === undefined ? `the server failed (${status})` : String(detail);
  if (status >= 500 || BUSY.includes(status)) throw Object.assign(new TypeError(text), { status });
  throw new Refused(status, text);
}

export function begin(session) {
  localStorage.removeItem("leaving");
  csrf = session.csrf;
  failures.clear();
  owner = `${session.rater} for ${session.database}`;
  flush();
}

export function onChange(listener) {
  listeners.add(listener);
}

export function unsent() {
  return kept().length - setAside().length;
}

// Showings whose answers the server fails to take: kept here, and in nobody's way.
export function setAside() {
  return kept().filter(isAside).map(({ answer }) => answer.showing_id);
}

function isAside({ answer }) {
  return (failures.get(answer.uuid) ?? 0) >= TRIES;
}

export function waitsFor(showing) {
  return kept().some(({ answer }) => answer.showing_id === showing);
}

export function send(answer) {
  const item = { owner, since: Date.now(), answer };
  localStorage.setItem(`answer ${answer.uuid}`, JSON.stringify(item));
  tell({});
  return flush();
}

export function flush() {
  sending ??= deliver().finally(() => {
    sending = null;
    if (csrf && unsent()) flush();
  });
  return sending;
}

// Answers of who is signed in here, the oldest first.
function kept() {
  const keys = Object.keys(localStorage).filter((key) => key.startsWith("answer "));
  const items = keys.map((key) => JSON.parse(localStorage.getItem(key))); // null: another tab sent it
  return items.filter((item) => item?.owner === owner).sort((a, b) => a.since - b.since);
}

async function deliver() {
  let pause = 300;
  for (;;) {
    const first = kept().find((item) => !isAside(item));
    if (!csrf || !first) return;
    const { answer } = first;
    const mine = csrf;
    try {
      await api("POST", "/api/labels", answer);
      tell({ online: true });
    } catch (error) {
      if (signedOut(error)) {
        if (csrf === mine) forget();
        continue;
      }
      if (error.status === FAILED) {
        failures.set(answer.uuid, (failures.get(answer.uuid) ?? 0) + 1);
        if (isAside(first)) {
          tell({ online: true, trouble: "The server fails to take an answer: tell who runs it." });
          pause = 300;
          continue;
        }
      }
      if (!(error instanceof Refused)) {
        tell({ online: false });
        await new Promise((go) => {
          const timer = setTimeout(go, pause);
          addEventListener("online", () => (clearTimeout(timer), go()), { once: true });
        });
        pause = Math.min(2 * pause, 3000);
        continue;
      }
      tell({ trouble: error.message });
    }
    localStorage.removeItem(`answer ${answer.uuid}`);
    tell({});
    pause = 300;
  }
}

// What is kept waits until its owner signs in again.
function forget() {
  csrf = "";
  tell({ online: true, signedOut: true });
}

// Waits for answers that are just being sent, but not for a network that is away.
export function sent() {
  return Promise.race([flush(), wait(LEAVE_MS)]);
}

export function isLeaving() {
  return localStorage.getItem("leaving") !== null;
}

export function leave() {
  localStorage.setItem("leaving", csrf);
  forget();
  endSession();
}

// Only the server can end a session: it is asked until it is heard, also after a reload.
export async function endSession() {
  for (let old; (old = localStorage.getItem("leaving")); await wait(RETRY_MS)) {
    const asked = { method: "DELETE", headers: { "X-CSRF-Token": old } };
    try {
      const { status } = await fetch("/api/session", { ...asked, signal: AbortSignal.timeout(PATIENCE_MS) });
      if (status >= 500 || BUSY.includes(status)) continue;
      if (localStorage.getItem("leaving") === old) return localStorage.removeItem("leaving");
    } catch {
      // asked again
    }
  }
}

function wait(ms) {
  return new Promise((go) => setTimeout(go, ms));
}

function tell(change) {
  for (const listener of listeners) listener(change);
}
