// Talks to the server. An answer goes into an outbox first, which outlives a reload, and is sent
// until the server has it; its uuid lets the server keep it once, however often it arrives.

let csrf = "";
const listeners = new Set();
let waiting = [];
let box = "";
let sending = null;

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

export async function api(method, path, body) {
  const headers = { "X-CSRF-Token": csrf };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (response.ok) return response.json();
  if (response.status >= 500) throw new TypeError(`the server failed (${response.status})`);
  const told = await response.json().catch(() => ({}));
  const text = typeof told.detail === "string" ? told.detail : JSON.stringify(told.detail ?? "");
  throw new Refused(response.status, text);
}

export async function film(number) {
  const response = await fetch(`/api/clips/${number}/film`);
  if (!response.ok) {
    const told = await response.json().catch(() => ({}));
    throw new Refused(response.status, told.detail ?? "the clip cannot be shown.");
  }
  return response.arrayBuffer();
}

export function begin(session) {
  csrf = session.csrf;
  box = `outbox of ${session.rater} for ${session.database}`;
  waiting = JSON.parse(localStorage.getItem(box) ?? "[]");
  flush();
}

export function onChange(listener) {
  listeners.add(listener);
}

export function unsent() {
  return waiting.length;
}

export function waitsFor(showing) {
  return waiting.some((item) => item.showing_id === showing);
}

export function send(answer) {
  waiting.push(answer);
  keep();
  return flush();
}

export function flush() {
  sending ??= deliver().finally(() => {
    sending = null;
    if (waiting.length && csrf) flush();
  });
  return sending;
}

async function deliver() {
  let pause = 300;
  while (waiting.length) {
    try {
      await api("POST", "/api/labels", waiting[0]);
      tell({ online: true });
    } catch (error) {
      if (error instanceof Refused && error.status !== 401) {
        tell({ trouble: error.message });
      } else {
        tell({ online: false, signedOut: error.status === 401 });
        await new Promise((go) => {
          const timer = setTimeout(go, pause);
          addEventListener("online", () => (clearTimeout(timer), go()), { once: true });
        });
        pause = Math.min(2 * pause, 3000);
        continue;
      }
    }
    waiting.shift();
    keep();
    pause = 300;
  }
}

function keep() {
  localStorage.setItem(box, JSON.stringify(waiting));
  tell({});
}

function tell(change) {
  for (const listener of listeners) listener(change);
}
