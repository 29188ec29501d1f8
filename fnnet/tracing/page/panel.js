// The panel beside the layer: the chosen entry, what it is in words, and the products that it is the sum of.

const ROWS = 24; // products listed at first
const LIT = 400; // products lit at most

let chosen = null; // the place whose numbers the panel shows

/** A sentence for an entry, after its place. */
function meaningOf(place) {
  const step = data.steps[place.step];
  const of = (place.role === "cotangent" || place.role === "update") && place.of;
  if (place.role === "incoming") return `How much the loss grows when ${entryName(step.value.name, place.index)} grows by one.`;
  if (of) return place.role === "update" ? "" : `How much the loss grows when ${entryName(of, place.index)} grows by one.`;
  return "";
}

/** Chooses an entry: its numbers are shown, and the factors are lit where they stand. */
function choose(place) {
  endFollowing();
  if (chosen) figures.get(`${chosen.role} ${chosen.of}`)?.unselect();
  chosen = place;
  figures.get(`${place.role} ${place.of}`)?.select(place.index);
  $("numbers").closest("aside").scrollTop = 0;
  if (!isComputed(place.step, place.role)) return sayNotYet(place);
  const tensor = tensorAt(place);
  const value = numberAt(place);
  const made = madeOf(place);
  const head = make("p", { id: "chain-text" });
  head.append(make("b", {}, `${data.steps[place.step].name}: ${nameOf(place)} = ${exact(value === undefined ? NaN : value, tensor.now ? "float64" : tensor.dtype)}`));
  const parts = [head];
  const meaning = meaningOf(place);
  if (meaning) parts.push(make("p", { className: "note" }, meaning));
  const equation = equationOf(place);
  if (equation) parts.push(equation);
  if (made.same) parts.push(make("p", {}, `The same number as ${made.same}.`));
  if (made.said) parts.push(make("p", {}, made.said));
  if (made.more) parts.push(make("p", {}, "On the command line:"), make("pre", {}, made.more.shell), make("p", {}, "In Python:"), make("pre", {}, made.more.python));
  if (made.terms.length) parts.push(...products(made));
  parts.push(...nextPlaces(place));
  $("numbers").replaceChildren(...parts);
  light(made.terms);
  showTouch(place);
  writeAddress();
}

// What the rules' pages call the arrays of a layer; the layer's own names are others.
const LETTERS = { x: ["x", "z", "xs"], outputs: ["z", "a"], kernel: ["W"], bias: ["b"], input_kernel: ["W"], recurrent_kernel: ["U"], embedding: ["W"], scale: ["s", "g"] };

/** The equation that computes an entry, where just one of the layer's equations does. */
function equationOf(place) {
  const { pages } = data.steps[place.step];
  const isForward = place.role === "value";
  const names = place.role === "cotangent" ? (LETTERS[place.of] || []).map((letter) => `${letter}_bar`) : ["y", "l"];
  if (pages.length !== 1 || (!isForward && place.role !== "cotangent")) return null;
  const found = pages.flatMap((page) => page.equations).filter((one) => {
    const left = one.formula.split("=")[0].trim();
    return one.side === (isForward ? "forward" : "backward") && names.some((name) => left === name || left.startsWith(`${name}_`));
  });
  if (found.length !== 1) return null;
  const node = make("div", { className: "its-equation" });
  node.innerHTML = found[0].mathml; // made by fnnet/tracing/page/mathml.py
  return node;
}

function sayNotYet(place) {
  const name = make("b", {}, `${data.steps[place.step].name}: ${nameOf(place)}`);
  $("numbers").replaceChildren(make("p", { id: "chain-text" }, name, " is not computed yet."));
  light([]);
  showTouch(place);
  writeAddress();
}

function products(made) {
  const count = made.terms.filter((one) => !one.isAdded).length + (made.rest || 0);
  const terms = [...made.terms].sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
  const added = made.terms.some((one) => one.isAdded) ? " and the bias" : "";
  const products = count === 1 ? "one product" : `${count} products`;
  const what = made.sum ? `The sum of ${products}${added}${made.terms.length > ROWS ? ", the largest first" : ""}:` : `It follows ${count === 1 ? "one entry" : `${count} entries`}:`;
  const body = make("tbody");
  terms.slice(0, ROWS).forEach((one) => body.append(productRow(one, made)));
  const listed = terms.slice(0, ROWS).reduce((sum, one) => sum + one.product, 0);
  if (made.sum && made.terms.length > ROWS) body.append(make("tr", {}, make("td", {}, `the other ${terms.length + (made.rest || 0) - ROWS}`), make("td"), make("td"), make("td"), make("td", {}, about(made.total - listed))));
  else if (made.sum && made.rest) body.append(make("tr", {}, make("td", {}, `the other ${made.rest}`), make("td"), make("td"), make("td"), make("td", {}, about(made.total - listed))));
  if (made.sum) body.append(make("tr", { className: "total" }, make("th", { scope: "row" }, "sum"), make("td"), make("td"), make("td"), make("th", {}, about(made.total))));
  const titles = made.sum ? ["factor", "", "times", "", "product"] : ["slope", "", "of", ""];
  return [make("p", {}, what), make("div", { className: "scroll" }, make("table", { id: "chain-of" }, head(...titles), body))];
}

function productRow(one, made) {
  const row = make("tr");
  const factor = one.factorAt ? link(one.factorAt, one.name) : make("span", {}, one.name || (one.factor === 1 ? "" : "factor"));
  const other = link(one.numberAt, nameOf(one.numberAt));
  const cells = one.isAdded ? ["", ""] : [factor, about(one.factor)];
  row.append(...cells.map((cell) => make("td", {}, cell)), make("td", { className: "left" }, other), make("td", {}, about(one.number)));
  if (made.sum) row.append(make("td", {}, about(one.product)));
  row.addEventListener("mouseenter", () => light([one]));
  row.addEventListener("mouseleave", () => light(made.terms));
  row.addEventListener("focusin", () => light([one]));
  row.addEventListener("focusout", () => light(made.terms));
  return row;
}

/** A button that goes to an entry. */
function link(place, text) {
  const button = make("button", { type: "button", className: "link" }, text);
  button.addEventListener("click", () => {
    play(false);
    goTo(place);
  });
  return button;
}

/** Where one can go from an entry: its gradient, its update, the way to the loss. */
function nextPlaces(place) {
  const step = data.steps[place.step];
  const to = [];
  const at = (role, of) => ({ step: place.step, role, of, index: place.index });
  const leaf = place.role === "inputs" ? step.outgoing.find((one) => one.of === "x" || one.of === "outputs") : step.outgoing.find((one) => one.of === place.of);
  if ((place.role === "inputs" || place.role === "leaf") && leaf) to.push(link(at("cotangent", leaf.of), `its gradient, ${entryName(leaf.cotangent.name, place.index)}`));
  if (place.role === "value") to.push(link(at("incoming", ""), `its gradient, ${entryName(step.incoming.name, place.index)}`));
  if (place.role === "cotangent" && leaf && leaf.update) to.push(link(at("update", place.of), "the update that it gives"));
  if (place.role === "cotangent" && place.of !== "x" && place.of !== "outputs") to.push(link(at("leaf", place.of), `the weight, ${entryName(place.of, place.index)}`));
  const followed = followable(place);
  if (followed) {
    const button = make("button", { type: "button", id: "follow" }, "Follow it to the loss");
    button.addEventListener("click", () => follow(followed));
    to.push(button);
  }
  return to.length ? [make("p", { className: "next" }, ...to)] : [];
}

/** Lights the factors of products where they stand in the chosen layer's pictures. */
function light(terms) {
  const most = Math.max(...terms.map((one) => Math.abs(one.product)), 1e-300);
  const lit = new Map();
  for (const one of terms.slice(0, LIT))
    for (const place of [one.factorAt, one.numberAt]) {
      if (!place || place.step !== current) continue;
      const key = `${place.role} ${place.of}`;
      if (!lit.has(key)) lit.set(key, []);
      lit.get(key).push({ index: place.index, weight: one.product / most });
    }
  figures.forEach((figure, key) => figure.light(lit.get(key) || []));
}

/** Goes to the layer of an entry, and chooses it. */
function goTo(place) {
  if (place.step !== current) show(place.step);
  choose(place);
}
