/** The annotation page: what is on screen, and who tells whom. */

import * as api from "./api.js";
import { chips, css } from "./chips.js";
import { follow } from "./labels/follow.js";
import { listenToKeys } from "./keys.js";
import { Labels } from "./labels/labels.js";
import { Mosaic } from "./mosaic/mosaic.js";
import { NextCase } from "./model/nextcase.js";
import { note, sayEmpty } from "./notes.js";
import { decoded, Overlay } from "./model/overlay.js";
import { ANOTHER, listenForReplaced, tellReplaced } from "./labels/replaced.js";
import { Ruler } from "./mosaic/ruler.js";
import { Scans } from "./scans.js";
import { Desk } from "./slice/desk.js";
import { Training } from "./model/training.js";

const $ = (id) => document.getElementById(id);
const TEXT_PAUSE_MS = 800;

let models = [];
let model = null;
let label = null;
/** The newest request for a scan: answers to earlier ones are dropped. */
let opening = 0;

const labels = new Labels({ changed, drawn, saving: showSaving, saved, refused, replaced: tellReplaced, failed: note });
const mosaic = new Mosaic($("mosaic"), { mark: (slices, state) => labels.mark(label.name, slices, state), look });
const ruler = new Ruler($("ruler"), (slice) => mosaic.moveTo(slice));
const desk = new Desk({
  drawings: () => labels.drawings,
  color: (name) => css(model.labels.find((one) => one.name === name)?.color ?? [255, 255, 255]),
  mask: () => overlay.mask(),
  draw: (drawings) => labels.draw(drawings),
  scroll: (step) => mosaic.moveTo(mosaic.shown + step),
  go: (slice) => mosaic.moveTo(slice),
  failed: note,
  unread: (error) => labels.fail(error),
});
const scans = new Scans((id) => open(id));
const training = new Training({ ended: refreshModels, failed: note });
const nextCase = new NextCase({ model: () => model, open: (id, why, slices) => open(id, why, slices) });
const overlay = new Overlay($("overlay"), $("fits"), { shown: () => labels.scan && showLabels(), failed: (error) => labels.fail(error) });

/* What is on screen */

async function start() {
  $("annotator").value = localStorage.getItem("wsseg.annotator") ?? "";
  setSize(localStorage.getItem("wsseg.size") ?? $("size").value);
  rename();
  listen();
  labels.saving.run();
  follow(labels, () => model.name);
  api.project().then(({ name }) => (document.title = `${($("project").textContent = name)} · wsseg`), () => {});
  api.hasLogout().then((has) => ($("logout").hidden = !has), () => {}); // of no use without a server
  [models] = await Promise.all([api.models(), nextCase.open()]);
  $("model").replaceChildren(...models.map(({ name, version, trained }) => new Option(trained ? `${name} ${version}` : `${name} (untrained)`, name)));
  if (!models.length) return void sayEmpty("There is no model: `wsseg new` makes an untrained one.");
  await goTo(new URLSearchParams(location.hash.slice(1)));
}

/** What the address names, as far as it is there. */
async function goTo(address) {
  const known = models.find(({ name }) => name === address.get("model"));
  const wanted = [address.get("scan"), address.get("study")].filter(Boolean);
  await useModel(known ?? model ?? models.find((one) => one.trainable) ?? models[0], wanted);
}

/** Show a scan of one of these ids or studies, else the first one, for a model. */
async function useModel(chosen, wanted = [labels.scan?.id]) {
  keepText();
  labels.scan = null;
  model = chosen;
  $("model").value = model.name;
  label = model.labels[0];
  showClasses();
  desk.choose(model.marks_slices ? "look" : "stroke"); // what it is of use to draw
  training.open(model);
  scans.show(await api.scans(model.name));
  const able = scans.scans.filter(({ refusal }) => !refusal);
  const { id } = able.find((scan) => wanted.includes(scan.id) || wanted.includes(scan.study)) ?? able[0] ?? {};
  if (!scans.scans.length) sayEmpty("There is no scan: the folder that the server was started with holds none.");
  else if (id === undefined) sayEmpty(`No scan can be labelled for ${model.name}: ${scans.scans[0].refusal}.`);
  else await open(id);
}

/** Another version may be in use: what the model says is asked anew. */
async function refreshModels() {
  try {
    models = await api.models();
  } catch (error) {
    return note(error.message);
  }
  for (const option of $("model").options) {
    const { name, version, trained } = models.find((one) => one.name === option.value) ?? { name: option.value };
    option.textContent = trained ? `${name} ${version}` : `${name} (untrained)`;
  }
  model = models.find((one) => one.name === model.name) ?? model;
  label = model.labels.find(({ name }) => name === label?.name) ?? model.labels[0];
  overlay.open(labels.scan, model);
}

/** Show a scan, why, and which of its slices are asked for. */
async function open(id, why = "", asked = []) {
  keepText();
  const request = ++opening;
  const cursor = scans.current === id ? mosaic.cursor : 0;
  scans.choose(id);
  let scan;
  try {
    const layout = await api.layoutOf(id, model.name);
    if (request !== opening) return;
    labels.scan = null;
    desk.open(layout, model.name);
    [scan] = await Promise.all([api.scanOf(id, model.name), decoded(api.spriteOf(id, model.name))]);
  } catch (error) {
    if (request !== opening) return;
    note(`${id}: ${error.message}`);
    return scans.choose(labels.scan?.id);
  }
  if (request !== opening) return;
  $("empty").hidden = true;
  const picture = `url("${api.spriteOf(id, model.name)}")`;
  document.body.style.setProperty("--sprite", picture);
  desk.planes.fetchAhead(scan.content);
  ruler.open(scan);
  mosaic.open(scan);
  labels.open(scan, model.name);
  overlay.open(scan, model);
  mosaic.ask(asked);
  mosaic.moveTo(asked[0] ?? cursor);
  $("scan-name").textContent = scan.title;
  $("scan-name").title = id;
  const study = scans.scans.find((one) => one.id === id)?.study;
  $("ohif").hidden = !study;
  $("ohif").href = `/ohif/viewer?StudyInstanceUIDs=${encodeURIComponent(study)}`;
  $("text").value = scan.text;
  $("why").textContent = scan.replaced ? ANOTHER : why;
  $("why").hidden = !$("why").textContent;
  history.replaceState(null, "", `#${new URLSearchParams({ model: model.name, scan: id })}`);
}

function showClasses() {
  $("classes").replaceChildren(...chips(model.labels));
  chooseClass(0);
}

function chooseClass(index) {
  if (!model?.labels[index]) return;
  label = model.labels[index];
  [...$("classes").children].forEach((chip, place) => {
    chip.ariaChecked = String(place === index);
    chip.tabIndex = place === index ? 0 : -1;
  });
  document.body.style.setProperty("--label", css(label.color));
  desk.setLabel(label.name);
  showLabels();
}

/** All states of the class that is chosen. */
function showLabels() {
  if (!labels.scan) return;
  mosaic.show(labels.states(label.name), label.name);
  showOthers();
  mosaic.showProbabilities(overlay.probabilities(label.name));
  desk.redraw();
  summarize();
}

function showOthers() {
  const others = model.labels.filter((other) => other !== label);
  if (!others.length) return;
  const yes = (slice) => others.filter(({ name }) => labels.states(name)[slice] === 1).map(({ color }) => css(color));
  mosaic.showOthers(Array.from({ length: labels.scan.slices }, (_, slice) => yes(slice)));
}

/** Counts, buttons and the ruler, which follow from the states. */
function summarize() {
  const states = labels.states(label.name);
  const count = (state) => states.filter((one) => one === state).length;
  const [yes, no, unknown] = [1, 0, null].map(count);
  $("counts").textContent = `${yes} ✓   ${no} ✕   ${unknown} unknown`;
  $("counts").ariaLabel = `${label.name}: ${yes} show it, ${no} do not, ${unknown} unknown`;
  $("others").disabled = !unknown;
  $("undo").disabled = !labels.last;
  const known = (_, slice) => model.labels.some(({ name }) => labels.states(name)[slice] !== null);
  scans.count(labels.scan.id, states.filter(known).length);
  ruler.show(states, mosaic.probabilities, css(label.color));
  look(mosaic.shown);
}

function look(slice) {
  const { scan } = labels;
  if (!scan) return;
  ruler.look(slice);
  desk.look(slice);
  const state = labels.states(label.name)[slice];
  $("erase").hidden = !labels.scribbled(slice);
  $("slice-name").textContent = `Slice ${slice + 1} of ${scan.slices}`;
  const probability = mosaic.probabilities?.[slice];
  $("slice-probability").textContent = probability === undefined ? "" : `model: ${Math.round(100 * probability)} %`;
  for (const button of $("states").children) button.ariaPressed = String(button.dataset.state === String(state));
}

/* Labels */

function changed(name, slices) {
  // what is being typed keeps its last space
  if (name === null && $("text").value.trim() !== labels.scan.text) $("text").value = labels.scan.text;
  if (name === label.name) mosaic.show(labels.states(name), name, slices);
  else if (name !== null) showOthers();
  summarize();
}

/** What is drawn here or by others: on the slice on view, and in the list. */
function drawn() {
  desk.redraw();
  $("undo").disabled = !labels.last;
  $("erase").hidden = !labels.scribbled(mosaic.shown);
  const scan = scans.scans.find(({ id }) => id === labels.scan.id);
  if (scan && scan.drawings !== labels.drawings.length) {
    scan.drawings = labels.drawings.length;
    scans.draw();
  }
}

function markOthers() {
  const unknown = labels.states(label.name).flatMap((state, slice) => (state === null ? [slice] : []));
  labels.mark(label.name, unknown, 0);
}

/** On the slice that is looked at. */
function eraseScribbles() {
  labels.erase(mosaic.shown);
  $("mosaic").focus();
}

async function undo() {
  keepText();
  if (!labels.last || !labels.scan) return;
  if (labels.last.scan !== labels.scan.id) await open(labels.last.scan);
  if (labels.last?.scan === labels.scan?.id) labels.undo();
}

/** Store the sentence as it stands. */
function keepText() {
  clearTimeout(keepText.timer);
  if (labels.scan) labels.describe($("text").value.trim());
}

function showSaving(pending, failing) {
  const line = $("saved");
  line.dataset.state = failing ? "failing" : pending ? "saving" : "saved";
  const changes = `${pending} ${pending === 1 ? "change" : "changes"}`;
  line.textContent = failing ? `Not saved, trying again: ${changes}` : pending ? "Saving…" : "Saved";
  line.title = failing ?? "Every label is stored at once";
}

function saved(write) {
  if (write.text !== undefined && model.reads_text && write.scan === labels.scan?.id) overlay.open(labels.scan, model);
  if ((write.drawings || write.removed) && write.scan === labels.scan?.id) overlay.refresh();
  if (write.marks && write.scan === labels.scan?.id) overlay.refreshShown();
  const scan = scans.scans.find(({ id }) => id === write.scan);
  if (!scan || write.marks || write.drawings) return;
  if (write.text !== undefined) scan.text = Boolean(write.text);
  if (write.scribbled !== undefined) scan.scribbles = Object.values(write.scribbled).some((slices) => slices.length);
  scans.draw();
}

/** The server will not have it: show what holds instead. */
function refused(write, sentence) {
  note(`Not saved: ${sentence}`);
  if (labels.scan?.id === write.scan) {
    labels.scan.text = $("text").value.trim();
    open(write.scan);
  }
}

/* Hands */

function step(by) {
  const id = scans.beside(by);
  if (id !== undefined) open(id);
}

function turnClass(by) {
  chooseClass(model.labels.indexOf(label) + by);
  $("classes").querySelector("[aria-checked=true]").focus();
}

function listen() {
  const [previous, next, help] = [() => step(-1), () => step(1), () => $("help").showModal()];
  const [o, t] = [() => overlay.toggle(), () => $("text").focus()];
  const moves = { n: next, PageDown: next, p: previous, PageUp: previous };
  listenToKeys({
    actions: { ...moves, u: undo, o, a: markOthers, c: () => nextCase.go(), t, "?": help },
    slices: (pressed, shift) => mosaic.key(pressed, shift) || desk.key(pressed),
    turnTool: (step) => desk.turn(step),
    choose: chooseClass,
    turn: turnClass,
    leave: () => $("mosaic").focus(),
  });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address holds the scan
    $("mosaic").focus();
  });
  $("model").addEventListener("change", () => {
    useModel(models.find(({ name }) => name === $("model").value)).catch((error) => note(error.message));
  });
  $("classes").addEventListener("click", (event) => {
    const chip = event.target.closest("button");
    if (chip) chooseClass(model.labels.findIndex(({ name }) => name === chip.value));
  });
  listenForReplaced((id) => open(id));
  addEventListener("beforeunload", leave);
  addEventListener("hashchange", () => goTo(new URLSearchParams(location.hash.slice(1))).catch((error) => note(error.message)));
  $("annotator").addEventListener("input", rename);
  $("size").addEventListener("input", () => setSize($("size").value));
  $("text").addEventListener("input", () => {
    clearTimeout(keepText.timer);
    keepText.timer = setTimeout(keepText, TEXT_PAUSE_MS);
  });
  $("text").addEventListener("blur", keepText);
  $("states").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) mosaic.mark(JSON.parse(button.dataset.state));
  });
  const clicks = { previous, next, undo, others: markOthers, erase: eraseScribbles, "help-open": help };
  for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", action);
}

/** Send what is being typed, and ask whoever closes the page to wait for what is not stored. */
function leave(event) {
  keepText();
  if (labels.saving.pending.length) event.preventDefault();
}

function rename() {
  labels.annotator = $("annotator").value.trim();
  localStorage.setItem("wsseg.annotator", labels.annotator);
  $("annotator").classList.toggle("missing", !labels.annotator);
}

function setSize(pixels) {
  $("size").value = pixels;
  $("mosaic").style.setProperty("--size", `${pixels}px`);
  localStorage.setItem("wsseg.size", pixels);
}

start().catch((error) => sayEmpty(error.message));
