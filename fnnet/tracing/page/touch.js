// Touch it: an input, a weight or a label is changed, and the page computes the pass again by the same equations.

let state = null; // { x, labels, params } once something was changed
let rate = 0.1; // of the steps of gradient descent that one takes on the page
let losses = []; // after each change

const touched = () => state !== null;

const currentState = () => state || tracedState();

/** Changes the numbers, computes the pass, and shows it. */
function change(edit) {
  const lossBefore = lossNow();
  state = currentState();
  edit(state);
  const done = recompute(state);
  state.values = done.values;
  losses.push([lossBefore, done.loss]);
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
  losses = [];
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
  const place = chosen;
  if (data.steps[current].name === "loss") $("ending").replaceChildren(...ending());
  if (place) choose(place);
  else showTouch(null);
}

/** What can be changed of the chosen entry. */
function showTouch(place) {
  if (!data.live) return $("touch").replaceChildren();
  const parts = [];
  const leaf = place && changeable(place);
  if (leaf) parts.push(make("h3", {}, "Change it"), changer(leaf));
  parts.push(make("h3", {}, "Take a step"), stepper());
  if (touched()) {
    const button = make("button", { type: "button", id: "undo" }, "Undo all changes");
    button.addEventListener("click", undo);
    parts.push(make("p", {}, button));
  }
  const focus = document.activeElement && document.activeElement.id;
  $("touch").replaceChildren(...parts);
  if (focus && $("touch").querySelector(`#${focus}`)) $(focus).focus();
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
  const most = 2 * Math.max(Math.abs(Number(tensor.low)), Math.abs(Number(tensor.high)), 0.5);
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
    const number = Number(field.value);
    if (Number.isFinite(number) && number > 0) rate = number;
    if (touched()) change(() => {});
  });
  const button = make("button", { type: "button", id: "take-step" }, "Take a step");
  button.addEventListener("click", () => change(descend));
  const node = make("div", {}, make("p", { className: "change" }, make("label", { htmlFor: "rate" }, explained("learning rate"), " "), field, button));
  if (losses.length) {
    const [before, after] = losses[losses.length - 1];
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
