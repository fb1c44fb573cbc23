/** Sentences for people. */

const NOTE_MS = 12_000;

/** Something went wrong: shown for a while, read out at once. */
export function note(sentence) {
  const line = document.createElement("p");
  line.textContent = sentence;
  document.getElementById("alerts").append(line);
  setTimeout(() => line.remove(), NOTE_MS);
}

/** Why there is nothing to label; it stays. */
export function sayEmpty(sentence) {
  const line = document.getElementById("empty");
  line.textContent = sentence;
  line.hidden = false;
}
