// The numbers behind one entry: the products that it is the sum of, each with the place of its two factors.
//
// A place is { step, role, of, index }: an entry of one of a step's arrays. Roles: "inputs" x, "value" y, "leaf" a
// parameter, "incoming" y_bar, "cotangent" x_bar or a parameter's, "update", "inside" what is computed between.

function tensorsOf(number) {
  const step = data.steps[number];
  const found = [{ role: "inputs", of: "", tensor: step.inputs }];
  for (const one of step.outgoing)
    if (one.of !== "x" && one.of !== "outputs") found.push({ role: "leaf", of: one.of, tensor: one.value });
  for (const tensor of step.insides || []) found.push({ role: "inside", of: tensor.name, tensor });
  found.push({ role: "value", of: "", tensor: step.value }, { role: "incoming", of: "", tensor: step.incoming });
  for (const one of step.outgoing) found.push({ role: "cotangent", of: one.of, tensor: one.cotangent });
  for (const one of step.outgoing) if (one.update) found.push({ role: "update", of: one.of, tensor: one.update });
  return found;
}

const tensorAt = (place) => tensorsOf(place.step).find((one) => one.role === place.role && one.of === place.of).tensor;

function flatOf(shape, index) {
  return index.reduce((flat, i, axis) => flat * shape[axis] + i, 0);
}

function indexOf(shape, flat) {
  const index = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index.unshift(flat % shape[axis]);
    flat = Math.floor(flat / shape[axis]);
  }
  return index;
}

/** The number at a place; undefined where the page does not have it. */
function numberAt(place) {
  const tensor = tensorAt(place);
  let flat = 0;
  for (let axis = 0; axis < tensor.shape.length; axis++) {
    const at = tensor.places[axis];
    const k = typeof at === "number" ? place.index[axis] : at.indexOf(place.index[axis]);
    if (k < 0) return undefined;
    flat = flat * (typeof at === "number" ? at : at.length) + k;
  }
  return Number(valuesOf(tensor)[flat]);
}

const nameOf = (place) => entryName(tensorAt(place).name, place.index);

/** Whether the page can make every product of a step: its arrays are whole, and it has a program or a derivative. */
const canCompute = (step) => data.whole && Boolean(step.nested || step.engine || step.jacobians);

/** What computes a step, if the page can, and its arrays as they stand. */
function programAt(number) {
  const step = data.steps[number];
  const engine = canCompute(step) ? engineOf(step) : null;
  return engine && { engine, values: valuesFor(step) };
}

function valuesFor(step) {
  const wide = (tensor) => Float64Array.from(valuesOf(tensor));
  const values = { [step.inputs.name]: wide(step.inputs), y: wide(step.value) };
  for (const one of step.outgoing) values[one.of] = wide(one.value);
  if (step.name === "loss") values.labels = wide(data.y);
  return values;
}

function unit(size, at) {
  const dot = new Float64Array(size);
  dot[at] = 1;
  return dot;
}

const size = (shape) => shape.reduce((a, b) => a * b, 1);

// Where an array comes from and where it goes: Step.source and Step.parts.

/** The cotangents that add up to the cotangent of a step's output; the example's, for -1. */
function consumersOf(number) {
  const found = [];
  data.steps.forEach((step, i) => {
    const input = step.outgoing.find((one) => one.of === "x" || one.of === "outputs");
    if (!step.nested && step.source === number && input) found.push({ step: i, role: "cotangent", of: input.of });
    if (step.nested && step.parts.includes(number)) found.push({ step: i, role: "incoming", of: "" });
  });
  return found;
}

/**
 * What an entry is made of.
 *
 * Returns { said: a sentence, terms, total, sum: whether the terms add up to the entry, more: where the page does not
 * have them }. A term is { factor, factorAt, name, number, numberAt, product }: either place may be null.
 */
function madeOf(place) {
  const step = data.steps[place.step];
  const last = data.steps.length - 1;
  switch (place.role) {
    case "leaf":
      return given(place.step === last ? "The labels are given with the data." : "A parameter: training learns it.");
    case "inputs":
      if (!data.graph) return given(NOT_KNOWN);
      if (step.source < 0) return given("The example is given.");
      return { ...madeOf({ step: step.source, role: "value", of: "", index: place.index }), same: data.steps[step.source].name };
    case "value":
      return step.nested ? sumOf(place, step.parts.map(valueOrInput)) : outputOf(place);
    case "incoming":
      return place.step === last ? seed() : data.graph ? sumOf(place, consumersOf(place.step)) : given(NOT_KNOWN);
    case "cotangent":
      return step.nested ? (data.graph ? sumOf(place, consumersOf(step.source).filter((one) => isInside(one, step))) : given(NOT_KNOWN)) : cotangentOf(place);
    case "update":
      return updateOf(place);
    default:
      return given(tensorAt(place).about || "The layer computes it on the way.");
  }
}

const NOT_KNOWN = "How the layers hand their numbers on is not known here: the network does more than run layers and add their outputs.";
const NOT_SHOWN = "Several paths meet here; the page shows other entries of theirs.";
const given = (said) => ({ said, terms: [], total: null, sum: false });
const isInside = (one, container) => data.steps[one.step].name === container.name || data.steps[one.step].name.startsWith(`${container.name}/`);
const valueOrInput = (number) => (number < 0 ? { step: 0, role: "inputs", of: "" } : { step: number, role: "value", of: "" });

function seed() {
  if (data.batch === null) return given("The loss by itself: its gradient is 1. The backward begins here.");
  return given(`The mean of ${data.batch} losses: each has the gradient 1 / ${data.batch}, or its weight's share. The backward begins here.`);
}

/** An entry that is the sum of entries at the same index of other arrays, or is one of them. */
function sumOf(place, others) {
  const places = others.map((one) => ({ ...one, index: place.index }));
  if (places.length === 1) return { ...madeOf(places[0]), same: `${nameOf(places[0])} of ${data.steps[places[0].step].name}` };
  const terms = places.map((at) => term(null, 1, "", at, numberAt(at)));
  if (!terms.length || terms.some((one) => one.number === undefined)) return given(NOT_SHOWN);
  return { said: "Several paths meet here: their numbers are added.", terms, total: total(terms), sum: true };
}

function term(factorAt, factor, name, numberPlace, number) {
  return { factorAt, factor, name, numberAt: numberPlace, number, product: factor * number };
}
const total = (terms) => terms.reduce((sum, one) => sum + one.product, 0);

/** x_bar or a parameter's cotangent: bar_e = sum_o (dy_o / de) y_bar_o. */
function cotangentOf(place) {
  const step = data.steps[place.step];
  const one = step.outgoing.find((each) => each.of === place.of);
  const chosen = one.chains.find((chain) => chain.index.join() === place.index.join());
  const terms = chosen ? termsOfChain(place, chosen) : termsByEngine(place, one);
  if (!terms) return beyond(place, place.of);
  const rest = chosen ? chosen.count - terms.length : 0;
  const all = chosen ? chosen.total : total(terms);
  if (!terms.length) return given("All its products are 0: nothing comes back on a path from it to the loss.");
  return { said: "", terms, total: all, sum: true, rest };
}

function termsByEngine(place, one) {
  const found = programAt(place.step);
  if (!found) return null;
  const step = data.steps[place.step];
  const { engine, values } = found;
  const flat = flatOf(one.value.shape, place.index);
  const column = engine.push(values, place.of, unit(size(one.value.shape), flat));
  const bar = valuesOf(step.incoming);
  const terms = [];
  for (let o = 0; o < column.length; o++) {
    const entry = engine.factorOf(place.of, flat, o);
    if (column[o] === 0 && !(entry && Number.isNaN(Number(bar[o])))) continue; // a factor of 0 times NaN is NaN
    const output = indexOf(step.value.shape, o);
    const factorAt = entry ? leafPlace(place.step, entry) : null;
    const name = factorAt ? nameOf(factorAt) : slopeName(step, place, output, column[o]);
    terms.push(term(factorAt, column[o], name, { step: place.step, role: "incoming", of: "", index: output }, Number(bar[o])));
  }
  return terms.filter((one) => one.product !== 0);
}

function leafPlace(number, { name, flat }) {
  const step = data.steps[number];
  if (name === step.inputs.name) return { step: number, role: "inputs", of: "", index: indexOf(step.inputs.shape, flat) };
  const leaf = step.outgoing.find((one) => one.of === name);
  return leaf ? { step: number, role: "leaf", of: name, index: indexOf(leaf.value.shape, flat) } : null;
}

/** What a slope is called; that of a loss with softmax is p, and p - 1 for the label. */
function slopeName(step, place, output, slope) {
  const p = step.name === "loss" ? probabilityAt(place.index) : undefined;
  for (const [name, value] of [["p", p], ["p − 1", p - 1]])
    if (Math.abs(value - slope) < 1e-5) return `${name} (p = ${about(p)})`;
  return `∂${entryName(step.value.name, output)} / ∂${entryName(place.of, place.index)}`;
}

/** The chain of a chosen entry of a large network, as the page was given it. */
function termsOfChain(place, chain) {
  const step = data.steps[place.step];
  return chain.terms.map((one) => {
    const at = { step: place.step, role: "incoming", of: "", index: one.output };
    return term(placeNamed(place.step, one.name), one.factor, one.name || slopeName(step, place, one.output, one.factor), at, one.incoming);
  });
}

/** "x[3, 17]" as a place of the step; null for a slope. */
function placeNamed(number, name) {
  const match = /^([^[\]]+)(?:\[([\d, ]*)\])?$/.exec(name);
  const found = match && tensorsOf(number).find((one) => one.tensor.name === match[1]);
  if (!found) return null;
  const index = match[2] ? match[2].split(",").map(Number) : [];
  return index.length === found.tensor.shape.length ? { step: number, role: found.role, of: found.of, index } : null;
}

/** y: for a layer that is linear a sum of products; else the entries that it depends on, with their slopes. */
function outputOf(place) {
  const step = data.steps[place.step];
  const found = programAt(place.step);
  if (!found) return beyond(place, "y");
  const o = flatOf(step.value.shape, place.index);
  const row = found.engine.pull(found.values, unit(size(step.value.shape), o));
  const leaves = [[step.inputs.name, { role: "inputs", of: "" }], ...step.outgoing.filter((one) => one.of !== step.inputs.name).map((one) => [one.of, { role: "leaf", of: one.of }])];
  const terms = {};
  for (const [name, where] of leaves) {
    const tensor = tensorAt({ step: place.step, ...where });
    terms[name] = !row[name] ? [] : nonzero(row[name]).map((e) => {
      const at = { step: place.step, ...where, index: indexOf(tensor.shape, e) };
      const entry = found.engine.factorOf(name, e, o);
      const factorAt = entry ? leafPlace(place.step, entry) : null;
      return term(factorAt, row[name][e], factorAt ? nameOf(factorAt) : slopeName(step, { of: name, index: at.index }, place.index, row[name][e]), at, Number(valuesOf(tensor)[e]));
    });
  }
  const y = Number(valuesOf(step.value)[o]);
  const inputs = terms[step.inputs.name];
  const tolerance = { bfloat16: 2e-2, float16: 2e-3 }[step.value.dtype] || 1e-5; // what storing y may round
  const biases = (terms.bias || []).map((one) => ({ ...one, isAdded: true }));
  const sums = [[...inputs, ...biases], leaves.slice(1).flatMap(([name]) => terms[name])];
  const isY = (each) => {
    const apart = Math.abs(total(each) - y);
    return Number.isNaN(y) ? Number.isNaN(apart) : apart <= tolerance * each.reduce((sum, one) => sum + Math.abs(one.product), Math.abs(y));
  };
  const exact = sums.find((each) => each.length && isY(each));
  if (exact) {
    const shown = exact.filter((one) => one.product !== 0 || one.isAdded);
    return shown.length ? { said: "", terms: shown, total: total(exact), sum: true } : given("All its products are 0.");
  }
  if (!inputs.length) return given("It depends on no entry of the input: all slopes are 0 here.");
  return { said: "The layer's equation makes it of these entries; a slope says how it follows each of them.", terms: inputs, total: null, sum: false };
}

function nonzero(row) {
  const found = [];
  row.forEach((value, i) => value !== 0 && found.push(i));
  return found;
}

function updateOf(place) {
  const one = data.steps[place.step].outgoing.find((each) => each.of === place.of);
  const gradient = { step: place.step, role: "cotangent", of: place.of, index: place.index };
  const [g, u] = [numberAt(gradient), numberAt(place)];
  if (touched() && g) return { said: "The next step of plain gradient descent: minus the learning rate times the gradient.", terms: [term(null, u / g, "− learning rate", gradient, g)], total: u, sum: true };
  const said = `What the optimiser adds to the weight. The updates of ${place.of} are ${about(one.ratio)} times its weights (rms by rms).`;
  return g ? { said, terms: [term(null, u / g, "update / gradient", gradient, g)], total: u, sum: true } : given(said);
}

/** Where a large network's page lacks the arrays: how to get the entry. */
function beyond(place, of) {
  const step = data.steps[place.step];
  const whose = of === "y" ? step.value.name : of;
  const index = place.index;
  return {
    ...given(`This ${data.whole ? "layer" : "network"} is large: the page has ${data.whole ? "" : "a sample of its arrays, and "}the products of the marked entries only.`),
    more: {
      shell: `fnnet trace RUN --entry ${entryName(`${step.name}.${whose}`, index).replaceAll(" ", "")}`,
      python: `print(trace.explain("${step.name}", "${of}", (${index.join(", ")}${index.length === 1 ? "," : ""})))`,
    },
  };
}
