/** The labels of the scan on screen: changed at once, saved behind, undone step by step. */

import { Replaced } from "../api.js";
import { Saving } from "./saving.js";

/** What a click or Space makes of a state: 1 shows it, 0 does not, null unknown. */
export const NEXT = new Map([[null, 1], [1, 0], [0, null]]);

export class Labels {
  /**
   * @param {object} on
   * @param {(label: string|null, slices: number[]) => void} on.changed the scan's presence, or its text if label is null
   * @param {() => void} on.drawn the scan's drawings changed
   * @param {(pending: number, failing: string|null) => void} on.saving
   * @param {(write: object) => void} on.saved
   * @param {(write: object, sentence: string) => void} on.refused
   * @param {(scan: string, sentence: string, lost: object[]) => void} on.replaced another scan has that name now
   * @param {(sentence: string) => void} on.failed
   */
  constructor(on) {
    this.on = on;
    this.annotator = "";
    this.scan = null;
    this.model = null;
    const [refused, replaced] = [this.refuse, this.replace].map((method) => method.bind(this));
    this.saving = new Saving(on.saving, on.saved, refused, replaced);
    /** All writes since the page was opened: what undo goes back through. */
    this.log = [...this.saving.pending];
    this.undoable = [];
    this.serial = 0;
  }

  /**
   * Show a scan as the server read it, with what this page wrote since.
   * @param {object} scan the server's answer
   * @param {string} model
   */
  open(scan, model) {
    this.scan = scan;
    this.model = model;
    this.undoable = this.undoable.filter((write) => write.scan !== scan.id || write.content === scan.content);
    for (const write of this.log) {
      const newer = write.revision === null || write.revision > scan.revision || this.saving.pending.includes(write);
      if (this.isOfScan(write) && newer) this.apply(write);
    }
  }

  /** Whether a write is of the scan on screen, and not of an earlier one of its name. */
  isOfScan({ scan, content }) {
    return scan === this.scan.id && content === this.scan.content;
  }

  /** @returns {(1|0|null)[]} of one class, per slice */
  states(label) {
    return this.scan?.presence[label] ?? [];
  }

  /** Say of slices whether they show a class; those that are so already are left out. */
  mark(label, slices, state) {
    if (!this.scan) return;
    const states = this.states(label);
    const marks = slices.filter((slice) => states[slice] !== state).map((slice) => ({ slice, state }));
    if (!marks.length) return;
    const before = marks.map(({ slice }) => ({ slice, state: states[slice] }));
    this.write({ kind: "presence", model: this.model, label, marks, before });
  }

  describe(text) {
    if (text === this.scan.text) return;
    this.write({ kind: "text", text, before: this.scan.text });
  }

  /** Draw on slices of the scan, and take other drawings away, as one. */
  draw(drawings, removed = []) {
    if (!this.scan) return;
    const gone = new Set(removed);
    const before = { drawings: this.drawings.filter(({ id }) => gone.has(id)), removed: drawings.map(({ id }) => id) };
    this.write({ kind: "draw", model: this.model, drawings, removed, before });
  }

  /** All that is drawn on the scan, the oldest first. */
  get drawings() {
    return this.scan?.drawings ?? [];
  }

  /** Take over what the server has by now, with what is on its way there. */
  follow(drawings) {
    this.scan.drawings = drawings;
    for (const write of this.saving.pending) if (this.isOfScan(write)) this.apply(write);
    this.on.drawn();
  }

  /** Whether anything is drawn on a slice, here or in a viewer. */
  scribbled(slice) {
    if (this.drawings.some((one) => one.slice === slice)) return true;
    return Object.values(this.scan?.scribbled ?? {}).some((slices) => slices.includes(slice));
  }

  /** Take away all that is drawn on a slice. */
  erase(slice) {
    const { scribbled } = this.scan;
    const drawings = this.drawings.filter((one) => one.slice === slice);
    const before = { scribbled, drawings };
    const rest = Object.entries(scribbled).map(([name, slices]) => [name, slices.filter((other) => other !== slice)]);
    const removed = drawings.map(({ id }) => id);
    this.write({ kind: "erase", model: this.model, slice, scribbled: Object.fromEntries(rest), removed, before });
  }

  /** The write that undo would take back, if any. */
  get last() {
    return this.undoable.at(-1);
  }

  /** Take back the last write, which must be one of the scan on screen. */
  undo() {
    const { id, revision, kind, model, label, before } = this.undoable.pop();
    const drawn = { model, ...before };
    const back = { text: { text: before }, erase: drawn, draw: drawn, presence: { model, label, marks: before } };
    this.send({ kind: "undo", of: id, revision, ...back[kind] });
  }

  write(write) {
    this.undoable.push(this.send({ revision: null, ...write }));
  }

  send(given) {
    const id = `${Date.now()}.${this.serial++}`;
    const write = { id, scan: this.scan.id, content: this.scan.content, annotator: this.annotator || "anonymous", ...given };
    this.log.push(write);
    this.apply(write);
    this.saving.add(write);
    return write;
  }

  apply({ model, label, marks, text, scribbled, drawings, removed }) {
    if (text !== undefined) this.scan.text = text;
    if (scribbled !== undefined && model === this.model) this.scan.scribbled = scribbled;
    if (drawings || removed) {
      const gone = new Set(removed ?? []);
      const known = new Set(this.drawings.map(({ id }) => id));
      const kept = this.drawings.filter(({ id }) => !gone.has(id));
      this.scan.drawings = [...kept, ...(drawings ?? []).filter(({ id }) => !known.has(id))];
      this.on.drawn();
    }
    for (const { slice, state } of marks ?? []) if (this.scan.presence[label]) this.scan.presence[label][slice] = state;
    this.on.changed(label ?? null, (marks ?? []).map(({ slice }) => slice));
  }

  /** What was asked about the scan on screen was not answered; that another has its name is told by itself once. */
  fail(error) {
    if (!(error instanceof Replaced) || !this.scan) return this.on.failed(error.message);
    this.scan.gone = true;
    this.on.replaced(this.scan.id, error.message, []);
  }

  refuse(write, sentence) {
    const gone = (other) => other !== write && other.of !== write.id;
    this.log = this.log.filter(gone);
    this.undoable = this.undoable.filter(gone);
    this.on.refused(write, sentence);
  }

  /** What was given for a scan that is gone can neither be stored nor undone. */
  replace(lost, sentence) {
    const [{ scan, content }] = lost;
    const stays = (write) => write.scan !== scan || write.content !== content;
    this.log = this.log.filter(stays);
    this.undoable = this.undoable.filter(stays);
    this.on.replaced(scan, sentence, lost);
  }
}
