/** The slice on view with its tools: what its buttons and keys do, and what becomes of what is drawn. */

import { between, BACKGROUND, copied, drawing } from "./drawings.js";
import { stored } from "./geometry.js";
import { Hand } from "./hand.js";
import { Picture } from "./picture.js";
import { Planes } from "./planes.js";
import { View } from "./view.js";
import { PRESETS } from "./window.js";

const $ = (id) => document.getElementById(id);
const STEP = 1.25;

/** The window of a CT that is opened, as its thumbnails have it. */
const FIRST = "soft tissue";

export class Desk {
  /**
   * @param {object} of
   * @param {() => object[]} of.drawings of the scan on screen
   * @param {(label: string) => string} of.color
   * @param {() => object|null} of.mask
   * @param {(drawings: object[]) => void} of.draw something was drawn
   * @param {(step: number) => void} of.scroll
   * @param {(slice: number) => void} of.go
   * @param {(sentence: string) => void} of.failed
   * @param {(error: Error) => void} of.unread a slice did not come
   */
  constructor(of) {
    Object.assign(this, { of, tool: "look", label: null, background: false, layout: null, slice: 0, cross: [0, 0] });
    this.planes = new Planes({ loaded: (index) => this.loaded(index), failed: of.unread });
    this.view = new View($("slice-canvas"), {
      plane: (index) => this.planes.at(index),
      drawings: (slice) => of.drawings().filter((one) => one.slice === slice),
      color: of.color,
      mask: of.mask,
      windowed: () => this.cuts.forEach((cut) => cut.draw()),
      sketched: (tool, points) => this.made(tool, points),
    });
    this.hand = new Hand($("slice-canvas"), this.view, {
      tool: () => this.tool,
      drawn: (tool, points) => of.draw([this.made(tool, points)]),
      scroll: of.scroll,
      pointed: (place) => this.point(place),
    });
    this.cuts = ["right", "down"].map((along) => new Cut($(`cut-${along}`), along, this));
    const buttons = [...$("tools").children];
    this.tools = buttons.map(({ value }) => value);
    this.keys = Object.fromEntries(buttons.map((each) => [each.querySelector("kbd").textContent.toLowerCase(), each.value]));
    this.listen();
    this.choose("look");
  }

  listen() {
    $("tools").addEventListener("click", (event) => this.choose(event.target.closest("button")?.value ?? this.tool));
    $("background").addEventListener("click", () => this.setBackground(!this.background));
    $("opacity").addEventListener("input", () => this.setOpacity($("opacity").value / 100));
    $("window").replaceChildren(...["auto", ...Object.keys(PRESETS)].map((name) => new Option(name, name)));
    $("window").addEventListener("change", () => this.setWindow($("window").value));
    const clicks = { fit: () => this.view.fit(), copy: () => this.copy(), interpolate: () => this.fill() };
    for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", action);
  }

  /** Show another scan. */
  open(layout, model) {
    Object.assign(this, { layout, slice: 0, cross: [layout.right.pixels / 2, layout.down.pixels / 2].map(Math.floor) });
    for (const option of $("window").options) option.disabled = option.value !== "auto" && !layout.hounsfield;
    this.planes.open(layout, model);
    this.view.open(layout);
    this.setWindow(($("window").value = layout.hounsfield ? FIRST : "auto"));
    for (const cut of this.cuts) cut.open(layout);
    this.look(0);
  }

  look(slice) {
    if (!this.layout) return;
    this.slice = slice;
    this.planes.look(slice);
    this.view.look(slice);
    for (const cut of this.cuts) cut.draw();
  }

  /** Drawings, the mask or a colour changed. */
  redraw() {
    this.view.draw();
    const here = this.of.drawings().filter(({ slice }) => slice === this.slice).length;
    $("slice-canvas").ariaLabel = `Slice ${this.slice + 1}, ${here} ${here === 1 ? "drawing" : "drawings"}, tool: ${this.tool}`;
  }

  loaded(index) {
    if (index === this.slice || !this.view.windowed) this.view.draw();
    $("slice-canvas").dataset.loaded = Object.keys(this.planes.held).length;
    for (const cut of this.cuts) cut.draw();
  }

  /** Draw as a class from now on. */
  setLabel(label) {
    this.label = label;
    this.setBackground(false);
  }

  setBackground(background) {
    this.background = background;
    $("background").ariaPressed = String(background);
  }

  /** The class that is drawn. */
  get drawn() {
    return this.background ? BACKGROUND : this.label;
  }

  choose(tool) {
    this.tool = tool;
    this.hand.drop();
    for (const button of $("tools").children) {
      button.ariaChecked = String(button.value === tool);
      button.tabIndex = button.value === tool ? 0 : -1;
    }
    $("slice-canvas").dataset.tool = tool;
    if (this.layout) this.redraw();
  }

  /** The tool so many places further, with the focus on its button. */
  turn(step) {
    this.choose(this.tools.at((this.tools.indexOf(this.tool) + step) % this.tools.length));
    $("tools").querySelector("[aria-checked=true]").focus();
  }

  /** What a tool makes of places on the picture. */
  made(tool, points) {
    const label = tool === "eraser" ? BACKGROUND : this.drawn;
    const kind = tool === "eraser" ? "brush" : tool;
    const radius = kind === "brush" ? Number($("radius").value) / 2 : 0;
    const far = (point, at) => !at || Math.hypot(point[0] - points[at - 1][0], point[1] - points[at - 1][1]) > 0.3;
    const kept = kind === "box" ? points : points.filter(far);
    return drawing(kind, label, this.slice, kept.map((point) => stored(this.layout, point)), radius);
  }

  point(place) {
    this.cross = place.map(Math.round);
    for (const cut of this.cuts) cut.draw();
  }

  setOpacity(opacity) {
    this.view.opacity = opacity;
    this.view.draw();
  }

  setWindow(name) {
    if (name === "auto") this.view.autoWindow();
    else this.view.setWindow(PRESETS[name]);
  }

  /** The next window that this scan can be shown through. */
  turnWindow() {
    const able = [...$("window").options].filter((option) => !option.disabled).map(({ value }) => value);
    $("window").value = able[(able.indexOf($("window").value) + 1) % able.length];
    this.setWindow($("window").value);
  }

  /** The drawings of the class on this slice, on the next one too, which is then on view. */
  copy() {
    if (!this.layout || this.slice + 1 >= this.layout.slices) return;
    const found = copied(this.of.drawings(), this.drawn, this.slice, this.slice + 1);
    if (!found.length) return this.of.failed(`There is nothing of ${this.drawn} on this slice to copy.`);
    this.of.draw(found);
    this.of.go(this.slice + 1);
  }

  /** Boxes on the slices between those that have some. */
  fill() {
    const found = between(this.of.drawings(), this.drawn);
    if (found.length) this.of.draw(found);
    else this.of.failed(`There are no two slices with as many boxes of ${this.drawn} and none between them.`);
  }

  /** Obey a key of the slice; whether it was one. */
  key(pressed) {
    const actions = {
      k: () => this.copy(),
      i: () => this.fill(),
      w: () => this.turnWindow(),
      f: () => this.view.fit(),
      "+": () => this.view.zoom(STEP),
      "-": () => this.view.zoom(1 / STEP),
      0: () => this.setBackground(true),
      Escape: () => this.hand.drop(),
    };
    if (this.keys[pressed]) this.choose(this.keys[pressed]);
    else if (actions[pressed]) actions[pressed]();
    else return false;
    return true;
  }
}

/** A thin cut across the slices, through where the slice was pointed at last; a click goes to a slice. */
class Cut {
  constructor(canvas, along, desk) {
    Object.assign(this, { canvas, along, desk, picture: new Picture() });
    canvas.addEventListener("pointerdown", (event) => {
      const { slices, head_first } = desk.layout ?? {};
      if (!slices) return;
      const row = Math.min(Math.floor((event.offsetY / canvas.clientHeight) * slices), slices - 1);
      desk.of.go(head_first ? row : slices - 1 - row);
    });
  }

  open({ right, down, slices, slice_mm, colour }) {
    const { pixels, mm } = this.along === "right" ? right : down;
    this.canvas.hidden = slices < 3 || colour;
    this.canvas.style.aspectRatio = `${pixels * mm} / ${slices * slice_mm}`;
  }

  draw() {
    this.due ??= requestAnimationFrame(() => {
      this.due = undefined;
      if (this.canvas.clientWidth && this.desk.layout) this.paint();
    });
  }

  paint() {
    const { desk, canvas, along } = this;
    const { layout, cross, slice } = desk;
    const place = along === "right" ? cross[1] : cross[0];
    const shown = `${layout.id} ${place} ${desk.view.window} ${Object.keys(desk.planes.held).length}`;
    if (shown !== this.shown) this.picture.cut((index) => desk.planes.at(index), layout, along, place, desk.view.window);
    this.shown = shown; // going through the slices moves the line alone
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * devicePixelRatio));
    Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.drawImage(this.picture.canvas, 0, 0, width, height);
    pen.fillStyle = "#8ab4f8";
    const row = layout.head_first ? slice : layout.slices - 1 - slice;
    pen.fillRect(0, Math.round(((row + 0.5) * height) / layout.slices) - 1, width, 2);
  }
}
