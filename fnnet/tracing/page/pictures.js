// A figure of one array: its picture, its scale, and any entry by mouse, touch or keyboard.

const DRAWN = { bars: "bar chart", tokens: "row of tokens", weights: "heat map of attention", time: "heat map over time" };
const AXES = { time: "time →", weights: "A row looks, a column is looked at." };
const MOVES = { ArrowLeft: ["x", "c", -1], ArrowRight: ["x", "c", 1], ArrowUp: ["y", "r", -1], ArrowDown: ["y", "r", 1] };
let picturesMade = 0;

/**
 * The figure, an element. Entries are given by their index in the whole array.
 *
 * choose(index) is a click: it selects the entry and calls onChoose(index, its place in the array's values, event).
 * select(index) does not call it; unselect() takes the choice away. light([{ index, weight }]) outlines entries, by a weight from -1 to 1. refresh() draws
 * again after the values or the theme have changed. notYet(true) hides all numbers. boxOf(index) is where an entry lies,
 * in CSS pixels from the picture's corner; null where the page does not have it.
 */
function picture(tensor, { title = tensor.name, onChoose = () => {}, marks = [], width = WIDTH } = {}) {
  const drawn = new Picture(tensor, title, onChoose, marks, width);
  const at = (index) => drawn.places.find(index);
  return Object.assign(drawn.figure, {
    tensor,
    choose: (index) => drawn.choose(at(index)),
    select: (index) => drawn.select(at(index)),
    unselect: () => drawn.unselect(),
    light: (entries) => drawn.light(entries.map(({ index, weight }) => ({ at: at(index), weight })).filter((one) => one.at)),
    refresh: () => drawn.draw(),
    notYet: (yes) => drawn.setComputed(!yes),
    boxOf: (index) => (at(index) && drawn.geometry ? drawn.geometry.box(at(index)) : null),
  });
}

class Picture {
  constructor(tensor, title, onChoose, marks, width) {
    Object.assign(this, { tensor, title, onChoose, marks, width });
    this.places = placesOf(tensor);
    this.isNumber = tensor.draw === "number";
    this.geometry = null;
    this.wanted = 0; // the width that the picture would like to have
    this.drawnAt = 0; // the width that it had
    this.at = { r: 0, c: 0, y: 0, x: 0 };
    this.chosen = null;
    this.lit = [];
    this.isComputed = true;
    this.build();
    this.listen();
    this.draw();
  }

  build() {
    const { tensor, title } = this;
    this.face = this.isNumber ? make("button", { type: "button", className: "one-number" }) : make("canvas", { tabIndex: 0 });
    this.over = svgShape("svg", { "aria-hidden": "true", class: "over" });
    this.hatch = make("div", { className: "hatch", hidden: true }, make("span", {}, "not computed yet"));
    this.plot = make("div", { className: "plot" }, this.face, this.over, this.hatch);
    this.stage = make("div", { className: "stage" }, this.plot);
    this.scale = make("div", { className: "scale", ariaHidden: "true" });
    this.readout = make("output", { ariaLive: "polite" });
    this.row = make("div"); // of attention, as bars
    this.measures = make("p", { className: "measures note", id: `picture-${(picturesMade += 1)}` });
    this.numbers = numbersOf(tensor, this.places);
    const notes = [`${sizes(tensor.shape)}, ${tensor.dtype}`, AXES[tensor.draw], tensor.note].filter(Boolean);
    const caption = make("figcaption", {}, make("b", {}, title), ...notes.map((note) => make("span", { className: "note" }, note)));
    const parts = [caption, this.stage, this.scale, this.readout, this.row, this.measures, this.numbers];
    this.figure = make("figure", { className: `picture ${tensor.draw}` }, ...parts);
    this.face.dataset.tensor = title;
    this.face.setAttribute("aria-describedby", this.measures.id);
    if (this.isNumber) return;
    this.face.setAttribute("role", "application"); // arrow keys are for the picture, not for the screen reader
    this.face.setAttribute("aria-roledescription", DRAWN[tensor.draw] || "heat map");
  }

  listen() {
    const { face, stage } = this;
    face.addEventListener("click", (event) => this.choose(this.under(event), event));
    face.addEventListener("pointermove", (event) => this.hover(event));
    face.addEventListener("pointerleave", hideTip);
    face.addEventListener("focus", () => this.showTipAtEntry());
    face.addEventListener("blur", hideTip);
    face.addEventListener("keydown", (event) => this.press(event));
    // In a column that is too narrow, or becomes wider, the picture is laid out again.
    new ResizeObserver(() => {
      const has = stage.clientWidth;
      if (has && Math.min(has, this.wanted) !== Math.min(this.drawnAt || this.wanted, this.wanted)) this.draw();
      else this.drawnAt = has;
    }).observe(stage);
  }

  // Drawing.

  draw() {
    this.drawWords();
    if (!this.isNumber) this.drawPicture();
    this.drawOver();
    this.drawRow();
    this.numbers.fill();
    this.read();
  }

  drawPicture() {
    const { tensor, places, stage, plot } = this;
    const ideal = geometryOf(tensor, places, this.width);
    this.wanted = Math.ceil(ideal.left + ideal.width);
    stage.style.width = `${this.wanted}px`;
    this.drawnAt = stage.clientWidth;
    const isNarrow = this.drawnAt > 0 && this.drawnAt < this.wanted;
    this.geometry = isNarrow ? geometryOf(tensor, places, this.drawnAt) : ideal;
    stage.classList.toggle("scrolls", isNarrow && this.geometry.left + this.geometry.width > this.drawnAt);
    plot.style.margin = `0 0 ${this.geometry.below}px ${this.geometry.left}px`;
    plot.style.width = `${this.geometry.width}px`;
    this.face.classList.toggle("framed", Boolean(this.geometry.single));
    paint(this.face, tensor, places, this.geometry);
  }

  drawOver() {
    const { tensor, places, geometry, over } = this;
    if (this.isNumber) return this.face.classList.toggle("is-lit", this.lit.length > 0);
    over.setAttribute("width", geometry.width);
    over.setAttribute("height", geometry.height);
    over.replaceChildren(
      ...labelsOf(tensor, places, geometry),
      readShape(tensor, places, geometry),
      ...markShapes(places, geometry, this.marks),
      ...litShapes(this.lit, geometry),
      ...cursorShapes(this.chosen, geometry),
    );
  }

  drawWords() {
    const { tensor, places, face, isNumber } = this;
    const found = measuresOf(tensor);
    const value = isNumber && !places.empty ? exact(this.valueAt(this.at), tensor.dtype) : "";
    if (isNumber) face.textContent = value || "none";
    face.setAttribute("aria-label", [this.title, this.isComputed ? value : "not computed yet"].filter(Boolean).join(": "));
    const range = isMeasured(tensor) ? `; from ${about(found.low)} to ${about(found.high)}` : ""; // which a scale shows
    this.measures.replaceChildren(measuresInWords(tensor, found), make("span", { className: "unseen" }, range));
    drawScale(this.scale, tensor, found);
  }

  // The chosen row of attention's weights as a bar chart.
  drawRow() {
    const { tensor, places, row } = this;
    if (tensor.draw !== "weights" || row.contains(document.activeElement)) return;
    row.replaceChildren(...(this.chosen ? [rowOf(tensor, places, this.chosen, (at, event) => this.choose(at, event))] : []));
  }

  // Entries.

  valueAt(at) {
    return Number(valuesOf(this.tensor)[this.places.flat(at)]);
  }

  said(at) {
    return `${entryName(this.tensor.name, this.places.index(at))} = ${exact(this.valueAt(at), this.tensor.dtype)}`;
  }

  read() {
    const { chosen, readout } = this;
    readout.textContent = chosen ? this.said(chosen) : "";
    readout.dataset.index = chosen ? JSON.stringify(this.places.index(chosen)) : "";
    readout.dataset.value = chosen ? exact(this.valueAt(chosen), this.tensor.dtype) : "";
  }

  select(at) {
    if (!at || this.places.empty || !this.isComputed) return false;
    this.at = this.chosen = at;
    this.read();
    this.drawOver();
    this.drawRow();
    return true;
  }

  choose(at, event) {
    if (this.select(at)) this.onChoose(this.places.index(at), this.places.flat(at), event);
  }

  unselect() {
    this.chosen = null;
    this.read();
    this.drawOver();
    this.drawRow();
  }

  light(lit) {
    if (!lit.length && !this.lit.length) return;
    this.lit = lit;
    this.drawOver();
  }

  setComputed(yes) {
    if (yes === this.isComputed) return;
    this.isComputed = yes;
    this.figure.classList.toggle("not-yet", !yes);
    this.hatch.hidden = yes;
    if (!yes) [this.lit, this.chosen] = [[], null];
    this.draw();
  }

  // Mouse, touch and keyboard.

  under(event) {
    if (this.isNumber) return this.at;
    const box = this.face.getBoundingClientRect();
    return this.geometry.nearest(event.clientX - box.left, event.clientY - box.top);
  }

  hover(event) {
    if (event.pointerType === "touch" || this.places.empty || !this.isComputed) return;
    showTip(this.said(this.under(event)), event.clientX, event.clientY);
  }

  // The value of the entry that the keyboard is at, below it.
  showTipAtEntry() {
    if (this.isNumber || this.places.empty || !this.isComputed || !this.face.matches(":focus-visible")) return;
    const [box, entry] = [this.face.getBoundingClientRect(), this.geometry.box(this.at)];
    showTip(this.said(this.at), box.left + entry.left + entry.width / 2, box.top + entry.top + entry.height - 12);
  }

  press(event) {
    if (MOVES[event.key] && !this.isNumber) this.move(...MOVES[event.key]);
    else if (event.key === "Enter") this.choose(this.at, event);
    else return event.key === "Escape" && hideTip();
    event.preventDefault();
    event.stopPropagation();
  }

  // One entry further, at the end of a tile into the next one.
  move(inner, outer, by) {
    const { count } = this.places;
    const next = { ...this.at };
    if (this.chosen) next[inner] += by; // the first key only shows where one is
    if (next[inner] < 0 || next[inner] >= count[inner]) {
      next[outer] += by;
      next[inner] = by > 0 ? 0 : count[inner] - 1;
    }
    if (next[outer] >= 0 && next[outer] < count[outer]) this.select(next);
    this.showTipAtEntry();
  }
}

// The window may have been zoomed: edges are then at other pixels of the screen.
addEventListener("resize", () => document.querySelectorAll("figure.picture").forEach((figure) => figure.refresh()));

const isMeasured = (tensor) => tensor.draw !== "tokens" && tensor.draw !== "number";

function measuresInWords(tensor, found) {
  const parts = [];
  if (isMeasured(tensor)) parts.push(`rms ${about(found.rms)}`);
  if (isMeasured(tensor) && found.zeros) parts.push(`${percent(found.zeros)} zero`);
  if (found.nans) parts.push(`${found.nans} NaN`);
  if (found.infinities) parts.push(`${found.infinities} infinite`);
  if (tensor.said) parts.push(tensor.said);
  if (tensor.read) parts.push(`▸\u00a0rows that are read: ${tensor.read.length}`);
  return parts.join("; ");
}

// The weights of one row of attention as bars.
function rowOf(tensor, places, at, choose) {
  const values = Array.from({ length: places.count.x }, (_, x) => Number(valuesOf(tensor)[places.flat({ ...at, x })]));
  const index = places.index(at);
  const last = tensor.places.length - 1;
  const axes = tensor.places.map((all, i) => (i === last ? all : [index[i]]));
  const own = { ...tensor, now: Float64Array.from(values), shape: [values.length], places: axes, roles: "-".repeat(last) + "x" };
  const title = `${entryName(tensor.name, index.slice(0, -1))}: what this row looks at`;
  const shown = { ...own, draw: "bars", said: "", note: "" };
  return picture(shown, { title, onChoose: (entry, _, event) => choose(places.find(entry), event) });
}

// The colours from the lowest number to the highest, with a tick at zero. Bars have an axis.
function drawScale(node, tensor, { low, high }) {
  if (!isMeasured(tensor)) return;
  if (typeof low !== "number") return node.replaceChildren("no finite entry");
  if (low === high && (low === 0 || tensor.draw !== "bars")) return node.replaceChildren(`every entry is ${about(low)}`);
  if (tensor.draw === "bars") return node.replaceChildren();
  const most = mostOf(tensor);
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
