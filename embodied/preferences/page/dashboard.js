// Numbers of the dashboard as tables and bars.

import { api } from "./net.js";

const escape = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
const percent = (x) => (x === null || x === undefined ? "–" : `${Math.round(100 * x)} %`);
const between = (i) => (i?.n ? `${percent(i.mean)} (${percent(i.low)} to ${percent(i.high)}; ${i.n})` : "–");
const number = (x, digits = 2) => (x === null || x === undefined ? "–" : x.toFixed(digits));

export async function showDashboard(section, trouble) {
  let found;
  try {
    found = await api("GET", "/api/dashboard");
  } catch (error) {
    return trouble(error.message);
  }
  const alpha = found.alpha
    ? `${number(found.alpha.mean)} (${number(found.alpha.low)} to ${number(found.alpha.high)})`
    : "–";
  section.innerHTML = `
    <h1>Labels</h1>
    <div class="tiles">
      ${tile(found.labels, "answers that stand")}
      ${tile(alpha, "agreement between raters (Krippendorff's alpha)")}
      ${tile(between(found.consistency), "same answer on swapped repeats")}
      ${tile(between(found.gold), "right where the answer is known")}
    </div>
    <h2>Answers per hour</h2>${bars(found.per_hour.map((h) => [hour(h.utc_s), h.answers]))}
    <h2>What was answered</h2>${table(["answer", "count"], Object.entries(found.answers))}
    <h2>Why it was asked</h2>${table(["reason", "count"], Object.entries(found.asked_because))}
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
      <a href="/api/export.parquet">Export all labels (parquet)</a></p>`;
}

function tile(value, label) {
  return `<div class="tile"><b>${escape(value)}</b><span>${escape(label)}</span></div>`;
}

function table(columns, rows) {
  if (!rows.length) return '<p class="note">None yet.</p>';
  const cell = (value) =>
    `<td class="${typeof value === "number" ? "n" : String(value).startsWith("biased") ? "flag" : ""}">${escape(value)}</td>`;
  const body = rows.map((row) => `<tr>${row.map(cell).join("")}</tr>`).join("");
  const head = columns.map((c) => `<th>${escape(c)}</th>`).join("");
  return `<div class="scroll"><table><tr>${head}</tr>${body}</table></div>`;
}

function bars(values) {
  if (!values.length) return '<p class="note">None yet.</p>';
  const most = Math.max(...values.map(([, v]) => v), 1e-9);
  const width = 100 / Math.max(values.length, 8);
  const drawn = values.map(
    ([name, v], i) =>
      `<rect x="${i * width + width * 0.1}" width="${width * 0.8}" y="${30 - (28 * v) / most}" height="${(28 * v) / most}"
        fill="#0b5cad"><title>${escape(name)}: ${escape(+v.toFixed(3))}</title></rect>`);
  return `<svg class="bars" viewBox="0 0 100 30" preserveAspectRatio="none">${drawn.join("")}</svg>`;
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
