/** A scan that was replaced under its name while it was on screen: what was not saved, and the way to the new one. */

const $ = (id) => document.getElementById(id);

export const ANOTHER =
  "This is another scan than the one that was labelled under this name. Its labels are kept, and come back with it.";

const STATES = new Map([[1, "shows it"], [0, "does not"], [null, "unknown"]]);

/** @param {(id: string) => void} open shows the scan that has the name now */
export function listenForReplaced(open) {
  $("replaced").addEventListener("close", () => {
    $("replaced-lost").replaceChildren();
    if ($("replaced").returnValue === "open") open($("replaced").dataset.scan);
  });
}

/**
 * Tell it, until somebody has seen it.
 * @param {string} scan id
 * @param {string} sentence of the server
 * @param {object[]} lost writes that it did not take
 */
export function tellReplaced(scan, sentence, lost) {
  const dialog = $("replaced");
  dialog.dataset.scan = scan;
  dialog.returnValue = "";
  $("replaced-why").textContent = sentence;
  for (const write of lost) {
    const line = document.createElement("li");
    line.textContent = said(write);
    $("replaced-lost").append(line);
  }
  $("replaced-kept").hidden = !$("replaced-lost").children.length;
  if (!dialog.open) dialog.showModal();
}

/** A write, in words that are enough to give it again. */
function said({ kind, label, marks, text, drawings, removed, slice }) {
  if (kind === "undo") return "undo";
  if (marks) return marks.map((mark) => `${label}, slice ${mark.slice + 1}: ${STATES.get(mark.state)}`).join("; ");
  if (text !== undefined) return `sentence: ${text || "(none)"}`;
  if (kind === "erase") return `erase all on slice ${slice + 1}`;
  const drawn = drawings.map((one) => `${one.tool} of ${one.label} on slice ${one.slice + 1}`);
  return [...drawn, removed.length && `${removed.length} taken away`].filter(Boolean).join("; ");
}
