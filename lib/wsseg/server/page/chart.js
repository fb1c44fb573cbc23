/** Curves of a training run, drawn as SVG: the loss and, on its own scale, the score. */

const WIDTH = 320;
const HEIGHT = 120;
const PAD = 6;

const CURVES = [["loss", "curve"], ["score", "scores"]];

/**
 * @param {HTMLElement} place replaced by the drawing
 * @param {{curve: [number, number][], scores: [number, number][], steps: number}} status
 */
export function drawCurves(place, status) {
  const last = Math.max(status.steps, 1, ...CURVES.flatMap(([, key]) => status[key].map(([step]) => step)));
  const drawn = CURVES.filter(([, key]) => status[key].length);
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words(status) });
  for (const y of [PAD, HEIGHT / 2, HEIGHT - PAD]) svg.append(element("line", { x1: 0, x2: WIDTH, y1: y, y2: y }));
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

function line(name, points, last) {
  const values = points.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (step) => (step / last) * (WIDTH - 2 * PAD) + PAD;
  const y = (value) => HEIGHT - PAD - (high > low ? (value - low) / (high - low) : 0.5) * (HEIGHT - 2 * PAD);
  const path = points.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const [step, value] = points.at(-1);
  return [
    element("polyline", { class: name, points: path }),
    element("circle", { class: name, cx: x(step), cy: y(value), r: 3 }),
  ];
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
