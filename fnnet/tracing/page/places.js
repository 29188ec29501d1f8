// Where the entries of an array lie: in the array, and on its picture.

// In the array. `roles` say what each axis is on the picture: "y" and "x" within a tile, "r" and "c" the row and the
// column of the tile, "-" an axis of which one index is shown. Several axes may have one role: the last counts fastest.
// An entry is at {r, c, y, x}.

function placesOf(tensor) {
  const count = { r: 1, c: 1, y: 1, x: 1, "-": 1 };
  const lengths = tensor.places.map((at) => (typeof at === "number" ? at : at.length));
  const axes = [...tensor.roles].map((role, i) => ({ role, i, stride: lengths.slice(i + 1).reduce((a, b) => a * b, 1), within: 1 }));
  for (const axis of [...axes].reverse()) {
    axis.within = count[axis.role]; // how far apart neighbours of this axis are, among those of its role
    count[axis.role] *= lengths[axis.i];
  }
  const along = ({ role, i, within }, at) => (role === "-" ? 0 : Math.floor(at[role] / within) % lengths[i]);
  const flat = (at) => axes.reduce((sum, axis) => sum + along(axis, at) * axis.stride, 0);
  const index = (at) =>
    axes.map((axis) => {
      const k = along(axis, at);
      return typeof tensor.places[axis.i] === "number" ? k : tensor.places[axis.i][k];
    });
  const find = (wanted) => {
    const at = { r: 0, c: 0, y: 0, x: 0, "-": 0 };
    for (const { role, i, within } of axes) {
      const k = typeof tensor.places[i] === "number" ? wanted[i] : tensor.places[i].indexOf(wanted[i]);
      if (!(k >= 0 && k < lengths[i])) return null;
      at[role] += k * within;
    }
    return at["-"] ? null : at;
  };
  return { count, flat, index, find, empty: lengths.includes(0) };
}

function* eachPlace(count) {
  for (let r = 0; r < count.r; r++)
    for (let c = 0; c < count.c; c++)
      for (let y = 0; y < count.y; y++) for (let x = 0; x < count.x; x++) yield { r, c, y, x };
}

// On the picture, in CSS pixels: tiles of cells, or bars. Edges are whole pixels of the screen, so
// that cells stay sharp. A geometry has width, height, the margins `left` and `below`, box(at) and nearest(px, py).

const WIDTH = 420; // of a picture, if its column has that much
const HEIGHT = 420;
const clamp = (value, least, most) => Math.max(least, Math.min(most, value));
const snap = (value) => Math.round(value * devicePixelRatio) / devicePixelRatio;
const rectangle = (left, top, right, bottom) => ({ left, top, width: right - left, height: bottom - top });

// A small array has its numbers on the picture.
const isWritten = (tensor) => tensor.draw !== "tokens" && valuesOf(tensor).length <= (tensor.draw === "bars" ? 10 : 16);
const longest = (tensor) => Math.max(...[...valuesOf(tensor)].map((value) => about(Number(value), 3).length));

function geometryOf(tensor, places, width) {
  if (tensor.draw === "bars") return barsOf(tensor, places.count, width);
  return gridOf(places.count, cellsOf(tensor, places, width), tensor.read ? 12 : 0);
}

// How large a cell is, and how many tiles stand side by side in a line.
function cellsOf(tensor, places, width) {
  const { count } = places;
  const gap = tensor.draw === "tokens" ? 2 : 4;
  const label = tensor.draw === "weights" ? 16 : 0; // below each head its number
  const fitted = (w, h) => {
    const room = Math.max(1, Math.floor((width + gap) / (count.x * w + gap)));
    const lines = Math.max(1, Math.ceil(count.c / room));
    const columns = Math.max(1, Math.ceil(count.c / lines));
    const apart = lines > 1 && count.r > 1 ? 3 * gap : gap; // between the lines of one row of tiles and the next row's
    const high = count.r * lines * (count.y * h + gap + label);
    return { w, h, gap, label, lines, columns, apart, wide: columns * (count.x * w + gap) - gap, high };
  };
  if (tensor.draw === "tokens") return fitted(9 * Math.max(...[...valuesOf(tensor)].map((value) => String(value).length)) + 14, 26);
  if (isWritten(tensor) && !places.empty) {
    const written = fitted(Math.max(26, 6.5 * longest(tensor) + 8), 26);
    if (written.wide <= width) return { ...written, isWritten: true };
  }
  const most = Math.max(count.x, count.y) <= 4 ? 24 : 20;
  if (count.r * count.c === 1) {
    const side = Math.min(most, width / count.x, HEIGHT / count.y);
    if (side >= 4) return fitted(Math.floor(side), Math.floor(side));
    const [w, h] = [Math.min(width / count.x, 4), Math.min((1.5 * HEIGHT) / count.y, 4)];
    if (Math.min(w, h) >= 2) return fitted(Math.min(w, h), Math.min(w, h));
    // Too thin to see: as much as there is room along the other side. Below one pixel a picture scrolls.
    return fitted(Math.max(w, 1), Math.max(h, 1));
  }
  const largest = (fits) => {
    for (let cell = most; cell > 1; cell--) if (fits(fitted(cell, cell))) return fitted(cell, cell);
    return fitted(1, 1);
  };
  const inside = (found) => found.wide <= width && found.high <= HEIGHT;
  const wrapped = largest(inside);
  const table = largest((found) => inside(found) && found.lines === 1);
  const chosen = (count.r > 1 ? 2 : 1.25) * table.w >= wrapped.w ? table : wrapped; // rows of tiles are better not broken
  return chosen.w > 1 ? chosen : fitted(clamp(Math.floor(width / count.x), 1, 2), 2);
}

// `left` is the room for the ticks at rows that are read.
function gridOf(count, { w, h, gap, label, apart, lines, columns, wide, isWritten }, left) {
  const [tileWidth, tileHeight] = [count.x * w + gap, count.y * h + gap + label];
  const rowHeight = lines * tileHeight - gap + apart;
  const start = (c) => (c % columns) * tileWidth;
  const top = (r, c) => r * rowHeight + Math.floor(c / columns) * tileHeight;
  return {
    width: wide,
    height: count.r * rowHeight - apart - label,
    left,
    below: label,
    single: count.r * count.c === 1,
    isWritten,
    box: ({ r, c, y, x }) =>
      rectangle(snap(start(c) + x * w), snap(top(r, c) + y * h), snap(start(c) + (x + 1) * w), snap(top(r, c) + (y + 1) * h)),
    nearest: (px, py) => {
      const r = clamp(Math.floor(py / rowHeight), 0, count.r - 1);
      const line = clamp(Math.floor((py - r * rowHeight) / tileHeight), 0, lines - 1);
      const c = Math.min(line * columns + clamp(Math.floor(px / tileWidth), 0, columns - 1), count.c - 1);
      const y = clamp(Math.floor((py - top(r, c)) / h), 0, count.y - 1);
      return { r, c, y, x: clamp(Math.floor((px - start(c)) / w), 0, count.x - 1) };
    },
  };
}

// Bars stand on the zero line, negative ones hang from it. A long vector is broken into lines with one scale.
function barsOf(tensor, count, width) {
  const measures = measuresOf(tensor);
  const [low, high] = typeof measures.low === "number" ? [Math.min(0, measures.low), Math.max(0, measures.high)] : [0, 0];
  const ends = { low: about(low, 3), high: about(high, 3) };
  const left = 10 + 7 * Math.max(ends.low.length, ends.high.length);
  const room = Math.max(60, width - left);
  const narrowest = count.x > 12 * room ? 1 : count.x > 4 * room ? 2 : 3;
  const fits = Math.floor(room / count.x); // in one line
  const written = isWritten(tensor) && high > low ? Math.max(28, Math.ceil(6.5 * longest(tensor)) + 4) : Infinity;
  const margins = written <= fits ? [high > 0 ? 14 : 0, low < 0 ? 14 : 0] : [0, 0]; // for the numbers at the bars' ends
  const bar = written <= fits ? written : fits >= 2 ? Math.min(fits, 28) : narrowest;
  const lines = Math.ceil(count.x / Math.floor(room / bar));
  const inLine = Math.ceil(count.x / lines);
  const [lineHeight, between] = high === low ? [20, 0] : lines === 1 ? [120 + margins[0] + margins[1], 0] : [56, 18];
  const top = (x) => Math.floor(x / inLine) * (lineHeight + between);
  const inner = lineHeight - margins[0] - margins[1] - 1;
  const y = (value) => (high > low ? margins[0] + ((high - value) / (high - low)) * inner : lineHeight - 1);
  return {
    width: Math.min(count.x, inLine) * bar,
    height: lines * (lineHeight + between) - between,
    left,
    below: 16,
    bar,
    box: ({ x }) => rectangle((x % inLine) * bar, top(x), (x % inLine + 1) * bar, top(x) + lineHeight),
    nearest: (px, py) => {
      const line = clamp(Math.floor(py / (lineHeight + between)), 0, lines - 1);
      return { r: 0, c: 0, y: 0, x: Math.min(line * inLine + clamp(Math.floor(px / bar), 0, inLine - 1), count.x - 1) };
    },
    // From where to where the bar of a value reaches, from the top of its line.
    reach: (value) => {
      if (Number.isNaN(value)) return [0, lineHeight];
      const end = Number.isFinite(value) ? y(value) : value > 0 ? 0 : lineHeight - 1;
      return [Math.min(end, y(0)), Math.max(end, y(0))];
    },
    lines: Array.from({ length: lines }, (_, i) => {
      return { first: i * inLine, top: i * (lineHeight + between), high: y(high), zero: y(0), low: y(low), bottom: lineHeight };
    }),
    ends,
    inLine,
    isWritten: written <= fits,
  };
}

