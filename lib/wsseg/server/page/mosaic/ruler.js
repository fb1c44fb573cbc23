/** The whole scan as a ruler: labels, probabilities and the slice on view. */

export class Ruler {
  /**
   * @param {HTMLCanvasElement} ruler
   * @param {(slice: number) => void} go a slice was chosen
   */
  constructor(ruler, go) {
    Object.assign(this, { ruler, slice: 0, scan: null, states: [], probabilities: null, color: "#fff" });
    ruler.addEventListener("pointerdown", (event) => {
      if (this.scan) go(Math.floor((event.offsetX / ruler.clientWidth) * this.scan.slices));
    });
    new ResizeObserver(() => this.draw()).observe(ruler);
  }

  open(scan) {
    this.scan = scan;
  }

  look(slice) {
    this.slice = slice;
    this.draw();
  }

  /** States of the class, the model's probabilities (or null) and the class's colour. */
  show(states, probabilities, color) {
    Object.assign(this, { states, probabilities, color });
    this.draw();
  }

  /** Draw once before the next frame, however often it is asked for. */
  draw() {
    this.due ??= requestAnimationFrame(() => {
      this.due = undefined;
      if (this.scan) this.paint();
    });
  }

  /** Labels below, probabilities above, the slice on view as a line. */
  paint() {
    const { ruler, scan, states, probabilities } = this;
    const scale = devicePixelRatio;
    const [width, height] = [ruler.clientWidth, 56];
    ruler.width = width * scale;
    ruler.height = height * scale;
    const pen = ruler.getContext("2d");
    pen.scale(scale, scale);
    const step = width / scan.slices;
    const gap = step > 3 ? 1 : 0;
    const bar = (slice, top, tall, color) => {
      pen.fillStyle = color;
      pen.fillRect(slice * step, top, Math.max(step - gap, 0.6), tall);
    };
    for (let slice = 0; slice < scan.slices; slice++) {
      bar(slice, 0, 38, "#202227");
      if (probabilities) bar(slice, 38 - 38 * probabilities[slice], 38 * probabilities[slice], "#c9ccd2");
      bar(slice, 42, 14, { 1: this.color, 0: "#6b6f78" }[states[slice]] ?? "#202227");
    }
    pen.fillStyle = "#8ab4f8";
    pen.fillRect((this.slice + 0.5) * step - 1, 0, 2, height);
  }
}
