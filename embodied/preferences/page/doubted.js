// The clips that the model doubts most: the end of each, and all of one that is clicked.

import { Player } from "./film.js";
import { showEnd } from "./map.js";

let playing = null; // the figure whose clip plays
const player = new Player(() => (player.playing = playing.offsetParent !== null)); // not in another view
const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) load(target);
});

export function showDoubted(list, clips) {
  stop();
  seen.disconnect();
  list.replaceChildren(...clips.map(box));
  for (const figure of list.children) seen.observe(figure); // films are loaded once they can be seen
}

function box({ clip_id, uncertainty }) {
  const figure = document.createElement("figure");
  figure.dataset.clip = clip_id;
  figure.innerHTML = `<button title="Play, or stop"><canvas hidden></canvas></button>
    <figcaption class="note">clip ${clip_id}, doubt ${uncertainty.toFixed(3)}</figcaption>`;
  figure.querySelector("button").addEventListener("click", () => play(figure));
  return figure;
}

async function load(figure) {
  seen.unobserve(figure);
  try {
    figure.film = await showEnd(figure.querySelector("canvas"), figure.dataset.clip);
  } catch (error) {
    figure.querySelector("figcaption").textContent = error.message;
  }
}

function play(figure) {
  const other = playing !== figure;
  stop();
  if (!other || !figure.film) return;
  playing = figure;
  player.show([figure.film], [figure.querySelector("canvas")]);
}

function stop() {
  player.films = [];
  playing?.film.close();
  playing = null;
}
