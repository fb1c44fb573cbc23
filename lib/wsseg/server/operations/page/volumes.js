/** How many cases have how much of each class, as bars. */

const WIDTH = 420;
const HEIGHT = 110;
const FOOT = 16;

/**
 * @param {HTMLElement} place whose content is replaced
 * @param {{label: string, edges: number[], counts: number[], median: number}[]} histograms in millilitres
 */
export function drawVolumes(place, histograms) {
  place.replaceChildren(...histograms.map(drawn));
  if (!histograms.length) place.textContent = "Nothing was segmented yet.";
}

function drawn({ label, edges, counts, median }) {
  const figure = document.createElement("div");
  const title = document.createElement("h3");
  title.textContent = `${label}, median ${median.toPrecision(3)} ml`;
  const words = `${label}: ${counts.reduce((sum, count) => sum + count, 0)} cases, median ${median.toPrecision(3)} millilitres`;
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words });
  const most = Math.max(...counts, 1);
  const wide = WIDTH / counts.length;
  counts.forEach((count, index) => {
    const high = count ? Math.max(1, (count / most) * (HEIGHT - FOOT - 4)) : 0;
    svg.append(element("rect", { x: index * wide + 1, y: HEIGHT - FOOT - high, width: wide - 2, height: high }));
  });
  const x = (Math.min(median, edges.at(-1)) / edges.at(-1)) * WIDTH;
  svg.append(element("line", { x1: x, x2: x, y1: 0, y2: HEIGHT - FOOT }));
  for (const [text, place, anchor] of [["0", 0, "start"], [`${edges.at(-1).toPrecision(3)} ml`, WIDTH, "end"]]) {
    const note = element("text", { x: place, y: HEIGHT - 3, "text-anchor": anchor });
    note.textContent = text;
    svg.append(note);
  }
  figure.append(title, svg);
  return figure;
}

function element(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
