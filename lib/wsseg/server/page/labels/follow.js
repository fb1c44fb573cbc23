/** What others draw on the scan on screen, or that they replaced it, for as long as the page is open. */

import { drawingsOf, Replaced } from "../api.js";

const EVERY_MS = 4000;

/**
 * @param {import("./labels.js").Labels} labels
 * @param {() => string} model name of the one that scans are labelled for
 */
export async function follow(labels, model) {
  try {
    if (labels.scan && !labels.scan.gone && !document.hidden) await look(labels, model());
  } catch {
    // Asked again anyway; what cannot be saved is told elsewhere.
  }
  setTimeout(() => follow(labels, model), EVERY_MS);
}

/** What is on its way to the server would be missing in its answer, so that is waited for. */
async function look(labels, model) {
  const { scan, saving } = labels;
  if (saving.pending.length) return;
  const { revision, drawings } = await drawingsOf(scan, model).catch((error) => {
    if (!(error instanceof Replaced) || scan !== labels.scan) throw error;
    labels.fail(error);
    return scan;
  });
  if (scan !== labels.scan || saving.pending.length || revision <= scan.revision) return;
  scan.revision = revision;
  if (drawings) labels.follow(drawings);
}
