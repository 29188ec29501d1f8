// What lies over a picture, as SVG: labels, marks of entries that have their chain, lit entries, the chosen one.

const SVG = make("div", { innerHTML: "<svg></svg>" }).firstChild.namespaceURI; // so that the page has no address in it

function svgShape(tag, attributes, text = "") {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

const svgText = (x, y, anchor, text) => svgShape("text", { x, y, "text-anchor": anchor }, text);

const outlineOf = (boxes) =>
  boxes.map((box) => {
    const [w, h] = [Math.max(box.width, 9), Math.max(box.height, 9)]; // a tiny cell is seen within its outline
    return `M${box.left + (box.width - w) / 2} ${box.top + (box.height - h) / 2}h${w}v${h}h${-w}z`;
  }).join("");

function labelsOf(tensor, places, geometry) {
  if (tensor.draw === "tokens") return tokenLabels(tensor, places, geometry);
  const found = tensor.draw === "weights" ? headLabels(tensor, places, geometry) : [];
  for (const line of geometry.lines || []) // of bars
    found.push(...heightLabels(line, geometry.ends), ...indexLabels(line, tensor, places, geometry));
  if (geometry.isWritten) found.push(...(geometry.lines ? barNumbers : cellNumbers)(tensor, places, geometry));
  return found;
}

function tokenLabels(tensor, places, geometry) {
  return [...eachPlace(places.count)].map((at) => {
    const { left, top, width, height } = geometry.box(at);
    return svgText(left + width / 2, top + height / 2 + 4, "middle", String(valuesOf(tensor)[places.flat(at)]));
  });
}

function headLabels(tensor, places, geometry) {
  const tiles = [...eachPlace({ ...places.count, y: 1, x: 1 })];
  return tiles.map((tile) => {
    const { left, top } = geometry.box({ ...tile, y: places.count.y }); // below the last row
    return svgText(left, top + 12, "start", `head ${places.index(tile)[tensor.roles.indexOf("c")]}`);
  });
}

// The numbers at the ends of a line of bars, and 0 where it does not meet them.
function heightLabels(line, { low, high }) {
  const found = [];
  const label = (y, text) => found.push(svgText(-6, line.top + clamp(y + 4, 8, line.bottom), "end", text));
  if (high !== "0") label(line.high, high);
  if (low !== "0") label(line.low, low);
  const far = (y) => Math.abs(y - line.zero) > 14;
  if ((high === "0" || far(line.high)) && (low === "0" || far(line.low))) label(line.zero, "0");
  return found;
}

// The index below a bar: each, every second, fifth, tenth, ..., so that they do not meet.
function indexLabels(line, tensor, places, { bar, inLine }) {
  const every = [1, 2, 5, 10, 20, 50, 100, 200].find((step) => step * bar >= (step === 1 ? 18 : 32)) || 500;
  const last = Math.min(line.first + inLine, places.count.x);
  const found = [];
  for (let x = Math.ceil(line.first / every) * every; x < last; x += every) {
    const index = places.index({ r: 0, c: 0, y: 0, x })[tensor.roles.indexOf("x")];
    found.push(svgText((x - line.first + 0.5) * bar, line.top + line.bottom + 13, "middle", index));
  }
  return found;
}

function barNumbers(tensor, places, geometry) {
  return [...eachPlace(places.count)].map((at) => {
    const value = Number(valuesOf(tensor)[places.flat(at)]);
    const [{ left, top, width }, [from, to]] = [geometry.box(at), geometry.reach(value)];
    const text = svgText(left + width / 2, top + (value < 0 ? to + 11 : from - 4), "middle", about(value, 3));
    text.style.fill = "var(--ink)";
    return text;
  });
}

// Black on a bright colour, white on a dark one.
function cellNumbers(tensor, places, geometry) {
  const most = mostOf(tensor);
  return [...eachPlace(places.count)].map((at) => {
    const value = Number(valuesOf(tensor)[places.flat(at)]);
    const { left, top, width, height } = geometry.box(at);
    const text = svgText(left + width / 2, top + height / 2 + 4, "middle", about(value, 3));
    text.style.fill = luminance(colour(value, most)) > 0.18 ? "#000" : "#fff";
    return text;
  });
}

// Lit entries: orange where they add, cyan where they take away, stronger where they do so more; black around it, so that
// one sees it on any colour. Entries of one sign and strength are one path.
function litShapes(lit, geometry) {
  const groups = new Map();
  for (const { at, weight } of lit) {
    const strength = weight === undefined ? 2 : Math.ceil(Math.min(1, Math.abs(weight)) * 3) || 1;
    const key = `${weight > 0 ? "adds" : weight < 0 ? "takes" : "plain"} ${strength}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(geometry.box(at));
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
function readShape(tensor, places, geometry) {
  const found = (tensor.read || []).map((row) => places.find([row, ...tensor.shape.slice(1).map(() => 0)])).filter(Boolean);
  const arrows = found.map((at) => {
    const { top, height } = geometry.box(at);
    return `M-11 ${top + height / 2 - 4}l8 4l-8 4z`;
  });
  return svgShape("path", { d: arrows.join(""), class: "read" });
}

// Marked entries: a corner, or a thin ring around a tiny one.
function markShapes(places, geometry, marks) {
  const boxes = marks.map((index) => places.find(index)).filter(Boolean).map((at) => geometry.box(at));
  const isTiny = ({ width, height }) => Math.min(width, height) < 12;
  const corners = boxes.filter((box) => !isTiny(box)).map(({ left, top, width }) => `M${left + width} ${top}h-7l7 7z`);
  const rings = outlineOf(boxes.filter(isTiny));
  return [
    svgShape("path", { d: corners.join(""), class: "mark" }),
    svgShape("path", { d: rings, class: "ring-edge" }),
    svgShape("path", { d: rings, class: "ring" }),
  ];
}

function cursorShapes(at, geometry) {
  if (!at) return [];
  const d = outlineOf([geometry.box(at)]);
  return [svgShape("path", { d, class: "cursor-edge" }), svgShape("path", { d, class: "cursor" })];
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
addEventListener("scroll", hideTip, { capture: true, passive: true });
