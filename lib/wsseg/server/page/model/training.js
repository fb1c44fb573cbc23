/** Train, finish and cancel, progress with curves, and the versions of the model. */

import * as api from "../api.js";
import { drawCurves } from "./chart.js";

const BUSY = new Set(["preparing", "training", "publishing"]);
const SOON_MS = 1000;
const LATER_MS = 10_000;

const $ = (id) => document.getElementById(id);

export class Training {
  /**
   * @param {object} on
   * @param {() => void} on.ended a training run ended, or another version is in use
   * @param {(sentence: string) => void} on.failed
   */
  constructor(on) {
    this.on = on;
    this.model = null;
    this.busy = false;
    /** Ends when the server has answered what was pressed: Cancel waits for the answer to Train. */
    this.answered = Promise.resolve();
    /** What was said of a version that has been rolled back since. */
    this.past = "";
    $("train").addEventListener("click", () => this.act($("train"), () => api.train(this.model.name)));
    $("finish").addEventListener("click", () => this.act($("finish"), api.finishTraining));
    $("cancel").addEventListener("click", () => this.act($("cancel"), api.cancelTraining));
    $("versions").addEventListener("click", (event) => this.roll(event.target.closest("button")?.value));
  }

  /** Show a model's versions; one that cannot be trained says so. */
  open(model) {
    this.model = model;
    this.refresh();
    return this.list();
  }

  async list() {
    const { name } = this.model;
    try {
      const versions = await api.versions(name);
      if (name === this.model.name) showVersions(versions);
    } catch (error) {
      this.on.failed(error.message);
    }
  }

  async roll(version) {
    if (!version) return;
    try {
      showVersions(await api.publish(this.model.name, version));
      this.past = this.message;
      $("versions").querySelector("button")?.focus();
      this.refresh();
      this.on.ended();
    } catch (error) {
      this.on.failed(error.message);
    }
  }

  act(button, request) {
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true";
    this.answered = this.answered.then(() => this.answer(request)).finally(() => {
      button.ariaBusy = "false";
    });
  }

  async answer(request) {
    try {
      this.show(await request());
    } catch (error) {
      this.on.failed(error.message);
    }
    this.refresh();
  }

  /** Ask for the state now, and again for as long as the page is open. */
  async refresh() {
    clearTimeout(this.timer);
    try {
      this.show(await api.training());
    } catch (error) {
      $("training-line").textContent = error.message;
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), this.busy ? SOON_MS : LATER_MS);
  }

  /** Scans that were held back, with the mask as it is by now: asked for anew with each score. */
  showHeldBack({ scores, part }) {
    const picture = $("held-back");
    const wanted = scores.length ? `api/train/held-back?of=${encodeURIComponent(part)}&step=${scores.at(-1)[0]}` : "";
    if (picture.dataset.wanted === wanted) return;
    picture.dataset.wanted = wanted;
    picture.hidden = true;
    if (!wanted) return;
    picture.onload = () => (picture.hidden = false);
    picture.alt = `Two scans that were held back, with the mask after ${scores.at(-1)[0]} steps`;
    picture.src = wanted;
  }

  show(status) {
    const busy = BUSY.has(status.phase);
    if (this.busy && !busy) {
      this.list();
      this.on.ended();
    }
    this.busy = busy;
    this.message = status.message;
    const [shown, hidden] = busy ? [$("cancel"), $("train")] : [$("train"), $("cancel")];
    const focused = document.activeElement === hidden;
    shown.hidden = false;
    hidden.hidden = true;
    if (focused) shown.focus();
    $("train").disabled = !this.model.trainable;
    $("finish").hidden = !(busy && status.publishable);
    $("training").dataset.state = status.phase;
    setText($("training-line"), lineOf(status, this.model, this.past));
    showProgress($("progress"), status);
    drawCurves($("curve"), status);
    if (busy) this.showHeldBack(status); // a run that has ended has none; what is shown stays
  }
}

function lineOf(status, model, past) {
  if (!BUSY.has(status.phase)) {
    if (status.message && status.message !== past) return `${status.model}: ${status.message}`;
    if (!model.trainable) return `${model.name} cannot be trained here.`;
    return "Learns from all labels that are stored, starting from the version in use.";
  }
  const several = status.parts.length > 1;
  const part = several ? `${status.part} (${status.parts.indexOf(status.part) + 1} of ${status.parts.length})` : status.part;
  const steps = status.steps ? `${status.step} of ${status.steps}` : "";
  const words = [status.phase, part, status.stage, steps, left(status.seconds_left)];
  return words.filter(Boolean).join(" · ");
}

function left(seconds) {
  if (seconds === null) return "";
  return seconds < 90 ? `${Math.ceil(seconds)} s left` : `${Math.round(seconds / 60)} min left`;
}

function showProgress(bar, { phase, step, steps }) {
  const share = steps ? Math.min(step / steps, 1) : 0;
  bar.hidden = !BUSY.has(phase);
  bar.classList.toggle("waiting", !steps);
  bar.ariaValueNow = Math.round(100 * share);
  bar.firstElementChild.style.transform = `scaleX(${share})`;
}

function showVersions(versions) {
  $("versions").replaceChildren(...versions.map(versionItem));
}

function versionItem(version) {
  const item = document.createElement("li");
  item.dataset.version = version.version;
  if (version.current) item.ariaCurrent = "true";
  const head = line("strong", version.version, version.shipped && "shipped", when(version.time));
  const scans = version.scans !== null && `${version.scans} scans`;
  const text = document.createElement("div");
  text.append(head, line("hint", version.message, scans, score(version)));
  item.append(text, version.current ? line("badge", "in use") : useButton(version.version));
  return item;
}

function score({ score: after, before }) {
  if (after === null) return "";
  return before === null ? `score ${after.toFixed(3)}` : `score ${before.toFixed(3)} → ${after.toFixed(3)}`;
}

function when(time) {
  return time && new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

function line(kind, ...words) {
  const element = document.createElement("p");
  element.className = kind;
  element.textContent = words.filter(Boolean).join(" · ");
  return element;
}

function useButton(version) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", value: version, textContent: "Use this", ariaLabel: `Use version ${version}` });
  return button;
}

/** A live region that is set anew is read out anew. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
