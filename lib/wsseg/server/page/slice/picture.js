/** Slices painted into canvases of their own size, which the view then scales. */

import { table } from "./window.js";

export class Picture {
  constructor() {
    this.canvas = document.createElement("canvas");
    this.grey = { key: "", table: null };
  }

  /** Paint a slice through a window: [level, width]. */
  paint(plane, { right, down, colour }, chosen) {
    this.size(right.pixels, down.pixels);
    if (colour) spread(plane.codes, this.pixels);
    else {
      const grey = this.table(chosen, plane);
      const { codes } = plane;
      const { pixels } = this;
      for (let at = 0; at < codes.length; at++) pixels[at] = grey[codes[at]];
    }
    this.pen.putImageData(this.image, 0, 0);
  }

  /**
   * Paint a cut across all slices that are there, one row for each.
   * @param {(index: number) => object|null} planeAt
   * @param {"right"|"down"} along the direction that stays
   * @param {number} place in pixels along the other
   */
  cut(planeAt, layout, along, place, chosen) {
    const { slices, right, down, colour } = layout;
    const length = layout[along].pixels;
    this.size(length, slices);
    this.pixels.fill(0xff000000);
    const [begin, step] = along === "right" ? [place * right.pixels, 1] : [place, right.pixels];
    if (begin < 0 || place >= (along === "right" ? down : right).pixels) return;
    for (let slice = 0; slice < slices; slice++) {
      const plane = planeAt(slice);
      if (!plane || colour) continue;
      const grey = this.table(chosen, plane);
      const row = (layout.head_first ? slice : slices - 1 - slice) * length;
      for (let at = 0; at < length; at++) this.pixels[row + at] = grey[plane.codes[begin + at * step]];
    }
    this.pen.putImageData(this.image, 0, 0);
  }

  table(chosen, { slope, intercept }) {
    const key = `${chosen} ${slope} ${intercept}`;
    if (key !== this.grey.key) this.grey = { key, table: table(chosen, slope, intercept) };
    return this.grey.table;
  }

  size(width, height) {
    const { canvas } = this;
    if (canvas.width === width && canvas.height === height && this.image) return;
    Object.assign(canvas, { width, height });
    this.pen = canvas.getContext("2d");
    this.image = this.pen.createImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }
}

/** Three bytes a pixel to four. */
function spread(codes, pixels) {
  for (let at = 0, from = 0; at < pixels.length; at++, from += 3) {
    pixels[at] = 0xff000000 | (codes[from + 2] << 16) | (codes[from + 1] << 8) | codes[from];
  }
}
