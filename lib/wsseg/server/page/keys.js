/** The keyboard: which key does what, and when it belongs to the control that has the focus. */

/**
 * @param {object} to
 * @param {Object<string, () => void>} to.actions by key
 * @param {(pressed: string, shift: boolean) => boolean} to.slices whether the mosaic or the slice on view obeyed
 * @param {(index: number) => void} to.choose a class
 * @param {(step: number) => void} to.turn to the class beside
 * @param {(step: number) => void} to.turnTool to the tool beside
 * @param {() => void} to.leave a field for the slices
 */
export function listenToKeys(to) {
  addEventListener("keydown", (event) => {
    if (event.target.closest("dialog")) return;
    if (event.target.closest("input, textarea, select")) {
      if (event.key === "Escape") to.leave();
    } else if (obey(event, to)) event.preventDefault();
  });
}

/** Whether the event was a key of ours. */
function obey(event, to) {
  const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key; // whatever Caps Lock says
  const control = event.ctrlKey || event.metaKey;
  if (control || event.altKey) return control && pressed === "z" && done(to.actions.u);
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[pressed];
  if (event.target.closest("#tools") && step) return done(() => to.turnTool(step));
  if (event.target.closest("[role=radio]") && step) return done(() => to.turn(step));
  if (/^[1-9]$/.test(pressed)) return done(() => to.choose(Number(pressed) - 1));
  if (to.actions[pressed]) return done(to.actions[pressed]);
  return forSlices(event) && to.slices(pressed, event.shiftKey);
}

/** The list of scans has arrow keys of its own, buttons a Space. */
function forSlices({ target, key }) {
  return !(target.closest("#scans") && key.startsWith("Arrow")) && !(target.closest("button") && key === " ");
}

function done(action) {
  action();
  return true;
}
