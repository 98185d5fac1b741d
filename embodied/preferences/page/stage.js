// Shows one query after the other, the next ones loaded ahead, and collects the answer.

import {
  api, film, flush, newId, Refused, send, setAside, signedOut, unsent, waitsFor,
} from "./net.js";
import { Film, Player } from "./film.js";
import { Graph } from "./graph.js";

const at = (id) => document.getElementById(id);
const AHEAD = 3;
const RETRY_MS = 500;
const SPEEDS = [0.25, 0.5, 1, 2, 4];
const ATTRIBUTES = ["success", "safety", "smoothness", "speed"];
const SIDES = [null, "left", "right", "tie"];
const ANSWERS = [
  ["left", "← Left", "ArrowLeft"], ["tie", "↓ Equal", "ArrowDown"], ["both_bad", "↑ Both bad", "ArrowUp"],
  ["right", "Right →", "ArrowRight"], ["cant_tell", "Can't tell", "s"], ["skip", "Skip", "x"],
];
const MEANING = {
  left: "is better", right: "is better", tie: "equally good", both_bad: "neither is right",
  cant_tell: "cannot be seen", skip: "no answer",
};
const HOW = {
  rank: "Tap the clips, or type their numbers, from best to worst; or drag them into that order.",
  progress: "Draw above how far the task has come: nothing is done at the bottom, all at the top. Or step to a frame and press ↑ or ↓.",
};
const LATE_MS = 300; // then it is told that clips are still being loaded
const SKIPS = 3; // clips that cannot be shown, one after the other, before somebody must be told

export class Stage {
  constructor({ trouble, signIn }) {
    this.trouble = trouble;
    this.signIn = signIn;
    this.queue = [];
    this.answered = new Set(); // an answer of the server may be older than ours
    this.broken = new Set(); // showings whose films are refused: nobody answered them
    this.turn = 0;
    this.skipped = 0;
    this.timings = window.timings = [];
    this.player = new Player((frame, count) => {
      at("scrubber").max = count - 1;
      at("scrubber").value = frame;
      at("frame").textContent = `${frame + 1} / ${count}`;
      at("play").textContent = this.player.playing ? "Pause" : "Play";
      this.graph.draw();
      this.drawStrips();
    });
    this.graph = new Graph(at("graph"), this.player);
    this.buttons();
    this.blank();
  }

  // ---- which query ----

  async open(mode, showing) {
    this.mode = mode;
    at("graph").toggleAttribute("hidden", mode !== "progress"); // an SVG has no property of that name
    at("how").textContent = HOW[mode] ?? "";
    at("more").hidden = mode !== "pair";
    this.answerButtons();
    this.queue.forEach((item) => item.films?.then((films) => films.forEach((f) => f.close()), () => 0));
    this.queue = showing ? [this.load(showing)] : [];
    this.current = null;
    this.skipped = 0;
    await this.next();
  }

  load(showing) {
    const films = Promise.all(showing.clip_ids.map(async (number) => new Film(await film(number)))).then(
      async (loaded) => {
        await Promise.all(loaded.map((each) => each.load(0)));
        loaded.forEach((each) => each.ahead(0, 12));
        return loaded;
      });
    const item = { ...showing, films, loaded: false };
    films.then(() => ((item.loaded = true), this.tellAhead()), () => 0); // told when it is shown
    return item;
  }

  tellAhead() {
    document.body.dataset.ahead = this.queue.filter((item) => item.loaded).length;
  }

  async refill() {
    this.filling ??= this.fill().finally(() => (this.filling = null));
    return this.filling;
  }

  async fill() {
    const mode = this.mode;
    let told = false;
    for (;;) {
      try {
        const aside = [...this.broken, ...setAside()];
        const found = await api("POST", `/api/next?count=${AHEAD}&mode=${mode}`, { aside });
        if (mode !== this.mode) return;
        if (told) this.trouble();
        const here = new Set([this.current?.id, ...this.queue.map((item) => item.id)]);
        for (const showing of found.showings)
          if (![here, this.answered, this.broken].some((set) => set.has(showing.id)) && !waitsFor(showing.id))
            this.queue.push(this.load(showing));
        return;
      } catch (error) {
        if (signedOut(error)) this.signIn();
        else this.trouble(error instanceof Refused ? error.message : "No connection; trying again.");
        if (error instanceof Refused) return (this.refused = true);
        told = true;
        await new Promise((go) => setTimeout(go, RETRY_MS));
        if (mode !== this.mode) return;
      }
    }
  }

  async next(since) {
    const turn = ++this.turn;
    this.shownAt = 0; // until its films show, nothing can be answered
    this.refused = false;
    setTimeout(() => turn === this.turn && !this.shownAt && this.late(), LATE_MS);
    while (!this.queue.length) {
      await this.refill();
      if (turn !== this.turn) return;
      if (this.refused) return this.late();
      if (this.queue.length) break;
      await flush(); // what the server gave was answered here; it does not know yet
      await new Promise((go) => setTimeout(go, 50));
    }
    const item = this.queue.shift();
    this.current = item;
    try {
      const films = await item.films;
      if (this.current !== item) return;
      this.display(item, films, since);
    } catch (error) {
      if (this.current !== item) return;
      if (signedOut(error)) return this.signIn();
      if (error instanceof Refused) return this.leaveOut(item, error);
      this.trouble("No connection; trying again.");
      setTimeout(() => {
        if (this.current !== item) return;
        this.queue.unshift(this.load(item));
        this.next(since);
      }, RETRY_MS);
    }
    if (this.queue.length < AHEAD - 1) flush().then(() => this.refill());
  }

  late() {
    if (this.refused) at("clips").replaceChildren(); // what is there was of another query
    at("clips").classList.add("waiting");
    at("reason").textContent = this.refused ? "" : "The next clips are being loaded.";
  }

  leaveOut(item, error) {
    const turn = this.turn;
    this.skipped += 1;
    this.broken.add(item.id);
    if (this.skipped > SKIPS) {
      this.refused = true;
      this.late();
      return this.trouble(`${error.message} Clip after clip cannot be shown: tell who runs the server.`);
    }
    this.current = null;
    this.trouble(`${error.message} Another one is asked instead.`);
    setTimeout(() => turn === this.turn && this.next(), 1000);
  }

  display(item, films, since) {
    this.shown?.forEach((each) => each.close());
    this.shown = films;
    this.skipped = 0;
    this.trouble();
    at("instruction").textContent = item.instruction || "Which clip is better?";
    at("reason").textContent = item.reason;
    const clips = at("clips");
    clips.className = this.mode;
    clips.replaceChildren(...films.map((_, side) => this.clip(side)));
    this.player.show(films, [...clips.querySelectorAll("canvas")]);
    this.blank();
    this.shownAt = performance.now();
    document.body.dataset.showing = item.id;
    this.tellAhead();
    if (since !== undefined)
      requestAnimationFrame(() => this.timings.push(performance.now() - since));
  }

  clip(side) {
    const box = document.createElement("div");
    box.className = "clip";
    box.dataset.side = side;
    const strip = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    strip.classList.add("strip");
    strip.setAttribute("viewBox", "0 0 100 10");
    strip.setAttribute("preserveAspectRatio", "none");
    const place = document.createElement("p");
    place.className = "place";
    const picture = document.createElement("canvas");
    box.append(picture, strip, place);
    strip.addEventListener("pointerdown", (event) => this.scribble(event, side));
    if (this.mode === "rank") this.draggable(box, side);
    if (this.mode === "pair") picture.addEventListener("dblclick", () => this.answer(["left", "right"][side]));
    return box;
  }

  // ---- what is said of it ----

  blank() {
    this.said = { strength: null, attributes: {}, intervals: [], ranking: [] };
    this.active = 0;
    this.open_ = null;
    at("note").value = "";
    this.graph.clear();
    this.tellSaid();
  }

  answer(choice) {
    const item = this.current;
    if (!item || !this.shownAt) return;
    if (this.undoing) return this.trouble("The last answer is being taken back.");
    const since = performance.now();
    const answer = {
      uuid: newId(), showing_id: item.id, choice, strength: this.said.strength,
      attributes: this.said.attributes, intervals: this.said.intervals, note: at("note").value,
      response_ms: since - this.shownAt, replays: this.player.replays,
    };
    if (choice === "ranked") answer.ranking = this.said.ranking;
    if (choice === "marked") answer.progress = this.graph.marks();
    this.current = null;
    this.undoId = null; // the next undo is of this answer
    this.answered.add(item.id);
    send(answer);
    this.next(since);
  }

  async undo() {
    if (this.undoing) return;
    if (setAside().length) // the server would take back the one before it
      return this.trouble("An answer is set aside here; nothing can be undone until it is sent.");
    if (unsent()) return this.trouble("An answer waits to be sent; it can be undone when it was.");
    this.undoing = true;
    this.undoId ??= newId(); // the same until the server is heard: it may have undone already
    try {
      const { showing } = await api("POST", "/api/undo", { uuid: this.undoId });
      this.undoId = null;
      if (!showing) return this.trouble("There is nothing to undo.");
      if (showing.mode !== this.mode) return this.trouble("Undone; it is asked again in its own view.");
      if (showing.id === this.current?.id) return this.trouble("Undone; it is asked again here.");
      this.queue = this.queue.filter((item) => item.id !== showing.id);
      if (this.current) this.queue.unshift(this.current);
      this.queue.unshift(this.load(showing));
      this.shown = null; // the current films are shown again later
      this.next();
    } catch (error) {
      if (signedOut(error)) return this.signIn();
      if (error instanceof Refused) this.undoId = null;
      this.trouble(error instanceof Refused ? error.message : "No connection; undo again when it is back.");
    } finally {
      this.undoing = false;
    }
  }

  send() {
    if (this.mode === "rank" && this.said.ranking.length === this.current?.clip_ids.length)
      this.answer("ranked");
    else if (this.mode === "progress" && this.graph.marks().length) this.answer("marked");
    else this.trouble(this.mode === "rank" ? "Rank all clips first." : "Mark some progress first.");
  }

  rank(side) {
    const ranking = this.said.ranking;
    if (side >= (this.current?.clip_ids.length ?? 0)) return;
    if (ranking.includes(side)) ranking.splice(ranking.indexOf(side), 1);
    else ranking.push(side);
    this.tellSaid();
  }

  draggable(box, side) {
    box.addEventListener("pointerdown", (event) => {
      const from = event.clientX;
      released(event, (end) => {
        if (Math.abs(end.clientX - from) < 12) return this.rank(side); // a tap: the next place
        const boxes = [...at("clips").children].sort(
          (a, b) => this.placeOf(a, box, end.clientX) - this.placeOf(b, box, end.clientX));
        at("clips").replaceChildren(...boxes);
        this.said.ranking = boxes.map((each) => Number(each.dataset.side));
        this.tellSaid();
      });
    });
  }

  placeOf(each, dragged, x) {
    if (each === dragged) return x;
    const { left, width } = each.getBoundingClientRect();
    return left + width / 2;
  }

  scribble(event, side) {
    event.preventDefault();
    if (!this.shown) return;
    const strip = event.currentTarget;
    const { left, width } = strip.getBoundingClientRect();
    const count = this.shown[side].count;
    const frame = (e) => Math.max(0, Math.min(count - 1, Math.floor(((e.clientX - left) / width) * count)));
    const from = frame(event);
    released(event, (end) => this.mark(side, from, frame(end), at("paint").textContent === "good"));
  }

  mark(side, a, b, good) {
    const [start, stop] = [Math.min(a, b), Math.max(a, b) + 1];
    this.said.intervals.push({ side, start, stop, good });
    this.drawStrips();
  }

  interval(good) {
    if (!this.shown) return;
    const frame = Math.min(this.player.frame, this.shown[this.active].count - 1);
    if (this.open_ && this.open_.good === good && this.open_.side === this.active) {
      this.mark(this.active, this.open_.frame, frame, good);
      this.open_ = null;
    } else this.open_ = { side: this.active, frame, good };
    this.drawStrips();
  }

  wipe() {
    this.said.intervals = [];
    this.open_ = null;
    this.drawStrips();
  }

  drawStrips() {
    document.querySelectorAll(".clip").forEach((box) => {
      const side = Number(box.dataset.side);
      const count = this.shown?.[side]?.count ?? 1;
      const marks = this.said.intervals.filter((each) => each.side === side);
      if (this.open_?.side === side)
        marks.push({ ...this.open_, start: this.open_.frame, stop: this.open_.frame + 1 });
      const bars = marks.map(
        ({ start, stop, good }) =>
          `<rect x="${(100 * start) / count}" width="${(100 * (stop - start)) / count}" y="0" height="10"
            fill="${good ? "#1a7f37" : "#c62828"}"/>`);
      const now = (100 * Math.min(this.player.frame, count - 1)) / count;
      box.querySelector(".strip").innerHTML =
        `${bars.join("")}<rect x="${now}" width="${Math.max(0.6, 100 / count)}" height="10" fill="#0b5cad"/>`;
    });
  }

  tellSaid() {
    at("strength").textContent = this.said.strength ?? "not said";
    at("side").textContent = ["left clip", "right clip"][this.active] ?? "clip";
    for (const button of at("attributes").children)
      button.firstChild.textContent = `${button.dataset.name}: ${this.said.attributes[button.dataset.name] ?? "not said"}`;
    document.querySelectorAll(".clip").forEach((box) => {
      const side = Number(box.dataset.side);
      box.classList.toggle("active", this.mode === "pair" && side === this.active);
      const place = this.said.ranking.indexOf(side);
      box.classList.toggle("chosen", place >= 0);
      box.querySelector(".place").textContent =
        this.mode === "rank" ? (place < 0 ? `clip ${side + 1}` : `place ${place + 1}`) : "";
    });
    this.drawStrips();
  }

  // ---- keys and buttons ----

  key(key, repeated) {
    const held = key === "," || key === "." || (this.mode === "progress" && key.startsWith("Arrow"));
    if (repeated && !held) return key === " " || key.startsWith("Arrow"); // else the page scrolls
    const digit = "1234".indexOf(key);
    const choice = ANSWERS.find(([, , its]) => its === key)?.[0];
    if (key === " ") this.play();
    else if (key === ",") this.player.step(-1);
    else if (key === ".") this.player.step(1);
    else if (key === "-" || key === "+" || key === "=") this.faster(key === "-" ? -1 : 1);
    else if (key === "u") this.undo();
    else if (key === "s" || key === "x") this.answer(choice);
    else if (this.mode === "pair") {
      if (choice) this.answer(choice);
      else if (digit >= 0) this.attribute(ATTRIBUTES[digit]);
      else if (key === "t") this.strength();
      else if (key === "c") this.otherSide();
      else if (key === "g" || key === "b") this.interval(key === "g");
      else if (key === "w") this.wipe();
      else if (key === "n") (at("more").open = true), at("note").focus();
      else return false;
    } else if (key === "Enter") this.send();
    else if (this.mode === "rank" && digit >= 0) this.rank(digit);
    else if (this.mode === "progress" && (key === "ArrowUp" || key === "ArrowDown"))
      this.graph.nudge(key === "ArrowUp" ? 0.1 : -0.1);
    else if (this.mode === "progress" && key === "w") this.graph.clear();
    else return false;
    return true;
  }

  play() {
    this.player.playing = !this.player.playing;
    at("play").textContent = this.player.playing ? "Pause" : "Play";
  }

  faster(by) {
    const place = SPEEDS.indexOf(this.player.speed) + by;
    this.player.speed = SPEEDS[Math.max(0, Math.min(place, SPEEDS.length - 1))];
    at("speed").value = String(this.player.speed);
  }

  attribute(name) {
    const place = SIDES.indexOf(this.said.attributes[name] ?? null) + 1;
    this.said.attributes[name] = SIDES[place % SIDES.length];
    if (this.said.attributes[name] === null) delete this.said.attributes[name];
    at("more").open = true;
    this.tellSaid();
  }

  strength() {
    const all = [null, "slight", "clear"];
    this.said.strength = all[(all.indexOf(this.said.strength) + 1) % 3];
    this.tellSaid();
  }

  otherSide() {
    this.active = 1 - this.active;
    at("more").open = true; // shows which clip is the active one
    this.tellSaid();
  }

  answerButtons() {
    const wanted = ANSWERS.filter(([name]) => this.mode === "pair" || ["cant_tell", "skip"].includes(name));
    const made = wanted.map(([name, text]) => {
      const button = document.createElement("button");
      button.dataset.answer = name;
      button.innerHTML = `${text}<small>${MEANING[name]}</small>`;
      button.addEventListener("click", (event) => {
        button.blur();
        if (event.detail < 2) this.answer(name); // a second click is not of the clips that just came
      });
      return button;
    });
    const undo = document.createElement("button");
    undo.id = "undo";
    undo.innerHTML = "Undo<small>the last answer</small>";
    undo.addEventListener("click", () => (undo.blur(), this.undo()));
    if (this.mode !== "pair") {
      const done = document.createElement("button");
      done.className = "main";
      done.id = "send";
      done.textContent = "Send";
      done.addEventListener("click", () => (done.blur(), this.send()));
      made.unshift(done);
    }
    at("answers").replaceChildren(...made, undo);
  }

  buttons() {
    at("play").addEventListener("click", () => (at("play").blur(), this.play()));
    at("back").addEventListener("click", () => this.player.step(-1));
    at("forward").addEventListener("click", () => this.player.step(1));
    at("scrubber").addEventListener("input", () => this.player.seek(Number(at("scrubber").value)));
    at("scrubber").addEventListener("change", () => at("scrubber").blur());
    at("speed").addEventListener("change", () => {
      this.player.speed = Number(at("speed").value);
      at("speed").blur();
    });
    at("strength").addEventListener("click", () => this.strength());
    at("paint").addEventListener("click", () => {
      at("paint").textContent = at("paint").textContent === "bad" ? "good" : "bad";
    });
    at("side").addEventListener("click", () => this.otherSide());
    at("wipe").addEventListener("click", () => this.wipe());
    at("attributes").replaceChildren(
      ...ATTRIBUTES.map((name, i) => {
        const button = document.createElement("button");
        button.dataset.name = name;
        button.append(name, Object.assign(document.createElement("small"), { textContent: `key ${i + 1}` }));
        button.addEventListener("click", () => this.attribute(name));
        return button;
      }));
  }
}

// The pointer that went down goes up again; when the browser takes it for a scroll, nothing was done.
function released(down, then) {
  const end = (event) => {
    if (event.pointerId !== down.pointerId) return;
    removeEventListener("pointerup", end);
    removeEventListener("pointercancel", end);
    if (event.type === "pointerup") then(event);
  };
  addEventListener("pointerup", end);
  addEventListener("pointercancel", end);
}
