// All clips as points, dark where the model doubts; two picked ones become a query.

import { api, film } from "./net.js";
import { Film } from "./film.js";

const LOOK_MS = 150; // a pointer that rests so long on a point wants to see its clip
const STEPS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

export async function showMap(section, open, trouble) {
  const svg = section.querySelector("svg");
  let points;
  try {
    ({ points } = await api("GET", "/api/map"));
  } catch (error) {
    return trouble(error.message);
  }
  const places = placed(points);
  const doubts = points.map((point) => point.uncertainty ?? 0);
  const [least, most] = [Math.min(...doubts), Math.max(...doubts)];
  const circles = points.map((point, i) => {
    const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    const doubt = (doubts[i] - least) / (most - least || 1);
    circle.setAttribute("cx", places[i][0]);
    circle.setAttribute("cy", places[i][1]);
    circle.setAttribute("r", 1.5);
    circle.setAttribute("fill", point.uncertainty === null ? "#c4ccd4" : `hsl(210 80% ${85 - 65 * doubt}%)`);
    circle.innerHTML = `<title>${told(point)}</title>`;
    circle.addEventListener("click", () => pick(i));
    circle.addEventListener("pointerenter", () => look(i, LOOK_MS));
    return circle;
  });
  svg.replaceChildren(...circles);
  look(-1);
  let now = -1;
  const picked = new Set();

  async function pick(i) {
    picked.has(i) ? picked.delete(i) : picked.add(i);
    circles[i].classList.toggle("picked", picked.has(i));
    svg.append(circles[i]); // none of the others hides it
    look(i);
    if (picked.size < 2) return;
    const clip_ids = [...picked].map((n) => points[n].clip_id);
    try {
      open(await api("POST", "/api/pick", { clip_ids }));
    } catch (error) {
      trouble(error.message);
      circles.forEach((circle) => circle.classList.remove("picked"));
      picked.clear();
    }
  }

  async function look(i, ms = 0) {
    const canvas = section.querySelector("canvas");
    const wanted = (canvas.wanted = {});
    await new Promise((go) => setTimeout(go, ms));
    if (canvas.wanted !== wanted) return;
    section.querySelector("figcaption").textContent = i < 0 ? "" : `${told(points[i])}, its end`;
    canvas.hidden = true;
    if (i < 0) return;
    try {
      await showEnd(canvas, points[i].clip_id, () => canvas.wanted === wanted);
    } catch (error) {
      if (canvas.wanted === wanted) section.querySelector("figcaption").textContent = error.message;
    }
  }

  svg.onkeydown = (event) => {
    if (STEPS[event.key]) {
      circles[now]?.classList.remove("at");
      now = now < 0 ? leftmost(places) : neighbour(places, now, STEPS[event.key]);
      circles[now].classList.add("at");
      svg.append(circles[now]);
      look(now, LOOK_MS);
    } else if (event.key === "Enter" && now >= 0) pick(now);
    else return;
    event.preventDefault();
  };
  svg.focus();
}

// A clip's end, which is what mostly tells it from others, unless it is no longer wanted.
export async function showEnd(canvas, number, wanted = () => true) {
  const found = new Film(await film(number));
  const picture = await found.load(found.count - 1);
  if (!wanted()) return found;
  canvas.hidden = false;
  found.fit(canvas);
  found.paint(canvas, picture);
  return found;
}

function told(point) {
  const doubt = point.uncertainty === null ? "not scored" : `doubt ${point.uncertainty.toFixed(3)}`;
  return `clip ${point.clip_id}, ${doubt}`;
}

// Places by rank: what is alike stays close, and crowds do not hide each other. Without, a grid.
function placed(points) {
  const last = Math.max(1, points.length - 1);
  if (points.every((point) => point.x !== null && point.y !== null)) {
    const rank = (name) => {
      const order = points.map((_, i) => i).sort((a, b) => points[a][name] - points[b][name]);
      return (i) => order.indexOf(i) / last;
    };
    const [x, y] = [rank("x"), rank("y")];
    return points.map((_, i) => [5 + 90 * x(i), 5 + 50 * y(i)]);
  }
  const columns = Math.ceil(Math.sqrt(points.length * 1.6));
  const rows = Math.ceil(points.length / columns);
  return points.map((_, i) => [
    5 + (90 * (i % columns)) / Math.max(1, columns - 1), 5 + (50 * Math.floor(i / columns)) / Math.max(1, rows - 1),
  ]);
}

function leftmost(places) {
  return places.reduce((best, [x], i) => (x < places[best][0] ? i : best), 0);
}

// The nearest in a direction; what lies aside counts as further away.
function neighbour(places, from, [right, down]) {
  const far = ([x, y]) => {
    const [dx, dy] = [x - places[from][0], y - places[from][1]];
    const ahead = dx * right + dy * down;
    return ahead > 1e-6 ? ahead + 3 * Math.abs(dx * down + dy * right) : Infinity;
  };
  return places.reduce((found, place, i) => (far(place) < far(places[found]) ? i : found), from);
}
