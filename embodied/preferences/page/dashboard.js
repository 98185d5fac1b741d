// Numbers of the dashboard as tables and bars.

import { api } from "./net.js";

const escape = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
const percent = (x) => (x === null || x === undefined ? "–" : `${Math.round(100 * x)} %`);
const within = (i) => (i?.n ? `of ${i.n}; ${percent(i.low)} to ${percent(i.high)}` : "none yet");
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
  const range = alpha ? `${number(alpha.low)} to ${number(alpha.high)}` : "nobody answered the same yet";
  section.innerHTML = `
    <h1>Answers</h1>
    <div class="tiles">
      ${tile(found.labels, "answers that stand", `${found.undone / 2} taken back`)}
      ${tile(number(alpha?.mean), "agreement between raters (Krippendorff's alpha)", range)}
      ${tile(percent(consistency.n ? consistency.mean : null), "same answer on swapped repeats", within(consistency))}
      ${tile(percent(gold.n ? gold.mean : null), "right where the answer is known", within(gold))}
    </div>
    <h2>Answers per hour</h2>${bars(found.per_hour.map((h) => [clock(h.utc_s), h.answers]))}
    <div class="beside">
      <div><h2>What was answered</h2>${counted("answer", found.answers)}</div>
      <div><h2>Why it was asked</h2>${counted("reason", found.asked_because)}</div>
    </div>
    <h2>Raters</h2>
    ${table(
      ["rater", "answers", "median s", "consistency", "known answers", "left side", "side bias"],
      found.raters.map((r) => [
        r.rater, r.labels, number(r.median_s, 1), between(r.consistency), between(r.gold),
        between(r.side.left), r.side.biased ? `biased (p = ${r.side.p_value.toPrecision(1)})` : "none seen",
      ]))}
    <h2>Versions of the reward model</h2>
    ${doing(found.training)}
    ${curve(found.versions.filter((v) => v.accuracy !== null))}
    ${table(
      ["version", "when", "answers learnt from", "right on answers held out", "the version before, on the same"],
      found.versions.map((v) => [
        v.version, hour(v.utc_s), v.labels, between({ mean: v.accuracy, low: v.low, high: v.high, n: v.pairs }),
        percent(v.accuracy_before),
      ]).reverse())}
    <h2>What the model doubts most</h2>
    ${table(["clip", "value", "doubt"], found.doubted.map((d) => [d.clip_id, number(d.value), number(d.uncertainty, 3)]))}
    <h2>What models propose</h2>
    ${table(
      ["model", "proposals", "agrees with people's answers"],
      found.proposals.map((p) => [p.source, p.proposals, between(p.agreement)]))}
    <p class="note">Proposals are kept beside the labels, never among them, and nobody sees them who answers.
      <a href="/api/export.parquet">Export all labels (parquet)</a>,
      <a href="/api/frames.parquet">marks and spans by frame</a></p>`;
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

// A bar for each hour that had answers, its number above and its beginning below.
function bars(values) {
  if (!values.length) return '<p class="note">None yet.</p>';
  const most = Math.max(...values.map(([, v]) => v));
  const width = 600 / Math.max(values.length, 8);
  const every = Math.ceil(values.length / 8);
  const drawn = values.map(([name, v], i) => {
    const [middle, height] = [width * (i + 0.5), (90 * v) / most];
    const texts = `<text x="${middle}" y="${105 - height}" text-anchor="middle">${v}</text>
      <text x="${middle}" y="124" text-anchor="middle">${escape(name)}</text>`;
    return `<rect x="${width * (i + 0.1)}" width="${width * 0.8}" y="${110 - height}" height="${height}"
      fill="#0b5cad"><title>${escape(name)}: ${v}</title></rect>${i % every ? "" : texts}`;
  });
  return `<svg class="curve" viewBox="0 0 600 130" role="img" aria-label="Answers per hour">${drawn.join("")}</svg>`;
}

function doing(training) {
  if (!training) return '<p class="note">No model learns here (preferences.train=false).</p>';
  const trouble = training.trouble ? `<p class="flag">${escape(training.trouble)}</p>` : "";
  return `<p class="note">${escape(training.doing)}</p>${trouble}`;
}

// Accuracy of each version with its interval, the first one left; chance is at the middle line.
function curve(versions) {
  if (!versions.length) return "";
  const x = (i) => 45 + (540 * (i + 0.5)) / versions.length;
  const y = (share) => 125 - 110 * share;
  const line = (share) =>
    `<line x1="45" x2="585" y1="${y(share)}" y2="${y(share)}" stroke="#d0d7de"/>
     <text x="40" y="${y(share) + 4}" text-anchor="end">${percent(share)}</text>`;
  const every = Math.ceil(versions.length / 20);
  const drawn = versions.map(
    (v, i) =>
      `<g><title>version ${v.version}, ${escape(hour(v.utc_s))}: ${percent(v.accuracy)}</title>
        <line x1="${x(i)}" x2="${x(i)}" y1="${y(v.low)}" y2="${y(v.high)}" stroke="#8fb4de" stroke-width="5"/>
        <circle cx="${x(i)}" cy="${y(v.accuracy)}" r="4" fill="#0b5cad"/></g>
       ${i % every ? "" : `<text x="${x(i)}" y="143" text-anchor="middle">${v.version}</text>`}`);
  const points = versions.map((v, i) => `${x(i)},${y(v.accuracy)}`).join(" ");
  return `<svg class="curve" viewBox="0 0 600 150" role="img" aria-label="Accuracy of each version">
    ${[0, 0.5, 1].map(line).join("")}
    <polyline points="${points}" fill="none" stroke="#0b5cad"/>${drawn.join("")}</svg>`;
}

function hour(utc_s) {
  return new Date(1000 * utc_s).toLocaleString();
}

function clock(utc_s) {
  const time = { day: "numeric", month: "numeric", hour: "2-digit", minute: "2-digit" };
  return new Date(1000 * utc_s).toLocaleString([], time);
}
