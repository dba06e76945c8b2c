// The rates of the last minutes, five at most, as lines with a filled area beneath.

import { drawing } from "./element.js";
import { rate } from "./words.js";

const HEIGHT = 180;
const MARGIN = { left: 74, right: 8, top: 10, bottom: 24 };

export function draw(box, points, rates) {
  const width = Math.max(280, box.clientWidth);
  const top = scale(Math.max(...points.map((point) => Math.max(point.in, point.out)), 1000));
  const span = points[0]?.ago > 110 ? 300 : 120;
  const x = (ago) => width - MARGIN.right - (ago / span) * (width - MARGIN.left - MARGIN.right);
  const y = (value) => HEIGHT - MARGIN.bottom - (value / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const svg = drawing("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, "aria-hidden": "true" });
  svg.append(...grid(width, span, top, x, y));
  for (const way of ["in", "out"]) svg.append(...line(points, way, x, y));
  box.replaceChildren(svg);
  const most = Math.max(...points.map((point) => point.in), 0);
  box.setAttribute("aria-label", points.length === 0
    ? "No traffic measured yet"
    : `Last ${Math.ceil(points[0].ago / 60) || 1} minutes: receiving ${rate(rates.in)} now and ${rate(most)} at most, sending ${rate(rates.out)} now`);
}

// A small line for one session's row.
export function spark(values) {
  const top = Math.max(...values, 1);
  const points = values.map((value, i) => `${60 - 2 * (values.length - 1 - i)},${(15 - (14 * value) / top).toFixed(1)}`);
  return drawing("svg", { class: "spark", viewBox: "0 0 60 16", width: 60, height: 16, "aria-hidden": "true" },
    drawing("polyline", { points: points.join(" ") }));
}

function line(points, way, x, y) {
  if (points.length === 0) return [];
  const edge = points.map((point) => `${x(point.ago).toFixed(1)},${y(point[way]).toFixed(1)}`);
  const first = x(points[0].ago).toFixed(1);
  const area = [`${first},${y(0)}`, ...edge, `${x(0)},${y(0)}`];
  return [
    drawing("polygon", { class: `area ${way}`, points: area.join(" ") }),
    drawing("polyline", { class: `line ${way}`, points: edge.join(" ") }),
  ];
}

function grid(width, span, top, x, y) {
  const parts = [];
  for (const part of [0, 0.5, 1]) {
    const height = y(part * top);
    parts.push(drawing("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: height, y2: height }));
    parts.push(drawing("text", { x: MARGIN.left - 8, y: height + 4, "text-anchor": "end" }, rate(part * top)));
  }
  const step = (span === 120 ? 30 : 60) * (width < 500 ? 2 : 1);
  for (let ago = 0; ago < span; ago += step) {
    const text = ago === 0 ? "now" : ago % 60 === 0 ? `−${ago / 60} min` : `−${ago} s`;
    parts.push(drawing("text", { x: x(ago), y: HEIGHT - 6, "text-anchor": ago === 0 ? "end" : "middle" }, text));
  }
  return parts;
}

// The next of 1, 2, 5, 10, 20, ... that is not less.
function scale(most) {
  const ten = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * ten).find((top) => top >= most);
}
