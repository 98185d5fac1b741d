// Progress of a single clip, drawn by hand: a mark per frame, 0 at the bottom, 1 at the top.

export class Graph {
  constructor(svg, player) {
    this.svg = svg;
    this.player = player;
    this.values = new Map();
    const draw = (event) => {
      const { left, top, width, height } = svg.getBoundingClientRect();
      const frame = Math.floor(((event.clientX - left) / width) * this.player.count);
      const value = 1 - (event.clientY - top) / height;
      if (frame < 0 || frame >= this.player.count) return;
      this.values.set(frame, Math.max(0, Math.min(1, value)));
      this.player.seek(frame);
      this.draw();
    };
    svg.addEventListener("pointerdown", (event) => {
      svg.setPointerCapture(event.pointerId);
      draw(event);
      svg.onpointermove = draw;
    });
    svg.addEventListener("lostpointercapture", () => (svg.onpointermove = null));
  }

  clear() {
    this.values.clear();
    this.draw();
  }

  nudge(by) {
    const frame = this.player.frame;
    const before = [...this.values.keys()].filter((each) => each <= frame).sort((a, b) => b - a)[0];
    const value = (this.values.get(before) ?? 0) + by;
    this.values.set(frame, Math.round(100 * Math.max(0, Math.min(1, value))) / 100);
    this.player.seek(frame);
    this.draw();
  }

  marks() {
    return [...this.values].sort(([a], [b]) => a - b);
  }

  draw() {
    if (this.svg.hasAttribute("hidden") || !this.player.count) return;
    const x = (frame) => (100 * (frame + 0.5)) / this.player.count;
    const y = (value) => 30 - 30 * value;
    const marks = this.marks();
    const line = marks.map(([frame, value]) => `${x(frame)},${y(value)}`).join(" ");
    const dots = marks.map(([f, v]) => `<path class="dot" d="M${x(f)} ${y(v)}h0"/>`);
    const now = x(this.player.frame);
    this.svg.innerHTML =
      `<line x1="${now}" x2="${now}" y1="0" y2="30"/><polyline points="${line}"/>${dots.join("")}`;
  }
}
