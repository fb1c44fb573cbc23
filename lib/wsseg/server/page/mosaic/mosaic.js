/** All slices of a scan as tiles of one picture: shows states, and turns mouse and keys into marks. */

import { NEXT } from "../labels/labels.js";

const WORDS = new Map([[1, "shows"], [0, "does not show"], [null, "unknown"]]);
const SIGNS = new Map([[1, "✓"], [0, "✕"], [null, ""]]);

/** Where tile `index` of a sprite lies, as a CSS background position that holds at any size. */
export function placeOf(index, slices, columns) {
  const rows = Math.ceil(slices / columns);
  const share = (at, count) => (count > 1 ? (100 * at) / (count - 1) : 0);
  return `${share(index % columns, columns)}% ${share(Math.floor(index / columns), rows)}%`;
}

/** The slices from one to another, both included, in order. */
function between(first, last) {
  const low = Math.min(first, last);
  return Array.from({ length: Math.abs(last - first) + 1 }, (_, step) => low + step);
}

export class Mosaic {
  /**
   * @param {HTMLElement} element
   * @param {object} on
   * @param {(slices: number[], state: 1|0|null) => void} on.mark
   * @param {(slice: number) => void} on.look the slice to be seen large
   */
  constructor(element, on) {
    this.element = element;
    this.on = on;
    this.tiles = [];
    this.states = [];
    this.cursor = 0;
    this.anchor = 0;
    /** The slice under the pointer while it is being looked at, else null. */
    this.hovered = null;
    this.pointer = "";
    this.drag = null;
    this.painted = [];
    this.columns = 1;
    element.addEventListener("pointerdown", (event) => this.press(event));
    element.addEventListener("pointerover", (event) => this.hover(event));
    element.addEventListener("pointerleave", () => this.lookBack());
    element.addEventListener("pointercancel", () => this.endDrag());
    addEventListener("pointerup", () => this.release());
    new ResizeObserver(() => this.measure()).observe(element);
  }

  /** Lay out a scan; all its states are unknown until `show` is called. */
  open(scan) {
    const { columns, width, height } = scan.sprite;
    this.element.style.setProperty("--across", `${columns * 100}%`);
    this.element.style.setProperty("--shape", `${width} / ${height}`);
    this.element.style.setProperty("--width", `${width}px`);
    this.tiles = Array.from({ length: scan.slices }, (_, index) => tile(index, scan.slices, columns));
    this.element.replaceChildren(...this.tiles);
    this.element.classList.toggle("alone", scan.slices === 1);
    this.element.scrollTop = 0;
    this.endDrag();
    this.painted = [];
    this.states = [];
    this.probabilities = null;
    this.cursor = this.anchor = 0;
    this.measure();
    this.moveTo(0);
  }

  /** Highlight the slices that are worth labelling. */
  ask(slices) {
    for (const slice of slices.filter((one) => this.tiles[one])) {
      this.tiles[slice].dataset.asked = "";
      this.name(slice);
    }
  }

  /** How many tiles stand in a row, read once per layout and not per key. */
  measure() {
    this.columns = getComputedStyle(this.element).gridTemplateColumns.split(" ").length;
  }

  /**
   * Show the states of one class.
   * @param {(1|0|null)[]} states
   * @param {string} label
   * @param {Iterable<number>} slices those that may have changed
   */
  show(states, label, slices = states.keys()) {
    this.states = states;
    this.label = label;
    for (const slice of slices) {
      const state = states[slice];
      const { dataset, firstChild } = this.tiles[slice];
      dataset.state = state;
      firstChild.textContent = SIGNS.get(state);
      this.name(slice);
    }
  }

  /** Show the model's probability per slice of the class, or none. */
  showProbabilities(probabilities) {
    this.probabilities = probabilities;
    this.tiles.forEach((element, slice) => {
      const bar = element.lastChild;
      bar.style.transform = `scaleX(${probabilities ? probabilities[slice] : 0})`;
      this.name(slice);
    });
  }

  /** Show which slices also show other classes: one row of colours per slice. */
  showOthers(colors) {
    this.tiles.forEach((element, slice) => {
      const dots = (colors[slice] ?? []).map((color) => {
        const dot = document.createElement("i");
        dot.style.background = color;
        return dot;
      });
      element.children[1].replaceChildren(...dots);
    });
  }

  name(slice) {
    const guess = this.probabilities ? `, model ${Math.round(100 * this.probabilities[slice])} %` : "";
    const asked = "asked" in this.tiles[slice].dataset ? ", asked for" : "";
    this.tiles[slice].ariaLabel = `slice ${slice + 1}, ${this.label}: ${WORDS.get(this.states[slice])}${guess}${asked}`;
  }

  press(event) {
    const slice = sliceAt(event);
    if (slice === null || event.button !== 0) return;
    if (event.shiftKey) {
      const state = this.states[this.cursor] ?? 1;
      this.on.mark(between(this.cursor, slice), state);
      this.moveTo(slice);
      return;
    }
    this.drag = { first: slice, last: slice, state: NEXT.get(this.states[slice]) };
    this.moveTo(slice);
    this.paint(between(slice, slice), "paint", this.drag.state);
  }

  hover(event) {
    const slice = sliceAt(event);
    if (slice === null) return;
    if (this.drag && event.buttons & 1) {
      this.drag.last = slice;
      this.paint(between(this.drag.first, slice), "paint", this.drag.state);
    }
    const pointer = `${event.clientX} ${event.clientY}`;
    if (pointer === this.pointer) return; // the tiles were scrolled under a pointer at rest
    this.pointer = pointer;
    this.hovered = slice;
    this.on.look(slice);
  }

  /** The pointer has left: what the keys act on is the slice of the cursor. */
  lookBack() {
    this.hovered = null;
    this.on.look(this.cursor);
  }

  /** The slice that is looked at, which keys and buttons are about. */
  get shown() {
    return this.hovered ?? this.cursor;
  }

  release() {
    if (!this.drag) return;
    const { first, last, state } = this.drag;
    this.endDrag();
    this.moveTo(last);
    this.on.mark(between(first, last), state);
  }

  endDrag() {
    this.drag = null;
    this.paint([], "paint");
  }

  /** Set an attribute on these tiles and no longer on those before. */
  paint(slices, attribute, value) {
    const now = new Set(slices);
    for (const slice of this.painted) if (!now.has(slice)) delete this.tiles[slice]?.dataset[attribute];
    for (const slice of slices) this.tiles[slice].dataset[attribute] = value;
    this.painted = slices;
  }

  /**
   * Put the cursor on a slice.
   * @param {number} slice cut to those there are
   * @param {boolean} extend keep the other end of the selection
   */
  moveTo(slice, extend = false) {
    if (!this.tiles.length) return;
    const to = Math.min(Math.max(slice, 0), this.tiles.length - 1);
    this.hovered = null;
    this.tiles[this.cursor]?.classList.remove("cursor");
    this.cursor = to;
    this.tiles[to].classList.add("cursor");
    this.select(extend ? this.anchor : to);
    this.element.setAttribute("aria-activedescendant", this.tiles[to].id);
    if (!this.drag) this.tiles[to].scrollIntoView({ block: "nearest" });
    this.on.look(to);
  }

  select(anchor) {
    for (const slice of this.selection) this.tiles[slice].ariaSelected = "false";
    this.anchor = anchor;
    this.selected = between(anchor, this.cursor);
    for (const slice of this.selected) this.tiles[slice].ariaSelected = "true";
    this.element.classList.toggle("selecting", this.selected.length > 1);
  }

  /** The slices a key acts on: the selected range, or the one under the cursor, which {@link mark} puts where one looks. */
  get selection() {
    return (this.selected ?? []).filter((slice) => slice < this.tiles.length);
  }

  /** Mark the selection, or the slice that is looked at if it is another; without a state with what follows its own. */
  mark(state) {
    if (!this.tiles.length) return;
    if (!this.selection.includes(this.shown)) this.moveTo(this.shown);
    this.on.mark(this.selection, state === undefined ? NEXT.get(this.states[this.cursor]) : state);
  }

  /** Obey a key of the mosaic, Shift held or not; whether it was one. */
  key(pressed, shift) {
    const { cursor, columns } = this;
    const steps = { ArrowLeft: cursor - 1, ArrowRight: cursor + 1, ArrowUp: cursor - columns, ArrowDown: cursor + columns };
    const goals = { ...steps, Home: 0, End: this.tiles.length - 1 };
    const marks = { y: 1, x: 0, Delete: null, Backspace: null };
    if (pressed in goals) this.moveTo(goals[pressed], shift);
    else if (pressed === " ") this.mark();
    else if (pressed in marks) this.mark(marks[pressed]);
    else return false;
    return true;
  }
}

function tile(index, slices, columns) {
  const element = document.createElement("div");
  element.className = "tile";
  element.id = `slice-${index}`;
  element.dataset.slice = index;
  element.dataset.number = index + 1;
  element.setAttribute("role", "option");
  element.ariaSelected = "false";
  element.style.backgroundPosition = placeOf(index, slices, columns);
  element.append(document.createElement("b"), document.createElement("span"), document.createElement("u"));
  return element;
}

function sliceAt(event) {
  const element = event.target.closest(".tile");
  return element && Number(element.dataset.slice);
}
