// Sliders say how much is wanted of each attribute; the clips that this puts first and last are shown.

import { api, film } from "./net.js";
import { Film, Player } from "./film.js";

const SHOWN = 3;
const FLOOR = 0.25; // where nobody kept another
const HELD_MS = 1000; // what is held is not replaced
const REST_MS = 250; // films are loaded once a slider rests

const counted = (answers) => `${answers} answer${answers === 1 ? "" : "s"}`;

export class Sliders {
  constructor(section, trouble) {
    this.section = section;
    this.trouble = trouble;
    this.forget();
    this.films = new Map();
    this.player = new Player(() => (this.player.playing = !section.hidden));
    section.addEventListener("input", (event) => this.moved(event.target));
    section.querySelector("#keep").addEventListener("click", () => this.keep());
  }

  forget() {
    this.sliders = {};
    this.floor = null;
  }

  // Positions stay when a new version comes.
  async open() {
    let found;
    try {
      found = await api("GET", "/api/sliders");
    } catch (error) {
      return this.trouble(error.message);
    }
    if (this.section.querySelector(".slider input:active")) return setTimeout(() => this.open(), HELD_MS);
    this.found = found;
    const { attributes, constrained, kept } = this.found;
    this.learnt = attributes.filter((each) => each.learnt).map((each) => each.name);
    this.safe = this.learnt.includes(constrained);
    const before = this.floor === null ? kept : { sliders: this.sliders, floor: this.floor };
    const names = this.learnt.filter((name) => name !== constrained);
    this.sliders = Object.fromEntries(names.map((name) => [name, before?.sliders[name] ?? 0]));
    this.floor = before?.floor ?? FLOOR;
    this.draw(names);
    this.order();
  }

  draw(names) {
    const { attributes, constrained, fewest, trains } = this.found;
    const here = this.section.contains(document.activeElement) && document.activeElement.name;
    const rows = names.map((name) => this.row(name, -1, 1, this.sliders[name], this.rests(name)));
    if (this.safe)
      rows.push(this.row(constrained, 0, 1, this.floor, `floor; ${this.rests(constrained)}`));
    this.section.querySelector("#wanted").replaceChildren(...rows);
    if (here) this.section.querySelector(`input[name="${here}"]`)?.focus();
    else if (document.activeElement === document.body) this.section.querySelector("input")?.focus();
    const lacking = attributes.filter((each) => !each.learnt);
    const told = lacking.map(({ name, answers }) => `${name} (${counted(answers)})`);
    const how = trains
      ? `From ${fewest} answers on that say which clip has more of it (keys 1 to 4), the model's next version knows it.`
      : "Nothing learns here (preferences.train=false).";
    const unheld = names.length && !this.safe ? ` No clip is held back for its ${constrained}.` : "";
    this.section.querySelector("#lacking").textContent = told.length
      ? `Not learnt yet: ${told.join(", ")}. ${how}${unheld}` : "";
  }

  rests(name) {
    return counted(this.found.attributes.find((each) => each.name === name).answers);
  }

  row(name, min, max, value, note) {
    const row = document.createElement("label");
    row.className = "slider";
    const input = Object.assign(document.createElement("input"), { type: "range", min, max, step: 0.05 });
    input.name = name;
    input.value = value;
    const small = Object.assign(document.createElement("small"), { textContent: note });
    const text = Object.assign(document.createElement("span"), { textContent: name });
    text.append(small);
    row.append(text, input, document.createElement("output"));
    return row;
  }

  moved({ name, value }) {
    if (name === this.found.constrained) this.floor = Number(value);
    else this.sliders[name] = Number(value);
    this.order();
  }

  get least() {
    return this.safe ? this.floor : 0;
  }

  // As `AttributeVector.reward`: along the unit vector of the sliders, safety first.
  reward(scores) {
    const wanted = Object.entries(this.sliders).filter(([, slider]) => slider);
    const length = Math.hypot(...wanted.map(([, slider]) => slider));
    const short = this.least - (scores[this.found.constrained] ?? 0);
    if (this.least && short > 0) return -Math.sqrt(wanted.length) - short;
    return wanted.reduce((sum, [name, slider]) => sum + (slider / length) * scores[name], 0);
  }

  order() {
    for (const input of this.section.querySelectorAll(".slider input"))
      input.nextSibling.value = `${input.min < 0 && input.value > 0 ? "+" : ""}${Number(input.value).toFixed(2)}`;
    const moved = Object.values(this.sliders).some(Boolean);
    this.section.querySelector("#keep").disabled = !moved;
    const { clips, constrained } = this.found;
    const rewards = new Map(clips.map((clip) => [clip, this.reward(clip.scores)]));
    this.ranked = moved ? [...clips].sort((a, b) => rewards.get(b) - rewards.get(a)) : [];
    this.unsafe = new Set(this.ranked.filter((clip) => this.least > (clip.scores[constrained] ?? 0)));
    this.section.querySelector("#order").textContent = moved
      ? `${clips.length} clips in this order` +
        (this.least ? `; ${this.unsafe.size} of them too unsafe, and behind all others.` : ".")
      : Object.keys(this.sliders).length ? "Move a slider: then the clips are put in order."
      : "There are no sliders yet: no attribute is learnt.";
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.show(), REST_MS);
  }

  async show() {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const ranked = this.ranked;
    const best = ranked.slice(0, Math.min(SHOWN, Math.ceil(ranked.length / 2)));
    const worst = ranked.slice(Math.max(best.length, ranked.length - SHOWN));
    const shown = [...best, ...worst];
    let films;
    try {
      films = await Promise.all(shown.map((clip) => this.load(clip.clip_id)));
    } catch (error) {
      return this.trouble(error.message);
    }
    if (turn !== this.turn) return;
    for (const [number, { close }] of this.films)
      if (!shown.some((clip) => clip.clip_id === number)) close(), this.films.delete(number);
    const boxes = shown.map((clip) => this.box(clip, ranked.indexOf(clip) + 1));
    this.section.querySelector("#ends").hidden = !shown.length;
    this.section.querySelector("#best").replaceChildren(...boxes.slice(0, best.length));
    this.section.querySelector("#worst").replaceChildren(...boxes.slice(best.length));
    this.section.dataset.order = ranked.map((clip) => clip.clip_id);
    if (films.length) this.player.show(films, boxes.map((box) => box.querySelector("canvas")));
    else this.player.films = [];
  }

  async load(number) {
    if (!this.films.has(number)) {
      const coming = film(number).then((buffer) => new Film(buffer));
      this.films.set(number, { coming, close: () => coming.then((each) => each.close(), () => 0) });
      coming.catch(() => this.films.delete(number)); // asked for again next time
    }
    const found = await this.films.get(number).coming;
    await found.load(0);
    return found;
  }

  box(clip, place) {
    const box = document.createElement("figure");
    box.dataset.clip = clip.clip_id;
    const told = Object.entries(clip.scores).map(([name, score]) => `${name} ${Math.round(100 * score)} %`);
    const small = Object.assign(document.createElement("small"), { textContent: told.join(", ") });
    const caption = document.createElement("figcaption");
    caption.append(`place ${place}`, small);
    if (this.unsafe.has(clip)) {
      box.className = "unsafe";
      caption.prepend(Object.assign(document.createElement("b"), { textContent: "too unsafe" }), " ");
    }
    box.append(document.createElement("canvas"), caption);
    return box;
  }

  async keep() {
    const button = this.section.querySelector("#keep");
    try {
      await api("POST", "/api/sliders", { sliders: this.sliders, floor: this.least });
      this.trouble();
      button.textContent = "Kept";
      setTimeout(() => (button.textContent = "Keep"), 2000);
    } catch (error) {
      this.trouble(error.message);
    }
  }
}
