/** The slices of the scan on screen as numbers: the one that is looked at first, then its neighbours outwards. */

import { planesOf } from "../api.js";

/** Slices a request, after the first one; many stand side by side in the file and cost hardly more than one. */
const AT_ONCE = 16;

/** Bytes of slices that are kept; beyond, those farthest from the one on view go. */
const MOST_BYTES = 600e6;

export class Planes {
  /**
   * @param {object} on
   * @param {(index: number) => void} on.loaded a slice is there
   * @param {(error: Error) => void} on.failed
   */
  constructor(on) {
    Object.assign(this, { on, layout: null, held: [], wanted: 0, generation: 0, running: false });
  }

  /** Show another scan; nothing of the one before is kept. */
  open(layout, model) {
    Object.assign(this, { layout, model, held: new Array(layout.slices), wanted: 0, running: false, ahead: false, content: "" });
    this.generation++;
  }

  /**
   * Fetch slices that nobody looks at yet too: the thumbnails, which need the server as well, are there.
   * @param {string} content of the scan as it was opened, so that none comes of another that takes its name
   */
  fetchAhead(content) {
    Object.assign(this, { ahead: true, content });
    this.look(this.wanted);
  }

  /** The slice at an index, null while it is not there: {codes, slope, intercept}. */
  at(index) {
    return this.held[index] ?? null;
  }

  /** Look at a slice: it is fetched next, if it is not there. */
  look(index) {
    this.wanted = index;
    if (!this.running) this.run();
  }

  /** Fetch what is missing, nearest first. */
  async run() {
    const { generation } = this;
    this.running = true;
    for (let range = this.next(); range; range = this.next()) {
      const [first, count] = range;
      try {
        const found = await planesOf(this.layout, this.model, first, count, this.content);
        if (generation !== this.generation) return;
        found.forEach((plane, step) => {
          this.held[first + step] = plane;
          this.on.loaded(first + step);
        });
      } catch (error) {
        if (generation !== this.generation) return;
        this.on.failed(error);
        break;
      }
    }
    this.running = false;
  }

  /** The missing slices nearest to the wanted one, as [first, count]; null when there are enough. */
  next() {
    const { held, wanted } = this;
    const { slices, right, down, colour } = this.layout;
    if (!held[wanted]) {
      const alone = held.every((plane) => !plane);
      return alone ? [wanted, 1] : this.block(wanted);
    }
    if (!this.ahead) return null;
    const most = Math.floor(MOST_BYTES / (right.pixels * down.pixels * (colour ? 3 : 2)));
    for (let away = 1; away < slices; away++) {
      for (const index of [wanted + away, wanted - away]) {
        if (index < 0 || index >= slices || held[index]) continue;
        if (Object.keys(held).length < most) return this.block(index);
        return this.forget(away) ? this.block(index) : null;
      }
    }
    return null;
  }

  /** The block of slices around one, without those at its ends that are there. */
  block(index) {
    let first = Math.floor(index / AT_ONCE) * AT_ONCE;
    let last = Math.min(first + AT_ONCE, this.layout.slices) - 1;
    while (this.held[first]) first++;
    while (this.held[last]) last--;
    return [first, last - first + 1];
  }

  /** Whether slices farther away than this were let go. */
  forget(away) {
    const far = Object.keys(this.held).filter((index) => Math.abs(index - this.wanted) > away + AT_ONCE);
    for (const index of far) delete this.held[index];
    return far.length > 0;
  }
}
