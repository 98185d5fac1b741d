// A film is one file of pictures; any of them can be drawn at once. `Player` shows several films at
// the same moment of their time, and draws either all of them or none: they cannot drift apart.

const KEPT_BYTES = 96 * 2 ** 20;
const BESIDE = 1.2; // cameras are put beside each other where that makes them so much larger

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
    const [widths, heights] = [0, 1].map((side) => this.sizes.map((size) => size[side]));
    [this.width, this.height] = [Math.max(...widths), Math.max(...heights)]; // of a camera
    const pixels = this.width * heights.reduce((a, b) => a + b);
    this.most = Math.max(8, Math.floor(KEPT_BYTES / (4 * pixels)));
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

  // Cameras in as many columns as make them largest where the canvas stands.
  fit(canvas) {
    const wide = canvas.parentElement.clientWidth;
    const high = parseFloat(getComputedStyle(canvas).maxHeight);
    let largest = 0;
    this.sizes.forEach((_, more) => {
      const [columns, rows] = [more + 1, Math.ceil(this.sizes.length / (more + 1))];
      const scale = Math.min(wide / (columns * this.width), high / (rows * this.height));
      if (scale < BESIDE * largest) return;
      largest = scale;
      this.columns = columns;
      canvas.width = columns * this.width;
      canvas.height = rows * this.height;
    });
  }

  paint(canvas, picture) {
    const context = canvas.getContext("2d");
    let top = 0;
    this.sizes.forEach(([width, height], i) => {
      const scale = Math.min(this.width / width, this.height / height);
      const x = (i % this.columns) * this.width + (this.width - scale * width) / 2;
      const y = Math.floor(i / this.columns) * this.height + (this.height - scale * height) / 2;
      context.drawImage(picture, 0, top, width, height, x, y, scale * width, scale * height);
      top += height;
    });
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
    addEventListener("resize", () => this.films.length && this.fit());
  }

  show(films, canvases) {
    this.films = films;
    this.canvases = canvases;
    this.fps = Math.max(...films.map((f) => f.fps));
    this.count = Math.max(...films.map((f) => f.count));
    this.position = 0;
    this.replays = 0;
    this.playing = true;
    this.fit();
  }

  fit() {
    this.films.forEach((film, i) => film.fit(this.canvases[i]));
    this.drawn = -1;
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
          if (this.count > 1) this.replays += 1;
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
    pictures.forEach((picture, i) => this.films[i].paint(this.canvases[i], picture));
    this.drawn = frame;
    this.changed(frame, this.count);
    return true;
  }
}
