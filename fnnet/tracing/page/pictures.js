// Pictures of arrays. `picture(tensor, options)` is a figure: one array, its scale, and any entry by mouse, touch or keys.
// `thumbnail(canvas, tensor)` is a small picture of it.

// Where an entry lies in the array. `roles` say what each axis is on the picture: "y" and "x" within a tile, "r" and "c"
// the row and the column of the tile, "-" an axis of which one index is shown. An entry is at {r, c, y, x}.

function placesOf(tensor) {
  const count = { r: 1, c: 1, y: 1, x: 1 };
  const lengths = tensor.places.map((at) => (typeof at === "number" ? at : at.length));
  const strides = lengths.map((_, i) => lengths.slice(i + 1).reduce((a, b) => a * b, 1));
  const axes = [...tensor.roles].map((role, i) => ({ role, i })).filter(({ role }) => role !== "-");
  for (const { role, i } of axes) count[role] = lengths[i];
  const flat = (at) => axes.reduce((sum, { role, i }) => sum + at[role] * strides[i], 0);
  const index = (at) =>
    [...tensor.roles].map((role, i) => {
      const k = role === "-" ? 0 : at[role];
      return typeof tensor.places[i] === "number" ? k : tensor.places[i][k];
    });
  const find = (wanted) => {
    const at = { r: 0, c: 0, y: 0, x: 0 };
    for (const [i, role] of [...tensor.roles].entries()) {
      const k = typeof tensor.places[i] === "number" ? wanted[i] : tensor.places[i].indexOf(wanted[i]);
      if (!(k >= 0 && k < lengths[i])) return null;
      if (role !== "-") at[role] = k;
    }
    return at;
  };
  return { count, flat, index, find, empty: lengths.includes(0) };
}

function* each(count) {
  for (let r = 0; r < count.r; r++)
    for (let c = 0; c < count.c; c++)
      for (let y = 0; y < count.y; y++) for (let x = 0; x < count.x; x++) yield { r, c, y, x };
}

// Colours: zero is a grey that differs from the page; NaN is green, infinite is yellow.

const isDark = () => document.documentElement.dataset.theme === "dark";

function colour(value, most) {
  const zero = isDark() ? [44, 49, 58] : [236, 238, 242];
  if (Number.isNaN(value)) return [0, 170, 80];
  if (!Number.isFinite(value)) return [240, 200, 0];
  const end = value < 0 ? (isDark() ? [90, 160, 255] : [5, 80, 170]) : isDark() ? [255, 110, 80] : [180, 20, 30];
  const part = most > 0 ? Math.min(1, Math.abs(value) / most) ** 0.7 : 0;
  return zero.map((from, i) => Math.round(from + part * (end[i] - from)));
}
const css = (value, most) => `rgb(${colour(value, most).join()})`;

function mostOf(tensor) {
  const { low, high } = measuresOf(tensor);
  return Math.max(0, ...[low, high].filter((end) => typeof end === "number").map(Math.abs));
}

// Where an entry lies on the picture, in CSS pixels: tiles of cells, or bars. Edges are whole pixels of the screen, so
// that cells stay sharp. A geometry has width, height, the margins `left` and `below`, box(at) and nearest(px, py).

const WIDTH = 560; // of a picture, if its column has that much
const HEIGHT = 420;
const clamp = (value, least, most) => Math.max(least, Math.min(most, value));
const snap = (value) => Math.round(value * devicePixelRatio) / devicePixelRatio;
const boxOf = (left, top, right, bottom) => ({ left, top, width: right - left, height: bottom - top });

function geometryOf(tensor, places, width) {
  return tensor.draw === "bars" ? barsOf(tensor, places.count, width) : gridOf(places.count, cellsOf(tensor, places.count, width));
}

// How large a cell is, and how many tiles stand side by side in a line.
function cellsOf(tensor, count, width) {
  const gap = tensor.draw === "tokens" ? 2 : 4;
  const fitted = (w, h) => {
    const room = Math.max(1, Math.floor((width + gap) / (count.x * w + gap)));
    const lines = Math.max(1, Math.ceil(count.c / room));
    const columns = Math.max(1, Math.ceil(count.c / lines));
    const apart = lines > 1 && count.r > 1 ? 3 * gap : gap; // between the lines of one row of tiles and the next row's
    return { w, h, gap, lines, columns, apart, wide: columns * (count.x * w + gap) - gap, high: count.r * lines * (count.y * h + gap) };
  };
  if (tensor.draw === "tokens") return fitted(9 * Math.max(...[...valuesOf(tensor)].map((value) => String(value).length)) + 14, 26);
  const most = Math.max(count.x, count.y) <= 4 ? 24 : 20;
  if (count.r * count.c === 1) {
    const side = Math.min(most, width / count.x, HEIGHT / count.y);
    if (side >= 4) return fitted(Math.floor(side), Math.floor(side));
    // Too thin to see: up to 4 pixels along the side that has room. Below one pixel a picture scrolls.
    return fitted(clamp(width / count.x, 1, 4), clamp((1.5 * HEIGHT) / count.y, 1, 4));
  }
  const largest = (fits) => {
    for (let cell = most; cell > 1; cell--) if (fits(fitted(cell, cell))) return fitted(cell, cell);
    return fitted(1, 1);
  };
  const inside = (found) => found.wide <= width && found.high <= HEIGHT;
  const wrapped = largest(inside);
  const table = largest((found) => inside(found) && found.lines === 1);
  const chosen = 2 * table.w >= wrapped.w ? table : wrapped;
  return chosen.w > 1 ? chosen : fitted(clamp(Math.floor(width / count.x), 1, 2), 2);
}

function gridOf(count, { w, h, gap, apart, lines, columns, wide }) {
  const [tileWidth, tileHeight] = [count.x * w + gap, count.y * h + gap];
  const rowHeight = lines * tileHeight - gap + apart;
  const left = (c) => (c % columns) * tileWidth;
  const top = (r, c) => r * rowHeight + Math.floor(c / columns) * tileHeight;
  return {
    width: wide,
    height: count.r * rowHeight - apart,
    left: 0,
    below: 0,
    single: count.r * count.c === 1,
    box: ({ r, c, y, x }) =>
      boxOf(snap(left(c) + x * w), snap(top(r, c) + y * h), snap(left(c) + (x + 1) * w), snap(top(r, c) + (y + 1) * h)),
    nearest: (px, py) => {
      const r = clamp(Math.floor(py / rowHeight), 0, count.r - 1);
      const line = clamp(Math.floor((py - r * rowHeight) / tileHeight), 0, lines - 1);
      const c = Math.min(line * columns + clamp(Math.floor(px / tileWidth), 0, columns - 1), count.c - 1);
      const y = clamp(Math.floor((py - top(r, c)) / h), 0, count.y - 1);
      return { r, c, y, x: clamp(Math.floor((px - left(c)) / w), 0, count.x - 1) };
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
  const bar = clamp(Math.floor(room / count.x), narrowest, 28);
  const lines = Math.ceil(count.x / Math.floor(room / bar));
  const inLine = Math.ceil(count.x / lines);
  const [lineHeight, between] = high === low ? [20, 0] : lines === 1 ? [120, 0] : [56, 18];
  const top = (x) => Math.floor(x / inLine) * (lineHeight + between);
  const y = (value) => (high > low ? ((high - value) / (high - low)) * (lineHeight - 1) : lineHeight - 1);
  return {
    width: Math.min(count.x, inLine) * bar,
    height: lines * (lineHeight + between) - between,
    left,
    below: 16,
    bar,
    box: ({ x }) => boxOf((x % inLine) * bar, top(x), (x % inLine + 1) * bar, top(x) + lineHeight),
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
      return { first: i * inLine, top: i * (lineHeight + between), zero: y(0), bottom: lineHeight };
    }),
    ends,
    inLine,
  };
}

// Painting.

function paint(canvas, tensor, places, geometry) {
  const ratio = devicePixelRatio;
  canvas.width = Math.max(1, Math.round(geometry.width * ratio));
  canvas.height = Math.max(1, Math.round(geometry.height * ratio));
  canvas.style.width = `${geometry.width}px`;
  canvas.style.height = `${geometry.height}px`;
  if (places.empty) return;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  (geometry.reach ? paintBars : paintCells)(context, tensor, places, geometry);
}

function paintCells(context, tensor, places, geometry) {
  const values = valuesOf(tensor);
  const most = tensor.draw === "tokens" ? 0 : mostOf(tensor); // a token is a name, not a size
  for (const at of each(places.count)) {
    const { left, top, width, height } = geometry.box(at);
    context.fillStyle = css(Number(values[places.flat(at)]), most);
    context.fillRect(left, top, width, height);
  }
}

function paintBars(context, tensor, places, geometry) {
  const values = valuesOf(tensor);
  const thin = 1 / devicePixelRatio;
  const between = geometry.bar >= 4 ? 1 : 0;
  context.fillStyle = isDark() ? "#9aa3b2" : "#5b6270";
  for (const line of geometry.lines) context.fillRect(0, snap(line.top + line.zero), geometry.width, thin);
  for (const at of each(places.count)) {
    const value = Number(values[places.flat(at)]);
    if (value === 0) continue;
    const { left, top } = geometry.box(at);
    const [from, to] = geometry.reach(value).map((y) => snap(top + y));
    context.fillStyle = css(Math.sign(value) || value, 1); // full strength, which the height tells; NaN keeps its colour
    context.fillRect(left, from, geometry.bar - between, Math.max(thin, to - from));
  }
}

function thumbnail(canvas, tensor) {
  const [width, height] = [canvas.clientWidth || 84, canvas.clientHeight || 56];
  const ratio = devicePixelRatio;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const places = placesOf(tensor);
  const { count } = places;
  const values = valuesOf(tensor);
  const value = (at) => Number(values[places.flat(at)]);
  if (places.empty) return;
  if (tensor.draw === "number") {
    context.fillStyle = isDark() ? "#e8eaee" : "#16181d";
    context.font = "600 15px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(about(Number(values[0]), 3), width / 2, height / 2, width);
  } else if (tensor.draw === "bars") {
    const { low, high } = measuresOf(tensor);
    const [least, most] = [Math.min(0, low) || 0, Math.max(0, high) || 0];
    const y = (v) => (most > least ? ((most - clamp(v, least, most)) / (most - least)) * (height - 1) : height / 2);
    for (let x = 0; x < count.x; x++) {
      const v = value({ r: 0, c: 0, y: 0, x });
      const [left, right] = [snap((x * width) / count.x), snap(((x + 1) * width) / count.x)];
      context.fillStyle = css(Math.sign(v) || v, 1);
      const wide = right - left - (count.x <= 20 ? 1 : 0);
      context.fillRect(left, Math.min(y(v), y(0)), Math.max(1 / ratio, wide), Math.max(1, Math.abs(y(v) - y(0))));
    }
  } else {
    // The first tile, or the tokens in one row.
    const [rows, columns] = tensor.draw === "tokens" ? [count.r, count.c] : [count.y, count.x];
    const cell = Math.min(width / columns, height / rows, 14);
    const [w, h] = cell >= 1 ? [cell, cell] : [Math.min(14, width / columns), Math.min(14, height / rows)];
    const [left, top] = [(width - columns * w) / 2, (height - rows * h) / 2];
    const most = tensor.draw === "tokens" ? 0 : mostOf(tensor);
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++) {
        const at = tensor.draw === "tokens" ? { r: i, c: j, y: 0, x: 0 } : { r: 0, c: 0, y: i, x: j };
        const [x, y] = [snap(left + j * w), snap(top + i * h)];
        context.fillStyle = css(value(at), most);
        context.fillRect(x, y, snap(left + (j + 1) * w) - x, snap(top + (i + 1) * h) - y);
      }
  }
}

// What lies over a picture, as SVG: labels, marks of entries that have their chain, lit entries, the chosen one.

const SVG = make("div", { innerHTML: "<svg></svg>" }).firstChild.namespaceURI; // so that the page has no address in it

function shape(tag, attributes, text = "") {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

const outline = (boxes) =>
  boxes.map((box) => {
    const [w, h] = [Math.max(box.width, 5), Math.max(box.height, 5)]; // of a tiny cell too, one sees the outline
    return `M${box.left + (box.width - w) / 2} ${box.top + (box.height - h) / 2}h${w}v${h}h${-w}z`;
  }).join("");

function labelsOf(tensor, places, geometry) {
  const found = [];
  const label = (x, y, text, anchor) => found.push(shape("text", { x, y, "text-anchor": anchor }, text));
  if (tensor.draw === "tokens") {
    const values = valuesOf(tensor);
    for (const at of each(places.count)) {
      const { left, top, width, height } = geometry.box(at);
      label(left + width / 2, top + height / 2 + 4, String(values[places.flat(at)]), "middle");
    }
  }
  for (const line of geometry.lines || []) {
    const { ends } = geometry;
    if (ends.high !== "0") label(-6, line.top + 8, ends.high, "end");
    if (ends.low !== "0") label(-6, line.top + line.bottom, ends.low, "end");
    const far = (y) => Math.abs(y - line.zero) > 14;
    if ((ends.high === "0" || far(4)) && (ends.low === "0" || far(line.bottom - 4)))
      label(-6, line.top + clamp(line.zero + 4, 8, line.bottom), "0", "end");
    // The index below a bar, at most every 36 pixels.
    const every = Math.ceil((geometry.bar >= 18 ? 18 : 36) / geometry.bar);
    for (let k = 0; k < geometry.inLine && line.first + k < places.count.x; k += every) {
      const at = { r: 0, c: 0, y: 0, x: line.first + k };
      label((k + 0.5) * geometry.bar, line.top + line.bottom + 13, places.index(at).join(", "), "middle");
    }
  }
  return found;
}

function litShapes(lit, geometry) {
  const groups = new Map(); // entries of one sign and strength are one path
  for (const { at, weight } of lit) {
    const strength = weight === undefined ? 2 : Math.ceil(Math.min(1, Math.abs(weight)) * 3) || 1;
    const key = `${weight > 0 ? "adds" : weight < 0 ? "takes" : "plain"} ${strength}`;
    groups.set(key, [...(groups.get(key) || []), geometry.box(at)]);
  }
  return [...groups].flatMap(([key, boxes]) => {
    const [name, strength] = key.split(" ");
    const d = outline(boxes);
    const inner = 0.75 + 0.75 * Number(strength);
    return [
      shape("path", { d, class: "lit-edge", "stroke-width": inner + 2.5 }),
      shape("path", { d, class: `lit ${name}`, "stroke-width": inner }),
    ];
  });
}

function markShapes(places, geometry, marks) {
  const corners = marks.map((index) => places.find(index)).filter(Boolean).map((at) => {
    const { left, top, width, height } = geometry.box(at);
    const side = clamp(Math.min(width, height) / 3, 4, 8);
    return `M${left + width} ${top}h${-side}l${side} ${side}z`;
  });
  return [shape("path", { d: corners.join(""), class: "mark" })];
}

// The value under the pointer, beside it. One for the page; it never makes the page wider.

function showTip(text, px, py) {
  let tip = $("tip");
  if (!tip) document.body.append((tip = make("div", { id: "tip", ariaHidden: "true" })));
  tip.textContent = text;
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${clamp(px + 14, 4, document.documentElement.clientWidth - width - 4)}px`;
  tip.style.top = `${py + 18 + height > innerHeight ? py - height - 10 : py + 18}px`;
}
const hideTip = () => $("tip") && ($("tip").hidden = true);

// One array as a figure.

const DRAWN = { bars: "bar chart", tokens: "row of tokens", weights: "heat map of attention", time: "heat map over time" };
const MOVES = { ArrowLeft: ["x", "c", -1], ArrowRight: ["x", "c", 1], ArrowUp: ["y", "r", -1], ArrowDown: ["y", "r", 1] };
let figuresMade = 0;

function picture(tensor, { title = tensor.name, onChoose = () => {}, marks = [], width = WIDTH } = {}) {
  const places = placesOf(tensor);
  const isNumber = tensor.draw === "number";
  const face = isNumber ? make("button", { type: "button", className: "one-number" }) : make("canvas", { tabIndex: 0 });
  const over = shape("svg", { "aria-hidden": "true", class: "over" });
  const hatch = make("div", { className: "hatch", hidden: true }, make("span", {}, "not computed yet"));
  const plot = make("div", { className: "plot" }, face, over, hatch);
  const stage = make("div", { className: "stage" }, plot);
  const scale = make("div", { className: "scale", ariaHidden: "true" });
  const readout = make("output", { ariaLive: "polite" });
  const measures = make("p", { className: "measures note", id: `picture-${(figuresMade += 1)}` });
  const kind = make("span", { className: "note" }, `${sizes(tensor.shape)}, ${tensor.dtype}`);
  const caption = make("figcaption", {}, make("b", {}, title), kind);
  const numbers = numbersOf(tensor, places);
  const figure = make("figure", { className: `picture ${tensor.draw}` }, caption, stage, scale, readout, measures, numbers);
  let geometry = null;
  let drawnAt = 0;
  let at = { r: 0, c: 0, y: 0, x: 0 };
  let chosen = null;
  let lit = [];
  let isComputed = true;

  face.dataset.tensor = title;
  face.setAttribute("aria-describedby", measures.id);
  if (!isNumber) face.setAttribute("role", "application");
  if (!isNumber) face.setAttribute("aria-roledescription", DRAWN[tensor.draw] || "heat map");

  const valueAt = (place) => Number(valuesOf(tensor)[places.flat(place)]);
  const said = (place) => `${entryName(tensor.name, places.index(place))} = ${exact(valueAt(place), tensor.dtype)}`;

  function read(place) {
    readout.textContent = place ? said(place) : "";
    if (!place) return readout.removeAttribute("data-index");
    readout.dataset.index = JSON.stringify(places.index(place));
    readout.dataset.value = exact(valueAt(place), tensor.dtype);
  }

  function drawOver() {
    if (isNumber) return face.classList.toggle("is-lit", lit.length > 0);
    const cursor = chosen ? outline([geometry.box(chosen)]) : "";
    over.setAttribute("width", geometry.width);
    over.setAttribute("height", geometry.height);
    over.replaceChildren(
      ...labelsOf(tensor, places, geometry),
      ...markShapes(places, geometry, marks),
      ...litShapes(lit, geometry),
      shape("path", { d: cursor, class: "cursor-edge" }),
      shape("path", { d: cursor, class: "cursor" }),
    );
  }

  function drawText() {
    const found = measuresOf(tensor);
    const parts = [`rms ${about(found.rms)}`, `${percent(found.zeros)} zero`];
    if (found.nans) parts.push(`${found.nans} NaN`);
    if (found.infinities) parts.push(`${found.infinities} infinite`);
    if (tensor.said) parts.push(tensor.said);
    const range = make("span", { className: "unseen" }, `; from ${about(found.low)} to ${about(found.high)}`);
    measures.replaceChildren(parts.join("; "), range);
    face.setAttribute("aria-label", `${title}${isComputed ? "" : ", not computed yet"}`);
    if (isNumber) face.textContent = places.empty ? "none" : exact(valueAt(at), tensor.dtype);
    else if (tensor.draw === "bars") scale.textContent = found.low === 0 && found.high === 0 ? "every entry is 0" : "";
    else if (tensor.draw !== "tokens") drawScale(scale, found, mostOf(tensor));
  }

  function draw() {
    drawText();
    if (!isNumber) {
      const ideal = geometryOf(tensor, places, width);
      const wanted = Math.ceil(ideal.left + ideal.width);
      stage.style.width = `${wanted}px`;
      drawnAt = stage.clientWidth;
      geometry = drawnAt && drawnAt < wanted ? geometryOf(tensor, places, drawnAt) : ideal;
      stage.classList.toggle("scrolls", drawnAt > 0 && geometry.left + geometry.width > drawnAt);
      plot.style.margin = `0 0 ${geometry.below}px ${geometry.left}px`;
      plot.style.width = `${geometry.width}px`;
      face.classList.toggle("framed", Boolean(geometry.single));
      paint(face, tensor, places, geometry);
    }
    drawOver();
    numbers.fill();
    read(isComputed ? chosen : null);
  }

  function select(place) {
    if (!place || places.empty || !isComputed) return false;
    at = chosen = place;
    read(at);
    drawOver();
    return true;
  }

  function choose(place, event) {
    if (select(place)) onChoose(places.index(at), places.flat(at), event);
  }

  function under(event) {
    if (isNumber) return at;
    const box = face.getBoundingClientRect();
    return geometry.nearest(event.clientX - box.left, event.clientY - box.top);
  }

  function hover(event) {
    if (event.pointerType === "touch" || places.empty || !isComputed) return;
    const place = under(event);
    read(place);
    showTip(said(place), event.clientX, event.clientY);
  }

  function leave() {
    hideTip();
    read(isComputed ? chosen : null);
  }

  // The value of the entry that the keyboard is at, beside it.
  function tipAtEntry() {
    if (isNumber || places.empty || !isComputed || !face.matches(":focus-visible")) return;
    const [box, entry] = [face.getBoundingClientRect(), geometry.box(at)];
    showTip(said(at), box.left + entry.left + entry.width / 2, box.top + entry.top + entry.height - 12);
  }

  function move(inner, outer, by) {
    const { count } = places;
    const next = { ...at };
    if (chosen) next[inner] += by; // the first key only shows where one is
    if (next[inner] < 0 || next[inner] >= count[inner]) {
      next[outer] += by;
      next[inner] = by > 0 ? 0 : count[inner] - 1;
    }
    if (next[outer] >= 0 && next[outer] < count[outer]) select(next);
    tipAtEntry();
  }

  face.addEventListener("click", (event) => choose(under(event), event));
  face.addEventListener("pointermove", hover);
  face.addEventListener("pointerleave", leave);
  face.addEventListener("focus", tipAtEntry);
  face.addEventListener("blur", hideTip);
  face.addEventListener("keydown", (event) => {
    if (MOVES[event.key] && !isNumber) move(...MOVES[event.key]);
    else if (event.key === "Enter" || event.key === " ") choose(at, event);
    else if (event.key === "Escape") return hideTip();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  Object.assign(figure, {
    tensor,
    choose: (index) => choose(places.find(index)),
    select: (index) => select(places.find(index)),
    light: (entries) => {
      lit = entries.map(({ index, weight }) => ({ at: places.find(index), weight })).filter((one) => one.at);
      drawOver();
    },
    refresh: draw,
    notYet: (yes) => {
      isComputed = !yes;
      figure.classList.toggle("not-yet", yes);
      hatch.hidden = !yes;
      if (yes) [lit, chosen] = [[], null];
      draw();
    },
    // Where an entry lies in the picture, in CSS pixels from its corner; null where the page does not have it.
    boxOf: (index) => (places.find(index) && geometry ? geometry.box(places.find(index)) : null),
  });
  draw();
  // In a column that is too narrow, or becomes wider, the picture is laid out again.
  new ResizeObserver(() => stage.clientWidth && stage.clientWidth !== drawnAt && draw()).observe(stage);
  return figure;
}

// The window may have been zoomed: edges are then at other pixels of the screen.
addEventListener("resize", () => document.querySelectorAll("figure.picture").forEach((figure) => figure.refresh()));

// The colours from the lowest number to the highest, with a tick at zero.
function drawScale(node, { low, high }, most) {
  if (typeof low !== "number") return node.replaceChildren("no finite entry");
  if (low === high) return node.replaceChildren(`every entry is ${about(low)}`);
  const steps = Array.from({ length: 25 }, (_, i) => css(low + (i / 24) * (high - low), most));
  const bar = make("i");
  bar.style.background = `linear-gradient(to right, ${steps.join(", ")})`;
  if (low < 0 && high > 0) {
    const tick = make("i");
    tick.style.left = `${(-100 * low) / (high - low)}%`;
    bar.append(tick);
  }
  node.replaceChildren(make("span", {}, about(low)), bar, make("span", {}, about(high)));
}

// All numbers of an array that is not too large, as a table that is filled when it is opened.

const NUMBERS = 400;

function numbersOf(tensor, places) {
  const shown = make("details", { className: "numbers" });
  shown.hidden = places.empty || tensor.draw === "number" || valuesOf(tensor).length > NUMBERS;
  shown.fill = () => {
    if (!shown.open) return;
    const { count } = places;
    const body = make("tbody");
    for (let r = 0; r < count.r; r++)
      for (let c = 0; c < count.c; c++)
        for (let y = 0; y < count.y; y++) {
          const row = Array.from({ length: count.x }, (_, x) => ({ r, c, y, x }));
          const head = make("th", { scope: "row" }, `[${places.index(row[0]).join(", ")}]`);
          const cells = row.map((at) => make("td", {}, exact(Number(valuesOf(tensor)[places.flat(at)]), tensor.dtype)));
          body.append(make("tr", {}, head, ...cells));
        }
    const caption = make("caption", {}, "Each row begins at the index before it.");
    shown.replaceChildren(make("summary", {}, "Numbers"), make("div", { className: "scroll" }, make("table", {}, caption, body)));
  };
  shown.append(make("summary", {}, "Numbers"));
  shown.addEventListener("toggle", shown.fill);
  return shown;
}
