// A figure of one array: its picture, its scale, and any entry by mouse, touch or keyboard.

// What lies over a picture, as SVG: labels, marks of entries that have their chain, lit entries, the chosen one.

const SVG = make("div", { innerHTML: "<svg></svg>" }).firstChild.namespaceURI; // so that the page has no address in it

function svgShape(tag, attributes, text = "") {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

const outlineOf = (boxes) =>
  boxes.map((box) => {
    const [w, h] = [Math.max(box.width, 9), Math.max(box.height, 9)]; // a tiny cell is seen within its outline
    return `M${box.left + (box.width - w) / 2} ${box.top + (box.height - h) / 2}h${w}v${h}h${-w}z`;
  }).join("");

function labelsOf(tensor, places, geometry) {
  const found = [];
  const label = (x, y, text, anchor) => found.push(svgShape("text", { x, y, "text-anchor": anchor }, text));
  if (tensor.draw === "tokens") {
    const values = valuesOf(tensor);
    for (const at of eachPlace(places.count)) {
      const { left, top, width, height } = geometry.box(at);
      label(left + width / 2, top + height / 2 + 4, String(values[places.flat(at)]), "middle");
    }
  }
  if (tensor.draw === "weights") {
    for (let r = 0; r < places.count.r; r++)
      for (let c = 0; c < places.count.c; c++) {
        const { left, top } = geometry.box({ r, c, y: places.count.y, x: 0 }); // below the last row
        label(left, top + 12, `head ${places.index({ r, c, y: 0, x: 0 })[tensor.roles.indexOf("c")]}`, "start");
      }
  }
  for (const line of geometry.lines || []) {
    const { ends } = geometry;
    if (ends.high !== "0") label(-6, line.top + 8, ends.high, "end");
    if (ends.low !== "0") label(-6, line.top + line.bottom, ends.low, "end");
    const far = (y) => Math.abs(y - line.zero) > 14;
    if ((ends.high === "0" || far(4)) && (ends.low === "0" || far(line.bottom - 4)))
      label(-6, line.top + clamp(line.zero + 4, 8, line.bottom), "0", "end");
    // The index below a bar: each, every second, fifth, tenth, ..., so that they do not meet.
    const every = [1, 2, 5, 10, 20, 50, 100, 200].find((step) => step * geometry.bar >= (step === 1 ? 18 : 32)) || 500;
    const last = Math.min(line.first + geometry.inLine, places.count.x);
    for (let x = Math.ceil(line.first / every) * every; x < last; x += every) {
      const index = places.index({ r: 0, c: 0, y: 0, x })[tensor.roles.indexOf("x")];
      label((x - line.first + 0.5) * geometry.bar, line.top + line.bottom + 13, index, "middle");
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
    const d = outlineOf(boxes);
    const inner = 0.75 + 0.75 * Number(strength);
    return [
      svgShape("path", { d, class: "lit-edge", "stroke-width": inner + 2.5 }),
      svgShape("path", { d, class: `lit ${name}`, "stroke-width": inner }),
    ];
  });
}

// Small arrows at the rows of an embedding's table that the example reads.
function readShapes(tensor, places, geometry) {
  const arrows = (tensor.read || []).map((row) => places.find([row, ...tensor.shape.slice(1).map(() => 0)])).filter(Boolean);
  const d = arrows.map((at) => {
    const { top, height } = geometry.box(at);
    return `M-11 ${top + height / 2 - 4}l8 4l-8 4z`;
  });
  return [svgShape("path", { d: d.join(""), class: "read" })];
}

function markShapes(places, geometry, marks) {
  const corners = marks.map((index) => places.find(index)).filter(Boolean).map((at) => {
    const { left, top, width, height } = geometry.box(at);
    const side = clamp(Math.min(width, height) / 3, 4, 8);
    return `M${left + width} ${top}h${-side}l${side} ${side}z`;
  });
  return [svgShape("path", { d: corners.join(""), class: "mark" })];
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
const AXES = {
  time: "time →",
  weights: "A row looks, a column is looked at.",
};
const MOVES = { ArrowLeft: ["x", "c", -1], ArrowRight: ["x", "c", 1], ArrowUp: ["y", "r", -1], ArrowDown: ["y", "r", 1] };
let figuresMade = 0;

function picture(tensor, { title = tensor.name, onChoose = () => {}, marks = [], width = WIDTH } = {}) {
  const places = placesOf(tensor);
  const isNumber = tensor.draw === "number";
  const face = isNumber ? make("button", { type: "button", className: "one-number" }) : make("canvas", { tabIndex: 0 });
  const over = svgShape("svg", { "aria-hidden": "true", class: "over" });
  const hatch = make("div", { className: "hatch", hidden: true }, make("span", {}, "not computed yet"));
  const plot = make("div", { className: "plot" }, face, over, hatch);
  const stage = make("div", { className: "stage" }, plot);
  const scale = make("div", { className: "scale", ariaHidden: "true" });
  const readout = make("output", { ariaLive: "polite" });
  const measures = make("p", { className: "measures note", id: `picture-${(figuresMade += 1)}` });
  const kind = make("span", { className: "note" }, `${sizes(tensor.shape)}, ${tensor.dtype}`);
  const caption = make("figcaption", {}, make("b", {}, title), kind);
  for (const note of [AXES[tensor.draw], tensor.note]) if (note) caption.append(make("span", { className: "note" }, note));
  const numbers = numbersOf(tensor, places);
  const row = make("div");
  const figure = make("figure", { className: `picture ${tensor.draw}` }, caption, stage, scale, readout, row, measures, numbers);
  let geometry = null;
  let wanted = 0; // the width that the picture would like to have
  let drawnAt = 0; // the width that it had
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
    const cursor = chosen ? outlineOf([geometry.box(chosen)]) : "";
    over.setAttribute("width", geometry.width);
    over.setAttribute("height", geometry.height);
    over.replaceChildren(
      ...labelsOf(tensor, places, geometry),
      ...readShapes(tensor, places, geometry),
      ...markShapes(places, geometry, marks),
      ...litShapes(lit, geometry),
      svgShape("path", { d: cursor, class: "cursor-edge" }),
      svgShape("path", { d: cursor, class: "cursor" }),
    );
  }

  function drawText() {
    const found = measuresOf(tensor);
    const parts = tensor.draw === "tokens" ? [] : [`rms ${about(found.rms)}`];
    if (found.zeros && tensor.draw !== "tokens") parts.push(`${percent(found.zeros)} zero`);
    if (found.nans) parts.push(`${found.nans} NaN`);
    if (found.infinities) parts.push(`${found.infinities} infinite`);
    if (tensor.said) parts.push(tensor.said);
    if (tensor.read) parts.push(`▸ rows that are read: ${tensor.read.length}`);
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
      wanted = Math.ceil(ideal.left + ideal.width);
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
    if (tensor.draw === "weights" && !row.contains(document.activeElement)) row.replaceChildren(rowOf(tensor, places, at, choose));
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
    showTip(said(under(event)), event.clientX, event.clientY);
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
  face.addEventListener("pointerleave", hideTip);
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
      if (yes !== isComputed) return;
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
  new ResizeObserver(() => {
    const has = stage.clientWidth;
    if (Math.min(has, wanted) !== Math.min(drawnAt || wanted, wanted) && has) draw();
    else drawnAt = has;
  }).observe(stage);
  return figure;
}

// The window may have been zoomed: edges are then at other pixels of the screen.
addEventListener("resize", () => document.querySelectorAll("figure.picture").forEach((figure) => figure.refresh()));

// The weights of one row of attention as bars.
function rowOf(tensor, places, at, choose) {
  const values = Array.from({ length: places.count.x }, (_, x) => Number(valuesOf(tensor)[places.flat({ ...at, x })]));
  const index = places.index(at);
  const last = tensor.places.length - 1;
  const axes = tensor.places.map((all, i) => (i === last ? all : [index[i]]));
  const own = { ...tensor, now: Float64Array.from(values), shape: [values.length], places: axes, roles: "-".repeat(last) + "x" };
  const title = `${entryName(tensor.name, index.slice(0, -1))}: what this row looks at`;
  const shown = { ...own, draw: "bars", said: "", note: "" };
  return picture(shown, { title, onChoose: (index, _, event) => choose(places.find(index), event) });
}

// The colours from the lowest number to the highest, with a tick at zero.
function drawScale(node, { low, high }, most) {
  if (typeof low !== "number") return node.replaceChildren("no finite entry");
  if (low === high) return node.replaceChildren(`every entry is ${about(low)}`);
  const steps = Array.from({ length: 25 }, (_, i) => colourText(low + (i / 24) * (high - low), most));
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
