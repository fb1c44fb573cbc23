/** What the model says of the scan on screen: its mask over the slices, its probability per slice. */

import * as api from "../api.js";

const SOON_MS = 300;

export class Overlay {
  /**
   * @param {HTMLElement} button that switches it
   * @param {HTMLOutputElement} fits says whether the scan is of the kind that the model was trained on
   * @param {object} on
   * @param {() => void} on.shown there is something else to be shown, or nothing any more
   * @param {(error: Error) => void} on.failed
   */
  constructor(button, fits, on) {
    Object.assign(this, { button, fits, on, wanted: false, scan: null, model: null, prediction: null, newest: 0 });
    /** Class values of all pixels of all slices, as the slice view has them. */
    this.values = null;
    button.addEventListener("click", () => this.toggle());
  }

  /** Another scan, as it was opened, version of the model or sentence: what was said no longer holds. */
  open(scan, model) {
    Object.assign(this, { scan, model, prediction: null, values: null });
    this.newest++;
    clearTimeout(this.soon);
    this.busy = false;
    this.show();
    if (this.wanted) this.ask();
  }

  toggle() {
    this.wanted = !this.wanted;
    this.button.ariaPressed = String(this.wanted);
    if (this.wanted && !this.prediction && !this.busy) this.ask();
    else this.show();
  }

  /** @returns {number[]|null} of a class per slice, where it is to be shown */
  probabilities(label) {
    return (this.wanted && this.prediction?.presence[label]) || null;
  }

  /** The mask on the slice view, where it is to be shown: {values, colors}. */
  mask() {
    if (!this.wanted || !this.values) return null;
    return { values: this.values, colors: this.colors };
  }

  /** Something was drawn: what the model makes of it is asked for, and shown in place of what it said. */
  refresh() {
    if (!this.model?.trained) return;
    this.wanted = true;
    this.button.ariaPressed = "true";
    this.ask();
  }

  /** Slices were marked: where the mask is shown it is asked for anew, of many clicks in a row once. */
  refreshShown() {
    clearTimeout(this.soon);
    if (this.wanted) this.soon = setTimeout(() => this.wanted && this.refresh(), SOON_MS);
  }

  async ask() {
    const { scan, model } = this;
    if (!scan) return;
    if (!model.trained) {
      this.on.failed(new Error(`${model.name} is not trained yet, so it has nothing to show: label some scans and press Train.`));
      return this.toggle();
    }
    const request = ++this.newest;
    this.busy = true;
    try {
      const found = await api.predict(scan, model.name);
      const values = await api.maskOf(scan.id, model.name, found.version, request);
      if (request !== this.newest) return;
      this.values = values;
      this.colors = tints(model.labels);
      this.on.shown();
      const url = api.overlayOf(scan.id, model.name, found.version, request);
      await decoded(url);
      if (request !== this.newest) return;
      document.body.style.setProperty("--overlay", `url("${url}")`);
      this.prediction = found;
    } catch (error) {
      if (request !== this.newest) return;
      this.on.failed(error);
    }
    this.busy = false;
    this.show();
  }

  set busy(busy) {
    this.button.ariaBusy = String(busy);
  }

  get busy() {
    return this.button.ariaBusy === "true";
  }

  show() {
    document.body.classList.toggle("overlaid", this.wanted && this.prediction !== null);
    const said = this.wanted ? this.prediction : null;
    this.fits.textContent = said ? told(said) : "";
    this.fits.title = said ? sentences(said).join("\n") : "";
    this.fits.classList.toggle("doubtful", said?.fits?.doubtful ?? false);
    this.on.shown();
  }
}

/** Opaque colours by class value, as a canvas keeps them. */
function tints(labels) {
  const found = new Uint32Array(256);
  labels.forEach(({ color: [red, green, blue] }, place) => (found[place + 1] = 0xff000000 | (blue << 16) | (green << 8) | red));
  return found;
}

/** In a line: whether the scan fits the model, how good the mask should be, and which slices to look at, from 1. */
function told({ fits, predicted_dice, look_at, negative, unmarked }) {
  const dice = Object.values(predicted_dice).map(({ value, at_least }) => value.toFixed(2) + (at_least === null ? "" : ` (≥ ${at_least.toFixed(2)})`));
  const parts = dice.length ? [`Dice ${dice.join(", ")}`] : [];
  if (fits) parts.unshift(`${fits.doubtful ? "does not fit" : "fits"} (p ${fits.p})`);
  if (negative) parts.push("segmented as its negative");
  for (const [label, slices] of Object.entries(unmarked)) parts.push(`no ${label} found on slices ${slices.map((slice) => slice + 1).join(", ")}, marked ✓`);
  if (look_at.length) parts.push(`look at slices ${look_at.map((slice) => slice + 1).join(", ")}`);
  return parts.join(" · ");
}

function sentences({ fits, predicted_dice }) {
  const dice = Object.entries(predicted_dice).map(([label, { sentence }]) => `${label}: ${sentence}`);
  return fits ? [fits.sentence, ...dice] : dice;
}

/** Wait for a picture, so that a scan never shows with another's slices. */
export async function decoded(url) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    throw new api.Unreachable("its picture cannot be shown.");
  }
}
