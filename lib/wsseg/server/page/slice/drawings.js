/** What is drawn on slices, as the server keeps it: painted, copied, filled in between. */

import { shown } from "./geometry.js";

export const BACKGROUND = "background";

/** A new drawing. */
export function drawing(tool, label, slice, points, radius = 0) {
  const rounded = points.map((point) => point.map((at) => Math.round(at * 100) / 100));
  return { id: newId(), tool, label, slice, points: rounded, radius_mm: radius };
}

/** `crypto.randomUUID` is there only on https and on this machine. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Paint one, with a pen that is set to the pixels of the picture.
 * @param {CanvasRenderingContext2D} pen
 * @param {object} one
 * @param {object} layout
 * @param {string} color of its class
 * @param {number} zoom screen pixels for each of the picture
 */
export function paint(pen, one, layout, color, zoom) {
  const points = one.points.map((point) => shown(layout, point).map((at) => at + 0.5));
  const { right } = layout;
  pen.strokeStyle = pen.fillStyle = color;
  pen.lineCap = pen.lineJoin = "round";
  pen.globalAlpha = one.tool === "brush" ? 0.45 : 1;
  if (one.tool === "point") return dot(pen, points[0], 5 / zoom);
  if (one.tool === "box") {
    pen.lineWidth = 2 / zoom;
    const [[x, y], [otherX, otherY]] = points;
    return pen.strokeRect(Math.min(x, otherX) - 0.5, Math.min(y, otherY) - 0.5, Math.abs(otherX - x) + 1, Math.abs(otherY - y) + 1);
  }
  pen.lineWidth = Math.max(1, (2 * one.radius_mm) / right.mm);
  pen.beginPath();
  pen.moveTo(...points[0]);
  for (const point of points.length > 1 ? points.slice(1) : points) pen.lineTo(...point);
  pen.stroke();
}

function dot(pen, [x, y], radius) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fill();
  pen.globalAlpha = 1;
  pen.strokeStyle = "#000";
  pen.lineWidth = radius / 4;
  pen.stroke();
}

/** The drawings of a class on a slice once more, on another slice. */
export function copied(drawings, label, from, to) {
  const chosen = drawings.filter((one) => one.slice === from && one.label === label);
  return chosen.map((one) => drawing(one.tool, label, to, one.points, one.radius_mm));
}

/** Boxes of a class on the slices between those that have some, each between the one before and the one after. */
export function between(drawings, label) {
  const boxes = drawings.filter((one) => one.tool === "box" && one.label === label);
  const slices = [...new Set(boxes.map(({ slice }) => slice))].sort((a, b) => a - b);
  const found = [];
  for (let at = 0; at + 1 < slices.length; at++) {
    const [first, last] = [slices[at], slices[at + 1]];
    const [before, after] = [first, last].map((slice) => sorted(boxes.filter((one) => one.slice === slice)));
    if (before.length !== after.length) continue;
    for (let slice = first + 1; slice < last; slice++) {
      const part = (slice - first) / (last - first);
      before.forEach((one, place) => found.push(drawing("box", label, slice, mixed(one, after[place], part))));
    }
  }
  return found;
}

/** Corners that are `part` of the way from one box to another. */
function mixed(one, other, part) {
  const [low, high] = [corners(one), corners(other)];
  return low.map((corner, end) => corner.map((at, axis) => at + part * (high[end][axis] - at)));
}

/** The lower and the upper corner. */
function corners({ points: [[a, b], [c, d]] }) {
  return [[Math.min(a, c), Math.min(b, d)], [Math.max(a, c), Math.max(b, d)]];
}

/** From one side to the other, so that boxes find their fellows on the next slice. */
function sorted(boxes) {
  const middle = (box) => box.points[0][0] + box.points[1][0];
  return boxes.sort((one, other) => middle(one) - middle(other));
}
