/** Writes on their way to the server: in order, one at a time, tried until they are answered. */

import { Refused, Replaced, store } from "../api.js";

const KEY = "wsseg.unsaved";
const WAITS_MS = [500, 1000, 2000, 4000, 8000];

export class Saving {
  /**
   * @param {(pending: number, failing: string|null) => void} shown called when the state changes
   * @param {(write: object) => void} saved called with each write that is stored, its revision set
   * @param {(write: object, sentence: string) => void} refused called with each write that cannot be stored
   * @param {(writes: object[], sentence: string) => void} replaced called with all writes of a scan that is gone
   */
  constructor(shown, saved, refused, replaced) {
    Object.assign(this, { shown, saved, refused, replaced });
    /** Writes of this page that are not yet stored; they outlive a reload. */
    this.pending = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    this.failing = null;
    this.running = false;
    this.wake = () => {};
    addEventListener("online", () => this.wake());
  }

  add(write) {
    this.pending.push(write);
    this.run();
  }

  /** Send what is pending, if that is not being done already. */
  async run() {
    this.changed();
    if (this.running) return;
    this.running = true;
    for (let attempt = 0; this.pending.length; ) {
      const done = await this.sendFirst();
      attempt = done ? 0 : attempt + 1;
      this.changed();
      if (!done) await this.pause(WAITS_MS[Math.min(attempt, WAITS_MS.length) - 1]);
    }
    this.running = false;
  }

  /** Whether the first pending write has been answered, with yes or no. */
  async sendFirst() {
    const [write] = this.pending;
    let refusal = null;
    try {
      write.revision = (await store(write)).revision;
    } catch (error) {
      if (!(error instanceof Refused)) {
        this.failing = error.message;
        return false;
      }
      refusal = error;
    }
    this.failing = null;
    if (refusal instanceof Replaced) this.abandon(write, refusal.message);
    else {
      this.pending.shift();
      if (refusal) this.drop(write, refusal.message);
      else this.accept(write);
    }
    return true;
  }

  /** None of what waits for the scan that was opened has a place any more. */
  abandon({ scan, content }, sentence) {
    const lost = this.pending.filter((write) => write.scan === scan && write.content === content);
    this.pending = this.pending.filter((write) => !lost.includes(write));
    this.replaced(lost, sentence);
  }

  accept(write) {
    for (const later of this.pending) if (later.of === write.id) later.revision = write.revision;
    this.saved(write);
  }

  /** Without the write there is nothing to undo either. */
  drop(write, sentence) {
    this.pending = this.pending.filter((later) => later.of !== write.id);
    this.refused(write, sentence);
  }

  pause(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  changed() {
    sessionStorage.setItem(KEY, JSON.stringify(this.pending));
    this.shown(this.pending.length, this.failing);
  }
}
