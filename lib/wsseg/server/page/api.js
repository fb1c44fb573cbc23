/** The server's answers as JSON, and its kinds of failure. */

/** The server understood and said no; the message is its sentence. */
export class Refused extends Error {}

/** It is about something else of that name by now, another scan than the one that was opened. */
export class Replaced extends Refused {}

/** No answer, or none that can be trusted: worth trying again. */
export class Unreachable extends Error {}

const PATIENCE_MS = 30_000;

/** Characters of a body: a browser refuses to keep requests of more than 64 KiB alive. */
const KEEPALIVE = 16_000;

/**
 * One request.
 * @param {string} path below /annotate/api/
 * @param {string} method
 * @param {object} [body] sent as JSON
 * @param {number} [patience] milliseconds until the answer counts as lost
 */
async function ask(path, method = "GET", body = undefined, patience = 0) {
  const request = { method, cache: "no-store", signal: patience ? AbortSignal.timeout(patience) : undefined };
  if (body !== undefined) {
    request.headers = { "content-type": "application/json" };
    request.body = JSON.stringify(body);
    request.keepalive = request.body.length < KEEPALIVE; // sent to its end even when the page is closed
  }
  let reply, answer;
  try {
    reply = await fetch(`api/${path}`, request);
    answer = await reply.json();
  } catch (error) {
    throw new Unreachable(`The server does not answer (${error.message}).`);
  }
  if (reply.ok) return answer;
  throw refusal(reply, answer);
}

/** What an answer that is none means. */
function refusal({ status }, { detail }) {
  const sentence = typeof detail === "string" ? detail : `The server answered ${status}.`;
  if (status >= 500) return new Unreachable(sentence);
  return status === 409 ? new Replaced(sentence) : new Refused(sentence);
}

const name = encodeURIComponent;
const scan = (id, rest = "") => `scans/${name(id)}${rest}`;

export const models = () => ask("models");
export const scans = (model) => ask(`scans?model=${name(model)}`);
export const scanOf = (id, model) => ask(scan(id, `?model=${name(model)}`));
export const spriteOf = (id, model) => `api/${scan(id, `/sprite?model=${name(model)}`)}`;
export const predict = ({ id, content }, model) => ask(scan(id, `/prediction?model=${name(model)}&content=${content}`), "POST");
/** Each `request` has an address of its own: a browser shows a picture that it has again. */
export const overlayOf = (id, model, version, request) =>
  `api/${scan(id, `/overlay?model=${name(model)}&version=${name(version)}&request=${request}`)}`;

export const layoutOf = (id, model) => ask(scan(id, `/layout?model=${name(model)}`));

/** What is drawn by now on a scan as it was opened; `drawings` is null where nobody wrote since. */
export const drawingsOf = ({ id, content, revision }, model) =>
  ask(scan(id, `/drawings?model=${name(model)}&content=${content}&since=${revision}`));

/** Slices as numbers, see `routes/annotate/planes.py`: an intensity is slope times a code plus intercept. */
export async function planesOf({ id, right, down, colour }, model, first, count, content) {
  const path = scan(id, `/planes?model=${name(model)}&first=${first}&count=${count}${content ? `&content=${content}` : ""}`);
  const [reply, bytes] = await fetched(path);
  const [slope, intercept] = ["x-slope", "x-intercept"].map((header) => Number(reply.headers.get(header)));
  const length = right.pixels * down.pixels * (colour ? 3 : 1);
  const Kind = colour ? Uint8Array : Uint16Array;
  const all = new Kind(bytes);
  return Array.from({ length: count }, (_, at) => ({ codes: all.subarray(at * length, (at + 1) * length), slope, intercept }));
}

/** The mask of a prediction: a class value for each pixel of all slices, in the order of {@link planesOf}. */
export async function maskOf(id, model, version, request) {
  const path = scan(id, `/mask?model=${name(model)}&version=${name(version)}&request=${request}`);
  return new Uint8Array((await fetched(path))[1]);
}

async function fetched(path) {
  let reply, bytes;
  try {
    reply = await fetch(`api/${path}`, { cache: "no-store" });
    if (reply.ok) bytes = await reply.arrayBuffer();
  } catch (error) {
    throw new Unreachable(`The server does not answer (${error.message}).`);
  }
  if (bytes) return [reply, bytes];
  const answer = await reply.json().catch(() => ({}));
  throw refusal(reply, answer);
}

export const strategies = () => ask("strategies");
export const nextCase = (strategy, model) => ask("next", "POST", { strategy, model });

export const training = () => ask("train");
export const train = (model) => ask("train", "POST", { model });
export const cancelTraining = () => ask("train", "DELETE");
export const finishTraining = () => ask("train/finish", "POST");
export const versions = (model) => ask(`models/${name(model)}/versions`);
export const publish = (model, version) => ask(`models/${name(model)}/versions/${name(version)}/publish`, "POST");

export const project = () => ask("project");

/** Whether people log in here, and so may log out. */
export const hasLogout = () => ask("logout");

/** Store one write, see `Labels`, of the scan that was opened and no other. */
export function store({ kind, annotator, content, model, ...write }) {
  const query = `?content=${content}${model ? `&model=${name(model)}` : ""}`;
  const send = (method, path, body) => ask(path + query, method, { ...body, annotator }, PATIENCE_MS);
  const of = (rest) => scan(write.scan, rest);
  const { label, marks, text, removed, slice, revision } = write;
  if (kind === "presence") return send("PUT", of("/presence"), { label, marks });
  if (kind === "text") return send("PUT", of("/text"), { text });
  if (kind === "erase") return send("POST", of("/erase"), { slice });
  if (kind === "undo") return send("POST", "undo", { revision });
  const drawings = write.drawings.map(({ id, tool, label, slice, points, radius_mm }) => ({ id, tool, label, slice, points, radius_mm }));
  return send("POST", of("/drawings"), { drawings, removed });
}
