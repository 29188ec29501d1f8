// Touch it: an input, a weight or a label is changed, and the page computes the pass again by the same equations.

let state = null; // { x, labels, params } once something was changed
let rate = 0.1; // of the steps of gradient descent that one takes on the page; or that of the trace's optimiser
let losses = null; // before and after the last change

/** The learning rate of plain gradient descent, where the updates are its; undefined where they are not. */
function rateOfOptimizer() {
  const all = data.steps.flatMap((step) => step.outgoing.filter((one) => one.update));
  const pairs = all.flatMap((one) => Array.from(valuesOf(one.update), (update, i) => [update, Number(valuesOf(one.cotangent)[i])]));
  const moved = pairs.filter(([, gradient]) => gradient !== 0);
  if (!moved.length) return undefined;
  const found = Number((-moved[0][0] / moved[0][1]).toPrecision(5));
  return found > 0 && moved.every(([update, gradient]) => Math.abs(update + found * gradient) <= 1e-4 * Math.abs(update)) ? found : undefined;
}

const touched = () => state !== null;

const currentState = () => state || tracedState();

/** Changes the numbers, computes the pass, and shows it. */
function change(edit) {
  const lossBefore = lossNow();
  state = currentState();
  edit(state);
  const done = recompute(state);
  state.values = done.values;
  losses = [lossBefore, done.loss];
  data.steps.forEach((step, i) => {
    const input = step.source < 0 ? state.x : done.values[step.source];
    setNow(step.inputs, input);
    setNow(step.value, done.values[i]);
    setNow(step.incoming, done.bars[i]);
    for (const one of step.outgoing) {
      const own = (state.params[i] || {})[one.of];
      setNow(one.value, own || input);
      const bar = done.cotangents[i][one.of];
      setNow(one.cotangent, bar);
      if (one.update) setNow(one.update, bar.map((each) => -rate * each));
    }
  });
  setNow(data.x, state.x);
  setNow(data.y, state.labels);
  data.lossTouched = done.loss;
  refreshNumbers();
}

function undo() {
  state = null;
  losses = null;
  data.lossTouched = undefined;
  for (const step of data.steps) {
    for (const tensor of [step.inputs, step.value, step.incoming]) setNow(tensor, null);
    for (const one of step.outgoing) for (const tensor of [one.value, one.cotangent, one.update]) if (tensor) setNow(tensor, null);
  }
  setNow(data.x, null);
  setNow(data.y, null);
  refreshNumbers();
}

const lossNow = () => (data.lossTouched === undefined ? data.loss : data.lossTouched);

/** Gives a tensor other numbers; null gives back its own. */
function setNow(tensor, numbers) {
  if (numbers === null) delete tensor.now;
  else tensor.now = numbers;
}

/** After a change: every picture, the summary, and the numbers of the chosen entry. */
function refreshNumbers() {
  figures.forEach((figure) => figure.refresh());
  refreshStrip();
  refreshSummary();
  refreshProblem();
  const place = chosen;
  if (data.steps[current].name === "loss") $("ending").replaceChildren(...ending());
  if (place) choose(place);
  else showTouch(null);
}

/** What can be changed: the chosen entry, and all weights by a step. */
function showTouch(place) {
  if (!data.live) return $("touch").replaceChildren();
  if (!$("step")) $("touch").replaceChildren(make("div", { id: "change" }), make("div", { id: "step" }), make("p", { id: "back-to-trace" }));
  showChanger(place && changeable(place));
  const focus = document.activeElement && document.activeElement.id;
  $("step").replaceChildren(make("h3", {}, "Take a step"), stepper());
  $("back-to-trace").replaceChildren(...(touched() ? [undoer()] : []));
  if (["rate", "take-step", "undo"].includes(focus)) ($(focus) || $("take-step")).focus();
}

function undoer() {
  const button = make("button", { type: "button", id: "undo" }, "Undo all changes");
  button.addEventListener("click", undo);
  return button;
}

/** The slider and the field stay the same nodes as long as the entry is the same: one of them may be in use. */
function showChanger(leaf) {
  const name = leaf ? `${leaf.step} ${leaf.role} ${leaf.of} ${leaf.index}` : "";
  if (name !== $("change").dataset.entry) {
    $("change").dataset.entry = name;
    $("change").replaceChildren(...(leaf ? [make("h3", {}, "Change it"), changer(leaf)] : []));
  } else if (leaf) {
    const value = numberAt(leaf);
    const [field, slider] = [$("change-number"), $("change-slider")];
    if (document.activeElement !== slider && Math.abs(value) > Number(slider.max)) [slider.min, slider.max] = [-2 * Math.abs(value), 2 * Math.abs(value)];
    if (Number(field.value) !== value) field.value = value;
    if (document.activeElement !== slider) slider.value = value;
  }
}

/** The weight, or the entry of the example, that a place stands for; null for what is computed. */
function changeable(place) {
  const step = data.steps[place.step];
  if (place.role === "leaf" || ((place.role === "cotangent" || place.role === "update") && place.of !== "x" && place.of !== "outputs")) return { ...place, role: "leaf" };
  const isExample = step.source < 0 && !step.nested && (place.role === "inputs" || (place.role === "cotangent" && place.of === "x"));
  return isExample && data.x.dtype.startsWith("float") ? { ...place, role: "inputs", of: "" } : null;
}

function changer(place) {
  const tensor = tensorAt(place);
  const value = numberAt(place);
  const most = 2 * Math.max(Math.abs(Number(tensor.low)), Math.abs(Number(tensor.high)), Math.abs(value), 0.5);
  const name = nameOf(place);
  const field = make("input", { type: "number", id: "change-number", step: "any", value: String(value) });
  const slider = make("input", { type: "range", id: "change-slider", min: -most, max: most, step: most / 200, value });
  field.setAttribute("aria-label", `${name}, a number`);
  slider.setAttribute("aria-label", `${name}, a slider`);
  const set = (text) => {
    const number = Number(text);
    if (text === "" || !Number.isFinite(number)) return;
    const flat = flatOf(tensor.shape, place.index);
    change((state) => ((place.role === "leaf" ? state.params[place.step][place.of] : state.x)[flat] = number));
  };
  field.addEventListener("change", () => set(field.value));
  slider.addEventListener("input", () => set(slider.value));
  return make("p", { className: "change" }, make("label", { htmlFor: "change-number" }, `${name} = `), field, slider);
}

function stepper() {
  const field = make("input", { type: "number", id: "rate", step: "any", min: 0, value: String(rate) });
  field.addEventListener("change", () => {
    if (Number(field.value) > 0) setRate(Number(field.value));
    else field.value = rate;
  });
  const button = make("button", { type: "button", id: "take-step" }, "Take a step");
  button.addEventListener("click", () => change(descend));
  const node = make("div", {}, make("p", { className: "change" }, make("label", { htmlFor: "rate" }, explained("learning rate"), " "), field, button));
  if (losses) {
    const [before, after] = losses;
    node.append(make("p", { id: "losses", ariaLive: "polite" }, `Loss ${about(before)} before, ${about(after)} after.`));
  }
  const place = chosen && changeable(chosen);
  if (place && place.role === "leaf") {
    const gradient = numberAt({ ...place, role: "cotangent" });
    const weight = numberAt(place);
    node.append(make("p", { className: "note", id: "next-update" }, `The step takes ${nameOf(place)} from ${about(weight)} to ${about(weight - rate * gradient)}: minus ${rate} times ${about(gradient)}.`));
  }
  return node;
}

function setRate(number) {
  rate = number;
  if (!touched()) return showTouch(chosen);
  for (const one of data.steps.flatMap((step) => step.outgoing)) if (one.update) setNow(one.update, one.cotangent.now.map((each) => -rate * each));
  refreshNumbers();
}

/** w <- w - rate * w_bar for every parameter. */
function descend(state) {
  data.steps.forEach((step, i) => {
    for (const one of step.outgoing) {
      const own = (state.params[i] || {})[one.of];
      if (!own) continue;
      const bar = valuesOf(one.cotangent);
      state.params[i][one.of] = own.map((value, k) => value - rate * Number(bar[k]));
    }
  });
}
