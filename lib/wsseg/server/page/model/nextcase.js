/** The scan to label next, and why. */

import * as api from "../api.js";
import { note } from "../notes.js";

const $ = (id) => document.getElementById(id);

export class NextCase {
  /**
   * @param {object} on
   * @param {() => object|null} on.model the one that scans are labelled for
   * @param {(id: string, why: string, slices: number[]) => Promise<void>} on.open with the slices worth labelling
   */
  constructor(on) {
    this.on = on;
    this.strategies = [];
    $("next-case").addEventListener("click", () => this.go());
    $("strategy").addEventListener("change", () => this.explain());
  }

  /** Ask which ways there are. */
  async open() {
    this.strategies = await api.strategies();
    $("strategy").replaceChildren(...this.strategies.map(({ name }) => new Option(name, name)));
    this.explain();
  }

  explain() {
    $("strategy-why").textContent = this.strategies.find(({ name }) => name === $("strategy").value)?.description ?? "";
  }

  async go() {
    const [button, model] = [$("next-case"), this.on.model()];
    if (button.disabled || !model) return;
    button.disabled = true;
    button.ariaBusy = "true";
    try {
      const { id, why, slices } = await api.nextCase($("strategy").value, model.name);
      if (id === null) note(`No next case: ${why}.`);
      else await this.on.open(id, `Why this case: ${why || `chosen by "${$("strategy").value}"`}`, slices);
    } catch (error) {
      note(error.message);
    }
    button.disabled = false;
    button.ariaBusy = "false";
    $("mosaic").focus();
  }
}
