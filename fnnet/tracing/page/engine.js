// The numbers of a small network, computed in the page: each layer forward, backward (pull) and along one entry (push).
//
// Arrays are Float64Array, row-major, a mini-batch in front: a layer counts its examples by the size of x. `data.steps`
// says of each layer what it is (`engine`), or its derivative where the page has no program for it (`jacobians`).

/** The sum of term(0), term(1), ... */
function summed(count, term) {
  let sum = 0;
  for (let k = 0; k < count; k++) sum += term(k);
  return sum;
}

const { engineOf, leavesOf, recompute, tangents, tracedState } = (() => {
  const wideOf = (tensor) => Float64Array.from(decode(tensor.array));
  const product = (sizes) => sizes.reduce((a, b) => a * b, 1);

  // A layer that is a list of products: y_output = sum of factor x_entry (+ constant). So is every layer's derivative.

  function sparse(lists, constant) {
    function push(values, of, dot) {
      const { entry, output, factor } = lists[of];
      const y = new Float64Array(values.y.length);
      for (let k = 0; k < entry.length; k++) if (dot[entry[k]]) y[output[k]] += factor[k] * dot[entry[k]];
      return y;
    }
    function pull(values, bar) {
      const bars = {};
      for (const [of, { entry, output, factor }] of Object.entries(lists)) {
        bars[of] = new Float64Array(values[of].length);
        for (let k = 0; k < entry.length; k++) bars[of][entry[k]] += factor[k] * bar[output[k]];
      }
      return bars;
    }
    function forward(values) {
      if (!constant) return null;
      const [of] = Object.keys(lists);
      return push({ y: constant }, of, values[of]).map((value, i) => value + constant[i]);
    }
    return { forward, pull, push, factorOf: () => null };
  }

  // What computes a layer; null if nothing can. Of values {x, kernel, ..., y}, at the loss {outputs, labels, y}:
  //   forward(values)              y; null where there is only a derivative
  //   pull(values, bar)            the cotangent of each leaf, from that of y
  //   push(values, of, dot)        how y moves if the leaf `of` moves along `dot`
  //   factorOf(of, entry, output)  the entry {name, flat} of another leaf that dy_output / d_entry is; null if it is none

  const engines = new WeakMap(); // of each step, made when it is first needed
  function engineOf(step) {
    if (!engines.has(step)) engines.set(step, made(step));
    return engines.get(step);
  }

  const affine = ({ lists, constant }) => sparse(decodedLists(lists), Float64Array.from(decode(constant)));
  const KINDS = { ...windowEngines, ...entryEngines, ...lossEngines, affine };

  function made({ engine, jacobians }) {
    if (engine) return KINDS[engine.kind](engine);
    return jacobians ? sparse(decodedLists(jacobians)) : null;
  }

  function decodedLists(lists) {
    const decoded = ([of, { entry, output, factor }]) => {
      const [entries, outputs, factors] = [entry, output, factor].map(decode);
      return [of, { entry: entries, output: outputs, factor: factors }];
    };
    return Object.fromEntries(Object.entries(lists).map(decoded));
  }

  // The whole network. A state is {x, labels, params: {step: {kernel, ...}}}, and perhaps `values`, each step's output.

  const engineAt = (k) => engineOf(data.steps[k]);

  const isParameter = (one) => one.of !== "x" && one.of !== "outputs";

  function tracedState() {
    const params = {};
    data.steps.forEach((step, k) => {
      params[k] = Object.fromEntries(step.outgoing.filter(isParameter).map((one) => [one.of, wideOf(one.value)]));
    });
    return { x: wideOf(data.x), labels: wideOf(data.y), params, values: data.steps.map((step) => wideOf(step.value)) };
  }

  // What a step is computed from, and its output `y` where that is known.
  function leavesOf(state, values, k) {
    const { source, name } = data.steps[k];
    const x = source < 0 ? state.x : values[source];
    return name === "loss" ? { outputs: x, labels: state.labels, y: values[k] } : { x, ...state.params[k], y: values[k] };
  }

  function added(arrays) {
    return arrays.length === 1 ? arrays[0] : arrays[0].map((_, i) => summed(arrays.length, (k) => arrays[k][i]));
  }

  function recompute(state) {
    const values = [];
    data.steps.forEach((step, k) => {
      const parts = step.parts.map((part) => (part < 0 ? state.x : values[part]));
      values.push(step.nested ? added(parts) : engineAt(k).forward(leavesOf(state, values, k)));
    });
    const losses = values[values.length - 1];
    const weights = meanWeights(state);
    const { bars, cotangents } = pulledBack(state, values, weights);
    return { values, bars, cotangents, losses, loss: summed(losses.length, (n) => weights[n] * losses[n]) };
  }

  // What each example counts in the mean, which is the cotangent of its loss. Changed labels may change it.
  function meanWeights(state) {
    const { engine, incoming } = data.steps[data.steps.length - 1];
    if (data.batch === null || !engine.integers) return wideOf(incoming);
    const weights = state.labels.map((label) => (label === engine.ignored ? 0 : engine.weights ? engine.weights[label] : 1));
    const total = summed(weights.length, (n) => weights[n]);
    return weights.map(() => 1 / total);
  }

  // Backwards through the steps. A value that is used twice gets the sum of both cotangents.
  function pulledBack(state, values, lossBar) {
    const bars = values.map((value) => new Float64Array(value.length));
    const cotangents = values.map(() => ({}));
    bars[bars.length - 1] = lossBar;
    const give = (source, bar) => {
      if (source >= 0) bar.forEach((each, i) => (bars[source][i] += each));
    };
    for (let k = bars.length - 1; k >= 0; k--) {
      const { nested, parts, source } = data.steps[k];
      if (nested) parts.forEach((part) => give(part, bars[k]));
      else {
        cotangents[k] = engineAt(k).pull(leavesOf(state, values, k), bars[k]);
        give(source, cotangents[k].x || cotangents[k].outputs);
      }
    }
    data.steps.forEach((step, k) => {
      if (step.nested) cotangents[k] = { x: cotangentOfNested(k, bars, cotangents) };
    });
    return { bars, cotangents };
  }

  // That of a nested step's input: all that its layers, and its sum, make of it.
  function cotangentOfNested(k, bars, cotangents) {
    const { source } = data.steps[k];
    const found = [];
    for (const j of within(k)) {
      const { nested, parts, source: own } = data.steps[j];
      if (!nested && own === source) found.push(cotangents[j].x);
      if (nested) parts.filter((part) => part === source).forEach(() => found.push(bars[j]));
    }
    return found.length ? added(found) : new Float64Array(product(data.steps[k].inputs.shape));
  }

  // A nested step's layers, in their order, and itself.
  function within(k) {
    const { name } = data.steps[k];
    return data.steps.flatMap((step, j) => (step.name.startsWith(`${name}/`) || j === k ? [j] : []));
  }

  // Along one entry: the derivative of each step's output by entry `flat` of `of`, an input or a parameter of a step.
  // null where the entry does not reach. Times the cotangent of the losses, and summed, the last is the gradient's entry.
  // A state without values has those that the page shows.

  function tangents(state, stepIndex, of, flat) {
    const values = state.values || data.steps.map((step) => Float64Array.from(valuesOf(step.value)));
    const first = leavesOf(state, values, stepIndex)[of];
    const dot = new Float64Array(first.length);
    dot[flat] = 1;
    const found = data.steps.map(() => null);
    // Where `of` is an input: the steps that read it as theirs. A nested step hands it to its layers.
    const begins = new Set(of === "x" || of === "outputs" ? within(stepIndex) : []);
    const { source } = data.steps[stepIndex];
    const along = (k, from) => (begins.has(k) && from === source ? dot : from < 0 ? null : found[from]);
    data.steps.forEach((step, k) => {
      const leaves = leavesOf(state, values, k);
      if (k === stepIndex && isParameter({ of })) found[k] = engineAt(k).push(leaves, of, dot);
      else if (step.nested) {
        const parts = step.parts.map((part) => along(k, part)).filter(Boolean);
        found[k] = parts.length ? added(parts) : null;
      } else {
        const moved = along(k, step.source);
        found[k] = moved ? engineAt(k).push(leaves, step.name === "loss" ? "outputs" : "x", moved) : null;
      }
    });
    return found;
  }

  return { engineOf, leavesOf, recompute, tangents, tracedState };
})();
