/** Mouse, pen and fingers on the slice: what they draw, and how they move and window the view. */

import { inside } from "./geometry.js";

/** Level and width change by so much of the width for each pixel that is dragged. */
const WINDOW_STEP = 0.005;

export class Hand {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import("./view.js").View} view
   * @param {object} on
   * @param {() => string} on.tool that is chosen
   * @param {(tool: string, points: number[][]) => void} on.drawn in pixels of the picture
   * @param {(step: number) => void} on.scroll
   * @param {(place: number[]) => void} on.pointed
   */
  constructor(canvas, view, on) {
    Object.assign(this, { canvas, view, on, points: [], act: null });
    /** Pointers that are down, by id, with where each was last. */
    this.down = new Map();
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.lift(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.turn(event), { passive: false });
  }

  press(event) {
    if (!this.view.layout) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.down.set(event.pointerId, at(event));
    if (this.down.size > 1) return this.drop("pinch");
    const place = this.view.place(at(event));
    this.on.pointed(inside(this.view.layout, place));
    if (event.button === 2) this.act = "window";
    else if (event.button === 1 || this.on.tool() === "look") this.act = "pan";
    else {
      this.act = this.on.tool();
      const first = inside(this.view.layout, place);
      this.points = this.act === "box" ? [first, first] : [first];
      this.view.sketch(this.act, this.points);
    }
  }

  /** What was begun is not drawn: another finger came, or Escape was pressed. */
  drop(act = null) {
    this.act = act;
    this.points = [];
    this.view.sketch(null, []);
  }

  move(event) {
    const before = this.down.get(event.pointerId);
    if (!before) return;
    const now = at(event);
    if (this.act === "pinch") this.pinch(event.pointerId, now);
    this.down.set(event.pointerId, now);
    const [right, down] = [now[0] - before[0], now[1] - before[1]];
    if (this.act === "pan") this.view.pan(right, down);
    else if (this.act === "window") {
      const [level, width] = this.view.window;
      const step = WINDOW_STEP * width;
      this.view.setWindow([level + step * down, Math.max(width + 2 * step * right, 1e-6)]);
    } else if (this.points.length) this.draw(event);
  }

  draw(event) {
    const { layout } = this.view;
    const events = event.getCoalescedEvents?.() ?? [];
    const places = (events.length ? events : [event]).map((each) => inside(layout, this.view.place(at(each))));
    if (this.act === "box") this.points = [this.points[0], places.at(-1)];
    else if (this.act === "point") this.points = [places.at(-1)];
    else this.points.push(...places); // a line
    this.view.sketch(this.act, this.points);
  }

  lift(event) {
    if (!this.down.delete(event.pointerId)) return;
    const { act, points } = this;
    if (this.down.size) return;
    this.drop();
    if (event.type === "pointercancel" || !points.length) return;
    if (act !== "box" || points[0] !== points[1]) this.on.drawn(act, points);
  }

  /** Two fingers move and stretch the slice. */
  pinch(id, now) {
    const [other] = [...this.down].filter(([key]) => key !== id).map(([, place]) => place);
    const before = this.down.get(id);
    if (!other) return;
    const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
    this.view.zoom(apart(now) / apart(before), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
    this.view.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
  }

  turn(event) {
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) this.view.zoom(Math.exp(-event.deltaY * 0.01), at(event));
    else if (event.deltaY) this.on.scroll(Math.sign(event.deltaY));
  }
}

function at(event) {
  return [event.offsetX, event.offsetY];
}
