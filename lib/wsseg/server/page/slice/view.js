/** One slice on a canvas, with the mask and all that is drawn on it: scrolled, zoomed, moved and windowed. */

import { paint } from "./drawings.js";
import { Picture } from "./picture.js";
import { fitting } from "./window.js";

/** Screen pixels for each of the picture beyond which its pixels are shown as squares. */
const SQUARES = 4;
const FARTHEST = 40;

export class View {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {object} of
   * @param {(index: number) => object|null} of.plane
   * @param {(index: number) => object[]} of.drawings on a slice
   * @param {(label: string) => string} of.color
   * @param {() => object|null} of.mask {values, colors}
   * @param {() => void} of.windowed another window was chosen
   * @param {(tool: string, points: number[][]) => object} of.sketched a drawing of what is being drawn
   */
  constructor(canvas, of) {
    Object.assign(this, { canvas, of, layout: null, slice: 0, opacity: 0.45, window: [0, 1], chosen: null });
    this.picture = new Picture();
    this.tint = new Picture();
    this.current = null;
    this.frames = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  open(layout) {
    Object.assign(this, { layout, slice: 0, windowed: false, current: null });
    this.fit();
  }

  look(slice) {
    this.slice = slice;
    this.draw();
  }

  /** The whole slice, in the middle. */
  fit() {
    Object.assign(this, { stretch: 1, offset: [0, 0] });
    this.draw();
  }

  setWindow(chosen) {
    this.window = chosen;
    this.windowed = true;
    this.of.windowed();
    this.draw();
  }

  /** The window that fits the slice on view; while none is there, that of the middle one, as those at the ends may be empty. */
  autoWindow() {
    const plane = this.of.plane(this.slice);
    if (plane && !this.layout.colour) this.setWindow(fitting(plane));
    else this.windowed = false;
    this.draw();
  }

  /** Until the middle slice is there, the window is that of the slice on view. */
  suit(plane) {
    const middle = this.of.plane(this.layout.slices >> 1);
    this.window = fitting(middle ?? plane);
    this.windowed = middle !== null;
    this.of.windowed();
  }

  pan(right, down) {
    this.offset = [this.offset[0] + right, this.offset[1] + down];
    this.draw();
  }

  /** Stretch by a factor around a place on the canvas that stays where it is. */
  zoom(factor, [x, y] = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]) {
    const stretch = Math.min(Math.max(this.stretch * factor, 0.5), FARTHEST);
    const by = stretch / this.stretch;
    const [middleX, middleY] = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2];
    const [left, top] = this.offset;
    this.offset = [x - middleX - (x - middleX - left) * by, y - middleY - (y - middleY - top) * by];
    this.stretch = stretch;
    this.draw();
  }

  /** Screen pixels for each of the picture, right and down. */
  get scale() {
    const { right, down } = this.layout;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const each = this.stretch * Math.min(width / (right.pixels * right.mm), height / (down.pixels * down.mm));
    return [each * right.mm, each * down.mm];
  }

  /** Where the picture's corner lies on the canvas. */
  get corner() {
    const [across, along] = this.scale;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const { right, down } = this.layout;
    return [(width - across * right.pixels) / 2 + this.offset[0], (height - along * down.pixels) / 2 + this.offset[1]];
  }

  /** The place of the picture, in its pixels, under one of the canvas. */
  place([x, y]) {
    const [[across, along], [left, top]] = [this.scale, this.corner];
    return [(x - left) / across - 0.5, (y - top) / along - 0.5];
  }

  /** Show what is being drawn. */
  sketch(tool, points) {
    this.current = tool && points.length ? this.of.sketched(tool, points) : null;
    this.draw();
  }

  /** Draw once before the next frame, however often it is asked for. */
  draw() {
    this.due ??= requestAnimationFrame(() => {
      this.due = undefined;
      if (this.layout && this.canvas.clientWidth) this.paint();
    });
  }

  paint() {
    const { canvas, layout, slice } = this;
    const sharp = devicePixelRatio;
    const [width, height] = [Math.round(canvas.clientWidth * sharp), Math.round(canvas.clientHeight * sharp)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    const [[across, along], [left, top]] = [this.scale, this.corner];
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, width, height);
    pen.setTransform(across * sharp, 0, 0, along * sharp, left * sharp, top * sharp);
    pen.imageSmoothingEnabled = across < SQUARES;
    const plane = this.of.plane(slice);
    Object.assign(canvas.dataset, { scan: layout.id, slice: plane ? slice : "" }); // which one is really there
    if (plane) {
      if (!this.windowed && !layout.colour) this.suit(plane);
      this.picture.paint(plane, layout, this.window);
      pen.drawImage(this.picture.canvas, 0, 0);
    }
    this.paintMask(pen);
    for (const one of [...this.of.drawings(slice), ...(this.current ? [this.current] : [])]) {
      paint(pen, one, layout, this.of.color(one.label), across);
    }
    pen.globalAlpha = 1;
    this.frames++;
  }

  paintMask(pen) {
    const mask = this.of.mask();
    if (!mask || !this.opacity) return;
    const { right, down } = this.layout;
    const length = right.pixels * down.pixels;
    const values = mask.values.subarray(this.slice * length, (this.slice + 1) * length);
    this.tint.size(right.pixels, down.pixels);
    for (let at = 0; at < length; at++) this.tint.pixels[at] = mask.colors[values[at]];
    this.tint.pen.putImageData(this.tint.image, 0, 0);
    pen.globalAlpha = this.opacity;
    pen.drawImage(this.tint.canvas, 0, 0);
    pen.globalAlpha = 1;
  }
}
