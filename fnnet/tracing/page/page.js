"use strict";
// The page of one trace. `data` is what fnnet/tracing/page/webpage.py wrote; nothing else is read.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// Arrays, decoded when they are first asked for.

const TYPES = { f64: Float64Array, f32: Float32Array, i32: Int32Array, i16: Int16Array, i8: Int8Array, u8: Uint8Array };
const decoded = new Map();

function arrayOf(tensor) {
  if (!decoded.has(tensor.array)) {
    const { kind, base64 } = data.arrays[tensor.array];
    const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
    decoded.set(tensor.array, new TYPES[kind](bytes.buffer));
  }
  return decoded.get(tensor.array);
}

// Numbers as words: the shortest decimal that is the same number in its dtype; measures with four digits.

function exact(value, dtype) {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "infinite" : "-infinite";
  if (dtype === "float64" || Number.isInteger(value)) return String(value);
  for (let digits = 1; digits <= 9; digits++) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) return String(Number(text));
  }
  return String(value);
}
const about = (value) => (typeof value !== "number" ? String(value) : value === 0 ? "0" : String(Number(value.toPrecision(4))));
const percent = (share) => `${Number((100 * share).toPrecision(3))} %`;
const sizes = (shape) => (shape.length ? shape.join(" × ") : "one number");

// Where an entry lies: an array is tiles in rows and columns, each of y by x entries.

function layoutOf(tensor) {
  const count = { r: 1, c: 1, y: 1, x: 1 };
  const axis = {};
  const lengths = tensor.places.map((at) => (typeof at === "number" ? at : at.length));
  [...tensor.roles].forEach((role, i) => {
    if (role in count) {
      count[role] = lengths[i];
      axis[role] = i;
    }
  });
  const strides = lengths.map((_, i) => lengths.slice(i + 1).reduce((a, b) => a * b, 1));
  const gap = count.r * count.c > 1 ? 1 : 0;
  // A row of many tiles is broken into lines, unless the rows are as many: then it is a table of tiles.
  const wraps = count.c > 4 * count.r;
  const columns = wraps ? Math.ceil(Math.sqrt((1.6 * count.r * count.c * count.y) / count.x)) : count.c;
  const lines = Math.ceil(count.c / columns);
  const width = Math.min(columns, count.c) * (count.x + gap) - gap;
  const height = count.r * lines * (count.y + gap) - gap;
  const left = (at) => (at.c % columns) * (count.x + gap) + at.x;
  const top = (at) => (at.r * lines + Math.floor(at.c / columns)) * (count.y + gap) + at.y;
  const flat = (at) => Object.entries(axis).reduce((sum, [role, i]) => sum + at[role] * strides[i], 0);
  const whole = (at) =>
    [...tensor.roles].map((role, i) => {
      const k = role in count ? at[role] : 0;
      return typeof tensor.places[i] === "number" ? k : tensor.places[i][k];
    });
  const find = (index) => {
    const at = { r: 0, c: 0, y: 0, x: 0 };
    for (const [role, i] of Object.entries(axis)) {
      at[role] = typeof tensor.places[i] === "number" ? index[i] : tensor.places[i].indexOf(index[i]);
      if (at[role] < 0) return null;
    }
    return at;
  };
  const pixel = (px, py) => {
    const line = Math.floor(py / (count.y + gap));
    const r = Math.floor(line / lines);
    const c = (line % lines) * columns + Math.floor(px / (count.x + gap));
    const within = (at, size) => Math.min(at % (size + gap), size - 1); // the gap belongs to the tile before it
    return c < count.c && r < count.r ? { r, c, x: within(px, count.x), y: within(py, count.y) } : null;
  };
  return { count, width, height, left, top, flat, whole, find, pixel };
}

// Heat maps with zero in the middle.

const isDark = () => document.documentElement.dataset.theme === "dark";

function colour(value, most) {
  const zero = isDark() ? [30, 33, 39] : [247, 247, 247];
  if (Number.isNaN(value)) return [0, 170, 80];
  if (!Number.isFinite(value)) return [240, 200, 0];
  const end = value < 0 ? (isDark() ? [90, 160, 255] : [5, 80, 170]) : isDark() ? [255, 110, 80] : [180, 20, 30];
  const part = most > 0 ? Math.min(1, Math.abs(value) / most) ** 0.7 : 0;
  return zero.map((from, i) => Math.round(from + part * (end[i] - from)));
}

function mostOf(tensor) {
  const ends = [tensor.low, tensor.high].filter((end) => typeof end === "number").map(Math.abs);
  return ends.length ? Math.max(...ends) : 0;
}

function paint(canvas, tensor, onlyFirst = false) {
  const layout = layoutOf(tensor);
  const values = arrayOf(tensor);
  const tiles = onlyFirst ? { r: 1, c: 1 } : layout.count;
  const width = onlyFirst ? layout.count.x : layout.width;
  const height = onlyFirst ? layout.count.y : layout.height;
  canvas.width = Math.max(1, width);
  canvas.height = Math.max(1, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const most = mostOf(tensor);
  for (let r = 0; r < tiles.r; r++)
    for (let c = 0; c < tiles.c; c++)
      for (let y = 0; y < layout.count.y; y++)
        for (let x = 0; x < layout.count.x; x++) {
          const [red, green, blue] = colour(Number(values[layout.flat({ r, c, y, x })]), most);
          const place = 4 * (layout.top({ r, c, y, x }) * canvas.width + layout.left({ r, c, y, x }));
          image.data.set([red, green, blue, 255], place);
        }
  context.putImageData(image, 0, 0);
  return layout;
}

// One array: its picture, its measures, and any entry of it by mouse or keyboard.

function described(tensor) {
  const parts = [`${sizes(tensor.shape)}, ${tensor.dtype}`, `rms ${about(tensor.rms)}`, `from ${about(tensor.low)} to ${about(tensor.high)}`];
  parts.push(`${percent(tensor.zeros)} zero`);
  if (tensor.nans) parts.push(`${tensor.nans} NaN`);
  if (tensor.infinities) parts.push(`${tensor.infinities} infinite`);
  return parts.join("; ");
}

function figure(tensor, title, onChoose = () => {}) {
  const canvas = make("canvas", { tabIndex: 0, role: "img" });
  const readout = make("output", { ariaLive: "polite" });
  canvas.setAttribute("aria-label", `${title}: heat map, ${described(tensor)}. Arrow keys choose an entry.`);
  canvas.dataset.tensor = title;
  const layout = paint(canvas, tensor);
  const scale = Math.max(1, Math.min(24, Math.floor(Math.min(520 / layout.width, 360 / layout.height))));
  canvas.style.width = `${layout.width * scale}px`;
  let at = { r: 0, c: 0, y: 0, x: 0 };
  const choose = (chosen) => {
    at = chosen;
    const value = Number(arrayOf(tensor)[layout.flat(at)]);
    const index = layout.whole(at);
    const text = `${tensor.name}${index.length ? `[${index.join(", ")}]` : ""} = ${exact(value, tensor.dtype)}`;
    readout.textContent = text;
    readout.dataset.index = JSON.stringify(index);
    readout.dataset.value = exact(value, tensor.dtype);
    onChoose(index);
  };
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const px = Math.floor(((event.clientX - box.left) / box.width) * layout.width);
    const py = Math.floor(((event.clientY - box.top) / box.height) * layout.height);
    const chosen = layout.pixel(Math.min(px, layout.width - 1), Math.min(py, layout.height - 1));
    if (chosen) choose(chosen);
  });
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: ["x", "c", -1], ArrowRight: ["x", "c", 1], ArrowUp: ["y", "r", -1], ArrowDown: ["y", "r", 1] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const [inner, outer, by] = move;
    const next = { ...at };
    next[inner] += by;
    if (next[inner] < 0 || next[inner] >= layout.count[inner]) {
      next[outer] += by;
      next[inner] = by > 0 ? 0 : layout.count[inner] - 1;
    }
    if (next[outer] >= 0 && next[outer] < layout.count[outer]) choose(next);
  });
  const caption = make("figcaption", {}, make("b", {}, title), make("br"), described(tensor));
  if (tensor.said) caption.append(make("br"), make("span", { className: "note" }, tensor.said));
  const node = make("figure", {}, caption, canvas, readout, numbersOf(tensor, layout));
  node.choose = (index) => {
    const found = layout.find(index);
    if (found) choose(found);
  };
  node.repaint = () => paint(canvas, tensor);
  return node;
}

function numbersOf(tensor, layout) {
  const body = make("tbody");
  const shown = make("details", {}, make("summary", {}, "Numbers"));
  const fill = () => {
    if (!shown.open || body.childElementCount) return;
    const rows = Math.min(layout.count.y, 12);
    const columns = Math.min(layout.count.x, 12);
    for (let y = 0; y < rows; y++) {
      const row = make("tr");
      for (let x = 0; x < columns; x++) {
        const value = Number(arrayOf(tensor)[layout.flat({ r: 0, c: 0, y, x })]);
        row.append(make("td", {}, exact(value, tensor.dtype)));
      }
      body.append(row);
    }
    const first = layout.whole({ r: 0, c: 0, y: 0, x: 0 }).join(", ");
    const table = make("table", {}, make("caption", {}, `The first ${rows} by ${columns}, from [${first}]`), body);
    shown.append(make("div", { className: "scroll" }, table));
  };
  shown.addEventListener("toggle", fill);
  shown.open = arrayOf(tensor).length <= 40 && layout.count.r * layout.count.c === 1;
  fill();
  return shown;
}

// The network, left to right.

function drawNetwork() {
  data.steps.forEach((step, number) => {
    const button = make("button", { type: "button", tabIndex: number ? -1 : 0 });
    button.dataset.layer = step.name;
    if (data.problem && data.problem.layer === step.name) button.classList.add("trouble");
    const value = make("canvas", { ariaHidden: "true" });
    const gradient = make("canvas", { ariaHidden: "true" });
    const name = make("span", { className: "name" }, step.name.split("/").pop());
    const arrows = make("span", { className: "visually" });
    button.append(name, make("small", {}, sizes(step.value.shape)), value, make("small", {}, "value"), gradient, make("small", {}, `gradient, rms ${about(step.incoming.rms)}`), arrows);
    button.addEventListener("click", () => show(number));
    button.addEventListener("keydown", (event) => {
      const to = { ArrowRight: number + 1, ArrowLeft: number - 1, Home: 0, End: data.steps.length - 1 }[event.key];
      if (to === undefined || !data.steps[to]) return;
      event.preventDefault();
      show(to);
      buttons[to].focus();
    });
    const item = make("li", {}, button);
    if (step.name.includes("/")) item.className = "inside";
    if (number + 1 < data.steps.length) item.append(make("span", { className: "arrows", ariaHidden: "true" }, "→", make("br"), "←"));
    $("network").append(item);
    buttons.push(button);
    thumbnails.push(() => {
      paint(value, step.value, true);
      paint(gradient, step.incoming, true);
    });
  });
}
const buttons = [];
const thumbnails = [];
let current = 0;
let figures = [];

// One layer.

function show(number) {
  current = number;
  const step = data.steps[number];
  buttons.forEach((button, i) => {
    button.setAttribute("aria-current", String(i === number));
    button.tabIndex = i === number ? 0 : -1;
  });
  buttons[number].scrollIntoView({ block: "nearest", inline: "nearest" });
  $("layer-name").textContent = step.name;
  $("layer-text").textContent = step.text;
  $("equations").replaceChildren(...step.pages.map(equations));
  const forward = [figure(step.inputs, `${step.inputs.name}, the input`)];
  const parameters = step.outgoing.filter((one) => one.of !== "x" && one.of !== "outputs");
  forward.push(...parameters.map((one) => figure(one.value, one.of)), figure(step.value, `${step.value.name}, the output`));
  $("forward").replaceChildren(...forward);
  $("saved").replaceChildren(saved(step));
  const backward = [figure(step.incoming, `${step.incoming.name}, coming in`)];
  const cotangents = step.outgoing.map((one) =>
    figure(one.cotangent, `${one.cotangent.name}, going out`, (index) => chain(step, one, index)));
  const updates = step.outgoing.filter((one) => one.update).map((one) => figure(one.update, one.update.name));
  $("backward").replaceChildren(...backward, ...cotangents, ...updates);
  figures = [...forward, ...backward, ...cotangents, ...updates];
  $("checks").replaceChildren(checks(step));
  startChain(step, cotangents);
}

function equations(page) {
  const node = make("div", {}, make("p", {}, make("b", {}, page.rule), `: ${page.title}`));
  for (const one of page.equations) {
    const mathematics = make("div");
    mathematics.innerHTML = one.mathml; // made by fnnet/tracing/page/mathml.py, which escapes the page's words
    const code = one.code.length ? make("pre", {}, one.code.join("\n")) : make("span", { className: "note" }, one.remark);
    node.append(make("div", { className: "equation" }, make("span", { className: "note" }, one.side), mathematics, make("span", {}, `(${one.number})`), code));
  }
  if (page.forward || page.backward) {
    const code = [page.forward, page.backward].filter(Boolean).join("\n\n\n");
    node.append(make("details", {}, make("summary", {}, "The code"), make("pre", {}, code)));
  }
  if (page.sources) node.append(make("p", { className: "note" }, page.sources));
  return node;
}

function saved(step) {
  if (!step.saved.length) return make("p", {}, "Nothing.");
  const body = make("tbody");
  for (const one of step.saved) {
    const cells = [one.what, sizes(one.tensor.shape), one.tensor.dtype, one.tensor.bytes.toLocaleString("en"), one.there ? "there anyway" : "kept"];
    body.append(make("tr", {}, ...cells.map((cell) => make("td", {}, cell))));
  }
  return make("table", {}, make("caption", {}, `Beside what is there anyway: ${step.savedBytes.toLocaleString("en")} bytes`), head("what", "shape", "dtype", "bytes", ""), body);
}

function head(...names) {
  return make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name))));
}

function checks(step) {
  if (!step.outgoing.length) return make("p", {}, "It has no cotangent.");
  const body = make("tbody");
  for (const one of step.outgoing) {
    const beside = one.agreement;
    const slope = one.slope;
    const row = make("tr", {}, make("td", {}, one.cotangent.name));
    if (beside) {
      const verdict = beside.wrong ? `wrong: it ${beside.looks} (${beside.wrong} entries)` : "agrees";
      row.append(make("td", {}, about(beside.largest)), make("td", { className: "left" }, `${verdict}; ${beside.against}`));
    } else row.append(make("td", {}, "–"), make("td", { className: "left" }, "not compared"));
    if (slope) {
      row.append(make("td", {}, about(slope.ours)), make("td", {}, about(slope.theirs)));
      row.append(make("td", { className: "left" }, slope.wrong ? "wrong" : slope.conclusive ? `agrees, ${slope.entries} entries moved` : "inconclusive: a kink"));
    } else row.append(make("td", {}, "–"), make("td", {}, "–"), make("td", {}, ""));
    row.append(make("td", {}, one.ratio === null ? "–" : about(one.ratio)));
    if ((beside && beside.wrong) || (slope && slope.wrong)) row.className = "wrong";
    body.append(row);
  }
  const caption = make("caption", {}, "Each cotangent beside autodiff's, entry by entry, and beside finite differences along a random direction; the layer is judged alone, from its own incoming cotangent");
  const table = make("table", {}, caption, head("cotangent", "largest |a − b| / (|b| + rms b)", "autodiff", "slope", "finite differences", "", "update / weight"), body);
  return make("div", { className: "scroll" }, table);
}

// The chain of numbers behind one entry.

function startChain(step, cotangents) {
  const choices = step.outgoing.flatMap((one, i) => one.chains.map((found) => ({ one, found, picture: cotangents[i] })));
  if (!choices.length) {
    $("chain").replaceChildren(make("p", {}, "Its layers have the chains."));
    return;
  }
  const select = make("select", { id: "entry" });
  choices.forEach(({ one, found }, i) => {
    const index = found.index.length ? `[${found.index.join(", ")}]` : "";
    select.append(make("option", { value: String(i) }, `${one.cotangent.name}${index} = ${about(found.value)}`));
  });
  const first = step.outgoing.findIndex((one) => one.of !== "x" && one.chains.length);
  const start = Math.max(0, choices.findIndex(({ one }) => one === step.outgoing[first]));
  select.value = String(start);
  select.addEventListener("change", () => {
    const { found, picture } = choices[Number(select.value)];
    picture.choose(found.index);
  });
  const label = make("label", {}, "An entry, or click one in a picture above: ", select);
  $("chain").replaceChildren(label, make("div", { id: "chain-of", ariaLive: "polite" }));
  const { one, found } = choices[start];
  chain(step, one, found.index);
}

function chain(step, one, index) {
  const place = $("chain-of");
  if (!place) return;
  const name = `${one.cotangent.name}${index.length ? `[${index.join(", ")}]` : ""}`;
  const found = one.chains.find((each) => each.index.join() === index.join());
  if (!found) {
    place.replaceChildren(make("p", {}, `The page has the chains of the entries in the list. For ${name}, in Python: `, make("code", {}, `print(trace.explain("${step.name}", "${one.of}", (${index.join(", ")}${index.length === 1 ? "," : ""})))`)));
    return;
  }
  const dtype = one.cotangent.dtype;
  const body = make("tbody");
  let listed = 0;
  const bar = step.incoming.name;
  for (const term of found.terms) {
    const at = term.output.length ? `[${term.output.join(", ")}]` : "";
    const product = term.factor * term.incoming;
    listed += product;
    const cells = [term.name || `∂${step.value.name}${at} / ∂${one.of}[${index.join(", ")}]`, about(term.factor), `${bar}${at}`, about(term.incoming), about(product)];
    body.append(make("tr", {}, ...cells.map((cell, i) => make("td", { className: i === 2 ? "left" : "" }, cell))));
  }
  if (found.count > found.terms.length)
    body.append(make("tr", {}, make("td", {}, `the other ${found.count - found.terms.length} products`), make("td"), make("td"), make("td"), make("td", {}, about(found.total - listed))));
  body.append(make("tr", {}, make("th", { scope: "row" }, "sum"), make("td"), make("td"), make("td"), make("th", {}, about(found.total))));
  const products = found.count === 1 ? "one product" : `${found.count} products`;
  const text = make("p", {}, make("b", {}, `${name} = ${exact(typeof found.value === "number" ? found.value : NaN, dtype)}`), found.count ? `, the sum of ${products}:` : ": no path leads from this entry to the loss.");
  text.id = "chain-text";
  const table = make("table", {}, head("factor", "", "incoming", "", "product"), body);
  place.replaceChildren(text, ...(found.count ? [make("div", { className: "scroll" }, table)] : []));
}

// The whole.

function theme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").setAttribute("aria-pressed", String(name === "dark"));
  thumbnails.forEach((draw) => draw());
  figures.forEach((each) => each.repaint());
  const canvas = $("scale");
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    context.fillStyle = `rgb(${colour((2 * x) / (canvas.width - 1) - 1, 1).join()})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}

$("title").textContent = data.title;
const examples = data.batch === null ? "one example" : `${data.batch} examples`;
const after = data.lossAfter === null ? "" : `; after the optimiser's update ${about(data.lossAfter)}`;
$("summary").textContent = `Loss ${about(data.loss)} of ${examples}${after}.`;
$("problem").textContent = data.problem ? `First problem, going backwards: ${data.problem.sentence}` : "No problem found.";
$("problem").classList.toggle("wrong", Boolean(data.problem));
$("footer").textContent = `Made by fnnet.trace with JAX ${data.jax}. ` + (data.sameBits
  ? "Loss and gradient have, bit for bit, the values of jax.value_and_grad, which ran beside the traced run, both without jit."
  : "Loss or gradient differ in some bits from jax.value_and_grad, which ran beside the traced run.");
$("theme").addEventListener("click", () => theme(isDark() ? "light" : "dark"));
drawNetwork();
theme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
const troubled = data.problem ? data.steps.findIndex((step) => step.name === data.problem.layer) : -1;
show(Math.max(0, troubled));
document.body.dataset.ready = "true";
