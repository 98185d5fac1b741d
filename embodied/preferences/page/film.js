// A film is one file of pictures; any of them can be drawn at once. `Player` shows several films at
// the same moment of their time, and draws either all of them or none: they cannot drift apart.

const KEPT_BYTES = 96 * 2 ** 20;

export class Film {
  constructor(buffer) {
    const view = new DataView(buffer);
    if (view.getUint32(0) !== 0x45464c4d) throw new Error("this is no film");
    const size = view.getUint32(4, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, size)));
    Object.assign(this, header);
    this.count = header.pictures.length;
    this.blobs = header.pictures.map(([offset, length]) =>
      new Blob([new Uint8Array(buffer, 8 + size + offset, length)], { type: "image/jpeg" }));
    this.most = Math.max(8, Math.floor(KEPT_BYTES / (4 * this.width * this.height)));
    this.ready = new Map();
    this.coming = new Map();
  }

  get(number) {
    const found = this.ready.get(number);
    if (!found) this.load(number);
    return found;
  }

  load(number) {
    if (this.ready.has(number)) return Promise.resolve(this.ready.get(number));
    if (!this.coming.has(number)) {
      const coming = createImageBitmap(this.blobs[number]).then((bitmap) => {
        this.coming.delete(number);
        this.ready.set(number, bitmap);
        if (this.ready.size > this.most) {
          const oldest = this.ready.keys().next().value;
          this.ready.get(oldest).close();
          this.ready.delete(oldest);
        }
        return bitmap;
      });
      this.coming.set(number, coming);
    }
    return this.coming.get(number);
  }

  ahead(number, many) {
    for (let i = number; i < Math.min(number + many, this.count); i++) this.load(i);
  }

  close() {
    for (const bitmap of this.ready.values()) bitmap.close();
    this.ready.clear();
  }
}

export class Player {
  constructor(changed) {
    this.changed = changed;
    this.films = [];
    this.speed = 1;
    this.playing = false;
    this.loop = this.loop.bind(this);
    requestAnimationFrame(this.loop);
  }

  show(films, canvases) {
    this.films = films;
    this.canvases = canvases;
    this.fps = Math.max(...films.map((f) => f.fps));
    this.count = Math.max(...films.map((f) => f.count));
    films.forEach((film, i) => {
      canvases[i].width = film.width;
      canvases[i].height = film.height;
    });
    this.position = 0;
    this.drawn = -1;
    this.replays = 0;
    this.playing = true;
    this.draw();
  }

  get frame() {
    return Math.min(Math.floor(this.position + 1e-6), this.count - 1);
  }

  seek(frame) {
    this.playing = false;
    this.position = Math.max(0, Math.min(frame, this.count - 1));
    this.draw();
  }

  step(frames) {
    this.seek(this.frame + frames);
  }

  loop(now) {
    const passed = (now - (this.before ?? now)) / 1000;
    this.before = now;
    if (this.films.length) {
      if (this.playing && this.drawn === this.frame) {
        this.position += Math.min(passed, 0.25) * this.fps * this.speed;
        if (this.position >= this.count) {
          this.position = 0;
          this.replays += 1;
        }
      }
      this.draw();
    }
    requestAnimationFrame(this.loop);
  }

  draw() {
    const frame = this.frame;
    if (frame === this.drawn) return true;
    const pictures = this.films.map((film) => film.get(Math.min(frame, film.count - 1)));
    this.films.forEach((film) => film.ahead(frame, 8));
    if (!pictures.every(Boolean)) return false;
    pictures.forEach((picture, i) => this.canvases[i].getContext("2d").drawImage(picture, 0, 0));
    this.drawn = frame;
    this.changed(frame, this.count);
    return true;
  }
}
