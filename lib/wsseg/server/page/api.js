/** The server's answers as JSON, and its two kinds of failure. */

/** The server understood and said no; the message is its sentence. */
export class Refused extends Error {}

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
  const sentence = typeof answer.detail === "string" ? answer.detail : `The server answered ${reply.status}.`;
  throw reply.status >= 500 ? new Unreachable(sentence) : new Refused(sentence);
}

const name = encodeURIComponent;
const scan = (id, rest = "") => `scans/${name(id)}${rest}`;

export const models = () => ask("models");
export const scans = (model) => ask(`scans?model=${name(model)}`);
export const scanOf = (id, model) => ask(scan(id, `?model=${name(model)}`));
export const spriteOf = (id, model) => `api/${scan(id, `/sprite?model=${name(model)}`)}`;
export const predict = (id, model) => ask(scan(id, `/prediction?model=${name(model)}`), "POST");
/** Each `request` has an address of its own: a browser shows a picture that it has again. */
export const overlayOf = (id, model, version, request) =>
  `api/${scan(id, `/overlay?model=${name(model)}&version=${name(version)}&request=${request}`)}`;

export const strategies = () => ask("strategies");
export const nextCase = (strategy, model) => ask("next", "POST", { strategy, model });

export const training = () => ask("train");
export const train = (model) => ask("train", "POST", { model });
export const cancelTraining = () => ask("train", "DELETE");
export const finishTraining = () => ask("train/finish", "POST");
export const versions = (model) => ask(`models/${name(model)}/versions`);
export const publish = (model, version) => ask(`models/${name(model)}/versions/${name(version)}/publish`, "POST");

/** Whether people log in here, and so may log out. */
export const hasLogout = () => ask("logout");

/** Store one write, see `Labels`. */
export function store(write) {
  const { annotator } = write;
  if (write.kind === "presence") {
    const { label, marks } = write;
    return ask(scan(write.scan, `/presence?model=${name(write.model)}`), "PUT", { label, marks, annotator }, PATIENCE_MS);
  }
  if (write.kind === "text") return ask(scan(write.scan, "/text"), "PUT", { text: write.text, annotator }, PATIENCE_MS);
  if (write.kind === "erase") {
    const { slice, model } = write;
    return ask(scan(write.scan, `/erase?model=${name(model)}`), "POST", { slice, annotator }, PATIENCE_MS);
  }
  return ask("undo", "POST", { revision: write.revision, annotator }, PATIENCE_MS);
}
