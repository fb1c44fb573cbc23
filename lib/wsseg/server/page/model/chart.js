/** Curves of training: the loss, by a scale of its own, and the score, with numbers on both axes. */

const WIDTH = 320;
const HEIGHT = 140;
const EDGE = { left: 46, right: 42, top: 8, bottom: 18 };

const CURVES = [["loss", "curve"], ["score", "scores"]];

/**
 * @param {HTMLElement} place replaced by the drawing
 * @param {{curve: [number, number][], scores: [number, number][], steps: number}} status
 */
export function drawCurves(place, status) {
  const last = Math.max(status.steps, 1, ...CURVES.flatMap(([, key]) => status[key].map(([step]) => step)));
  const drawn = CURVES.filter(([, key]) => status[key].length);
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words(status) });
  const lines = [EDGE.top, (EDGE.top + HEIGHT - EDGE.bottom) / 2, HEIGHT - EDGE.bottom];
  for (const y of lines) svg.append(element("line", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y, y2: y }));
  const [begin, end] = [EDGE.left, WIDTH - EDGE.right];
  svg.append(number("0", begin, HEIGHT - 4, "middle"), number(`${last} steps`, end, HEIGHT - 4, "end"));
  const legend = document.createElement("p");
  for (const [name, key] of drawn) {
    svg.append(...line(name, status[key], last));
    const value = document.createElement("span");
    value.className = name;
    value.textContent = `${name} ${short(status[key].at(-1)[1])}`;
    legend.append(value);
  }
  place.replaceChildren(svg, legend);
  place.hidden = !drawn.length;
}

/** A curve with the numbers of its lowest and highest value: the loss at the left, the score at the right. */
function line(name, points, last) {
  const values = points.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [across, along] = [WIDTH - EDGE.left - EDGE.right, HEIGHT - EDGE.top - EDGE.bottom];
  const x = (step) => (step / last) * across + EDGE.left;
  const y = (value) => HEIGHT - EDGE.bottom - (high > low ? (value - low) / (high - low) : 0.5) * along;
  const path = points.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const [step, value] = points.at(-1);
  const [place, anchor] = name === "loss" ? [EDGE.left - 4, "end"] : [WIDTH - EDGE.right + 4, "start"];
  const ends = high > low ? [low, high] : [low];
  return [
    element("polyline", { class: name, points: path }),
    element("circle", { class: name, cx: x(step), cy: y(value), r: 3 }),
    ...ends.map((end) => number(short(end), place, y(end) + 4, anchor, name)),
  ];
}

function number(text, x, y, anchor, name = "") {
  const made = element("text", { x, y, "text-anchor": anchor, class: name });
  made.textContent = text;
  return made;
}

function words({ curve, scores }) {
  const ends = (name, points) => (points.length ? [`${name} from ${short(points[0][1])} to ${short(points.at(-1)[1])}`] : []);
  return [...ends("loss", curve), ...ends("score", scores)].join(", ");
}

function short(value) {
  return value.toPrecision(3);
}

function element(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
