// Numbers of the dashboard as tables and bars.

import { api } from "./net.js";
import { showDoubted } from "./doubted.js";

const escape = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
const percent = (x) => (x === null || x === undefined ? "–" : `${Math.round(100 * x)} %`);
const within = (i) => (i?.n ? `of ${i.n}; ${percent(i.low)} to ${percent(i.high)}` : "none yet");
const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
const between = (i) => (i?.n ? `${percent(i.mean)} (${within(i)})` : "–");
const words = (name) => name.replace("cant_", "can't ").replace("_", " ");
const number = (x, digits = 2) => (x === null || x === undefined ? "–" : x.toFixed(digits));

export async function showDashboard(section, trouble) {
  let found;
  try {
    found = await api("GET", "/api/dashboard");
  } catch (error) {
    return trouble(error.message);
  }
  const { alpha, consistency, gold } = found;
  section.innerHTML = `
    <h1>Answers</h1>
    <p class="note">${escape(whose(found))}</p>
    <div class="tiles">
      ${tile(found.labels, "answers of people that stand", `${found.undone} taken back`)}
      ${tile(number(alpha?.mean), "agreement between raters (Krippendorff's alpha)", agreed(alpha))}
      ${tile(percent(consistency.n ? consistency.mean : null), "same answer on swapped repeats", within(consistency))}
      ${tile(percent(gold.n ? gold.mean : null), "right where the answer is known", within(gold))}
    </div>
    <h2>Answers per hour</h2>${bars(found.per_hour.map((h) => [clock(h.utc_s), h.answers]))}
    ${earlier(found)}
    <div class="beside">
      <div><h2>What was answered</h2>${counted("answer", found.answers)}</div>
      <div><h2>Why it was asked</h2>${table(
        ["reason", "answers", "can't tell", "skip"],
        found.asked_because.map((r) => [words(r.acquisition), r.answers, between(r.cant_tell), between(r.skip)]))}
        <p class="note">${found.labels ? "Where many cannot tell, or skip, the queries are bad." : ""}</p></div>
    </div>
    <h2>Raters</h2>
    ${table(
      ["rater", "answers", "median s", "consistency", "known answers", "left side", "side bias"],
      found.raters.map((r) => [
        r.kind === "human" ? r.rater : `${r.rater} (${r.kind})`, r.labels, number(r.median_s, 1), between(r.consistency), between(r.gold),
        between(r.side.left), r.side.biased ? `biased (p = ${r.side.p_value.toPrecision(1)})` : "none seen",
      ]))}
    <h2>Versions of the reward model</h2>
    ${doing(found.training)}
    ${curve(found.versions.filter((v) => v.accuracy !== null))}
    ${table(
      ["version", "when", "answers learnt from", "right on pairs held out", "the version before, on the same"],
      found.versions.map((v) => [
        v.version, hour(v.utc_s), v.labels, between({ mean: v.accuracy, low: v.low, high: v.high, n: v.pairs }),
        percent(v.accuracy_before),
      ]).reverse())}
    <h2>What the model doubts most</h2>
    <div class="films"></div>
    <p class="note">${found.doubted.length ? "The end of each; a click plays all of it. The map makes a query of two." : "None yet."}</p>
    <h2>What models propose</h2>
    ${table(
      ["model", "proposals", "agrees with people's answers"],
      found.proposals.map((p) => [p.source, p.proposals, between(p.agreement)]))}
    <p class="note">Proposals are kept beside the labels, never among them, and nobody sees them who answers.
      <a href="/api/export.parquet">Export all labels (parquet)</a>,
      <a href="/api/frames.parquet">what was said of each frame</a></p>`;
  showDoubted(section.querySelector(".films"), found.doubted);
}

function whose({ labels, scripted }) {
  if (!scripted) return "";
  const left = `${count(scripted, "answer")} of scripted raters`;
  return labels
    ? `${left} are not in these numbers, which are of people; among the raters they have rows of their own.`
    : `Only scripted raters have answered: ${left}. What is said of answers here is of people, and they gave none.`;
}

function agreed(alpha) {
  if (!alpha) return "no query has answers of two people yet";
  const on = `on ${count(alpha.n, "pair")} that two or more answered`;
  if (alpha.mean === null) return `nothing to tell from: all said the same ${on}`;
  if (alpha.low === null) return `too few answers to tell, ${on}`;
  return `${number(alpha.low)} to ${number(alpha.high)}, ${on}`;
}

function earlier({ labels, per_hour }) {
  const left = labels - per_hour.reduce((sum, hour) => sum + hour.answers, 0);
  return left ? `<p class="note">The last week; ${count(left, "earlier answer")} not drawn.</p>` : "";
}

function tile(value, label, more) {
  return `<div class="tile"><b>${escape(value)}</b><span>${escape(label)}</span><span>${escape(more)}</span></div>`;
}

function counted(what, counts) {
  const rows = Object.entries(counts).sort(([, a], [, b]) => b - a);
  return table([what, "count"], rows.map(([name, count]) => [words(name), count]));
}

function table(columns, rows) {
  if (!rows.length) return '<p class="note">None yet.</p>';
  const cell = (value) =>
    `<td class="${typeof value === "number" ? "n" : String(value).startsWith("biased") ? "flag" : ""}">${escape(value)}</td>`;
  const body = rows.map((row) => `<tr>${row.map(cell).join("")}</tr>`).join("");
  const head = columns.map((c) => `<th>${escape(c)}</th>`).join("");
  return `<div class="scroll"><table><tr>${head}</tr>${body}</table></div>`;
}

// A bar for each hour, its number above where there is space, and its beginning below.
function bars(values) {
  if (!values.length) return '<p class="note">None yet.</p>';
  const most = Math.max(...values.map(([, v]) => v));
  const width = 600 / Math.max(values.length, 8);
  const every = Math.ceil(values.length / 5);
  const told = (v) => v && (width > 18 || v === most);
  const drawn = values.map(([name, v], i) => {
    const [left, height] = [width * (i + 0.1), (90 * v) / most];
    const above = `<text x="${width * (i + 0.5)}" y="${105 - height}" text-anchor="middle">${v}</text>`;
    return `<rect x="${left}" width="${width * 0.8}" y="${110 - height}" height="${height}"
      fill="#0b5cad"><title>${escape(name)}: ${v}</title></rect>
      ${told(v) ? above : ""}${i % every ? "" : `<text x="${left}" y="124">${escape(name)}</text>`}`;
  });
  return `<svg class="curve hours" viewBox="0 0 600 130" role="img" aria-label="Answers per hour">
    <line x1="0" x2="600" y1="110" y2="110" stroke="#d0d7de"/>${drawn.join("")}</svg>`;
}

function doing(training) {
  if (!training) return '<p class="note">No model learns here (preferences.train=false).</p>';
  const trouble = training.trouble ? `<p class="flag">${escape(training.trouble)}</p>` : "";
  return `<p class="note">${escape(training.doing)}</p>${trouble}`;
}

// Each version where its number of answers is, with its interval; joined to it the version before,
// hollow, on the same pairs. Versions are not joined to each other: their tests differ.
function curve(versions) {
  if (!versions.length) return "";
  const learnt = versions.map((v) => v.labels);
  const [least, most] = [Math.min(...learnt), Math.max(...learnt)];
  const x = (labels) => 65 + (500 * (labels - least)) / (most - least || 1);
  const y = (share) => 125 - 110 * share;
  const aside = Math.max(3, Math.min(12, 200 / versions.length));
  const line = (share) =>
    `<line x1="45" x2="585" y1="${y(share)}" y2="${y(share)}" stroke="#d0d7de"/>
     <text x="40" y="${y(share) + 4}" text-anchor="end">${percent(share)}</text>`;
  const every = Math.ceil(versions.length / 12);
  const drawn = versions.map((v, i) => {
    const [at, before] = [x(v.labels), v.accuracy_before];
    const old = before === null ? "" : `
      <line x1="${at - aside}" x2="${at}" y1="${y(before)}" y2="${y(v.accuracy)}" stroke="#0b5cad"/>
      <circle class="before" cx="${at - aside}" cy="${y(before)}" r="3" fill="#fff" stroke="#0b5cad"/>`;
    const than = before === null ? "" : `; the version before ${percent(before)}`;
    return `<g><title>version ${v.version}, ${escape(hour(v.utc_s))}: ${percent(v.accuracy)} of ${v.pairs}${than}</title>
        <line x1="${at}" x2="${at}" y1="${y(v.low)}" y2="${y(v.high)}" stroke="#8fb4de" stroke-width="4"/>${old}
        <circle class="now" cx="${at}" cy="${y(v.accuracy)}" r="4" fill="#0b5cad"/></g>
      ${i % every ? "" : `<text x="${at}" y="143" text-anchor="middle">${v.labels}</text>`}`;
  });
  return `<svg class="curve versions" viewBox="0 0 600 165" role="img" aria-label="Accuracy of each version">
    ${[0, 0.5, 1].map(line).join("")}${drawn.join("")}
    <text x="315" y="160" text-anchor="middle">answers learnt from</text></svg>
    <p class="note">Filled: a version, with its interval. Hollow, joined to it: the version before, on the same pairs.
      The test grows: only what is joined can be compared.</p>`;
}

function hour(utc_s) {
  return new Date(1000 * utc_s).toLocaleString();
}

function clock(utc_s) {
  const time = { day: "numeric", month: "numeric", hour: "2-digit", minute: "2-digit" };
  return new Date(1000 * utc_s).toLocaleString([], time);
}
