// All clips as points, dark where the model doubts; two picked ones become a query.

import { api } from "./net.js";

export async function showMap(section, open, trouble) {
  const svg = section.querySelector("svg");
  let points;
  try {
    ({ points } = await api("GET", "/api/map"));
  } catch (error) {
    return trouble(error.message);
  }
  const columns = Math.ceil(Math.sqrt(points.length * 1.6));
  const rows = Math.ceil(points.length / columns);
  const placed = points.every((p) => p.x !== null && p.y !== null);
  const range = (name) => {
    const all = points.map((p) => p[name] ?? 0);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    return (p) => (high > low ? ((p[name] ?? 0) - low) / (high - low) : 0.5);
  };
  const [x, y, doubt] = [range("x"), range("y"), range("uncertainty")];
  const circles = points.map((point, i) => {
    const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    const place = placed
      ? [5 + 90 * x(point), 5 + 50 * y(point)]
      : [5 + (90 * (i % columns)) / Math.max(1, columns - 1), 5 + (50 * Math.floor(i / columns)) / Math.max(1, rows - 1)];
    const shade = point.uncertainty === null ? "#c4ccd4" : `hsl(210 80% ${85 - 65 * doubt(point)}%)`;
    const told = point.uncertainty === null ? "not scored" : `doubt ${point.uncertainty.toFixed(3)}`;
    circle.setAttribute("cx", place[0]);
    circle.setAttribute("cy", place[1]);
    circle.setAttribute("r", 1.6);
    circle.setAttribute("fill", shade);
    circle.innerHTML = `<title>clip ${point.clip_id}, ${told}</title>`;
    circle.addEventListener("click", () => pick(i));
    return circle;
  });
  svg.replaceChildren(...circles);
  let now = -1;
  const picked = new Set();

  async function pick(i) {
    picked.has(i) ? picked.delete(i) : picked.add(i);
    circles[i].classList.toggle("picked", picked.has(i));
    if (picked.size < 2) return;
    const clip_ids = [...picked].map((n) => points[n].clip_id);
    try {
      open(await api("POST", "/api/pick", { clip_ids }));
    } catch (error) {
      trouble(error.message);
    }
  }

  svg.onkeydown = (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (by !== undefined) {
      circles[now]?.classList.remove("at");
      now = (Math.max(now, 0) + (now < 0 ? 0 : by) + points.length) % points.length;
      circles[now].classList.add("at");
    } else if (event.key === "Enter" && now >= 0) pick(now);
    else return;
    event.preventDefault();
  };
  svg.focus();
}
