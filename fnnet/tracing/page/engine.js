// The numbers of a small network, computed in the page: each layer forward, backward (pull) and along one entry (push).
//
// Arrays are Float64Array, row-major, a mini-batch in front: a layer counts its examples by the size of x. `data.steps`
// says of each layer what it is (`engine`), or its derivative where the page has no program for it (`jacobians`).

const { engineOf, leavesOf, recompute, tangents, tracedState } = (() => {
  const wideOf = (tensor) => Float64Array.from(decode(tensor.array));
  const product = (sizes) => sizes.reduce((a, b) => a * b, 1);

  // Windows: which entry of the image each tap of each place reads. -1: it reads the padding.

  function coordinates(flat, sizes) {
    const at = new Array(sizes.length);
    for (let axis = sizes.length - 1; axis >= 0; axis--) {
      at[axis] = flat % sizes[axis];
      flat = Math.floor(flat / sizes[axis]);
    }
    return at;
  }
  const flatIndex = (at, sizes) => at.reduce((flat, i, axis) => flat * sizes[axis] + i, 0);

  function windowTable({ image, size, stride, dilation, padding, out }) {
    const places = product(out);
    const taps = product(size);
    const pixel = new Int32Array(places * taps);
    for (let place = 0; place < places; place++) {
      const start = coordinates(place, out).map((o, axis) => o * stride[axis] - padding[axis][0]);
      for (let tap = 0; tap < taps; tap++) {
        const at = coordinates(tap, size).map((t, axis) => start[axis] + dilation[axis] * t);
        const inside = at.every((i, axis) => i >= 0 && i < image[axis]);
        pixel[place * taps + tap] = inside ? flatIndex(at, image) : -1;
      }
    }
    return { pixel, places, taps, pixels: product(image) };
  }

  // Dense layers and convolutions: y = x W + b, summed over the taps of a window. A dense layer has one tap, one place.

  function linear({ pixel, places, taps, pixels, channels, features, groups }) {
    const share = channels / groups; // channels of x that an output reads
    const each = features / groups; // outputs of a group

    // Where x, kernel and y lie for each example, place and tap inside the image.
    function walk(examples, visit) {
      for (let n = 0; n < examples; n++)
        for (let place = 0; place < places; place++)
          for (let tap = 0; tap < taps; tap++) {
            const at = pixel[place * taps + tap];
            if (at >= 0) visit((n * pixels + at) * channels, tap * share * features, (n * places + place) * features);
          }
    }

    function products(x, kernel) {
      const examples = x.length / (pixels * channels);
      const y = new Float64Array(examples * places * features);
      walk(examples, (ofX, ofKernel, ofY) => {
        for (let g = 0; g < groups; g++)
          for (let c = 0; c < share; c++) {
            const value = x[ofX + g * share + c];
            for (let f = g * each; f < (g + 1) * each; f++) y[ofY + f] += value * kernel[ofKernel + c * features + f];
          }
      });
      return y;
    }

    function withBias(y, bias) {
      if (bias) for (let i = 0; i < y.length; i++) y[i] += bias[i % features];
      return y;
    }

    function pull({ x, kernel, bias }, bar) {
      const bars = { x: new Float64Array(x.length), kernel: new Float64Array(kernel.length) };
      walk(x.length / (pixels * channels), (ofX, ofKernel, ofY) => {
        for (let g = 0; g < groups; g++)
          for (let c = 0; c < share; c++) {
            const value = x[ofX + g * share + c];
            let sum = 0;
            for (let f = g * each; f < (g + 1) * each; f++) {
              sum += bar[ofY + f] * kernel[ofKernel + c * features + f];
              bars.kernel[ofKernel + c * features + f] += bar[ofY + f] * value;
            }
            bars.x[ofX + g * share + c] += sum;
          }
      });
      if (bias) {
        bars.bias = new Float64Array(features);
        for (let i = 0; i < bar.length; i++) bars.bias[i % features] += bar[i];
      }
      return bars;
    }

    function push({ x, kernel }, of, dot) {
      if (of === "x") return products(dot, kernel);
      if (of === "kernel") return products(x, dot);
      return withBias(new Float64Array((x.length / (pixels * channels)) * places * features), dot);
    }

    // dy_output / dW_entry is an entry of x, dy_output / dx_entry one of the kernel.
    function factorOf(of, entry, output) {
      const feature = output % features;
      const spot = Math.floor(output / features); // example and place
      const place = spot % places;
      const example = Math.floor(spot / places);
      const group = Math.floor(feature / each);
      if (of === "kernel") {
        const [tap, channel, own] = coordinates(entry, [taps, share, features]);
        const at = pixel[place * taps + tap];
        if (own !== feature || at < 0) return null;
        return { name: "x", flat: (example * pixels + at) * channels + group * share + channel };
      }
      if (of !== "x") return null;
      const channel = entry % channels;
      const [of_example, at] = [Math.floor(entry / (pixels * channels)), Math.floor(entry / channels) % pixels];
      const tap = pixel.subarray(place * taps, (place + 1) * taps).indexOf(at);
      if (of_example !== example || tap < 0 || Math.floor(channel / share) !== group) return null;
      return { name: "kernel", flat: (tap * share + (channel % share)) * features + feature };
    }

    return { forward: ({ x, kernel, bias }) => withBias(products(x, kernel), bias), pull, push, factorOf };
  }

  // A layer that is a list of products: y_output = sum of factor x_entry (+ constant). So is every layer's derivative.

  function sparse(lists, constant) {
    function push(values, of, dot) {
      const { entry, output, factor } = lists[of];
      const y = new Float64Array(values.y.length);
      for (let k = 0; k < entry.length; k++) y[output[k]] += factor[k] * dot[entry[k]];
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

  // Poolings: sums of entries of x, each with a factor, which may depend on x.

  function pooling(channels, table, factors) {
    // visit(entry of x, entry of y, factor) for each that y reads
    function walk(x, visit) {
      const { pixel, places, taps, pixels } = table;
      for (let n = 0; n < x.length / (pixels * channels); n++)
        for (let place = 0; place < places; place++)
          for (let c = 0; c < channels; c++) {
            const entries = [];
            for (let tap = 0; tap < taps; tap++) {
              const at = pixel[place * taps + tap];
              if (at >= 0) entries.push((n * pixels + at) * channels + c);
            }
            factors(x, entries, place).forEach(([entry, factor]) => visit(entry, (n * places + place) * channels + c, factor));
          }
    }
    function pooled(x, dot) {
      const y = new Float64Array((x.length / table.pixels) * table.places);
      walk(x, (entry, output, factor) => {
        y[output] += factor * dot[entry];
      });
      return y;
    }
    function pull({ x }, bar) {
      const bars = { x: new Float64Array(x.length) };
      walk(x, (entry, output, factor) => {
        bars.x[entry] += factor * bar[output];
      });
      return bars;
    }
    return { forward: ({ x }) => pooled(x, x), push: ({ x }, of, dot) => pooled(x, dot), pull, factorOf: () => null };
  }

  // The largest entry alone: the first where several are, or the first NaN.
  function largest(x, entries) {
    let best = entries[0];
    for (const entry of entries) if (!(x[entry] <= x[best]) && !Number.isNaN(x[best])) best = entry;
    return [[best, 1]];
  }

  // Entry by entry: y = value(z), and dy / dz = slope(z).

  const logistic = (z) => (z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z)));
  const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
  const bell = (z) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);

  // P(N(0, 1) <= z): a power series near 0, a continued fraction for the rest beyond it.
  function normalShare(z) {
    const far = Math.abs(z);
    if (far < 3) {
      let term = z;
      let sum = z;
      for (let k = 1; Math.abs(term) > 1e-17 * Math.abs(sum); k++) {
        term *= (z * z) / (2 * k + 1);
        sum += term;
      }
      return 0.5 + bell(z) * sum;
    }
    let fraction = far;
    for (let k = 60; k > 0; k--) fraction = far + k / fraction;
    const beyond = bell(z) / fraction;
    return z > 0 ? 1 - beyond : beyond;
  }

  const CUBIC = 0.044715;
  const cubic = (z) => Math.sqrt(8 / Math.PI) * (z + CUBIC * z ** 3);

  const ACTIVATIONS = {
    identity: () => ({ value: (z) => z, slope: () => 1 }),
    relu: () => ({ value: (z) => (z <= 0 ? 0 : z), slope: (z) => (z <= 0 ? 0 : 1) }),
    leaky_relu: ({ slope }) => ({ value: (z) => (z > 0 ? z : slope * z), slope: (z) => (z > 0 ? 1 : slope) }),
    sigmoid: () => ({ value: logistic, slope: (z) => logistic(z) * logistic(-z) }),
    tanh: () => ({ value: Math.tanh, slope: (z) => (1 - Math.tanh(z)) * (1 + Math.tanh(z)) }),
    softplus: () => ({ value: softplus, slope: logistic }),
    silu: () => ({ value: (z) => z * logistic(z), slope: (z) => logistic(z) * (1 + z * logistic(-z)) }),
    gelu: ({ approximate }) =>
      approximate
        ? {
            value: (z) => z * logistic(cubic(z)),
            slope: (z) => {
              const gate = logistic(cubic(z));
              return gate * (1 + z * logistic(-cubic(z)) * Math.sqrt(8 / Math.PI) * (1 + 3 * CUBIC * z * z));
            },
          }
        : { value: (z) => z * normalShare(z), slope: (z) => normalShare(z) + z * bell(z) },
    elu: ({ alpha }) => ({ value: (z) => (z > 0 ? z : alpha * Math.expm1(z)), slope: (z) => (z > 0 ? 1 : alpha * Math.exp(z)) }),
  };

  function entrywise({ value, slope }) {
    const sloped = (x, bar) => bar.map((each, i) => each * slope(x[i]));
    return {
      forward: ({ x }) => x.map(value),
      push: ({ x }, of, dot) => sloped(x, dot),
      pull: ({ x }, bar) => ({ x: sloped(x, bar) }),
      factorOf: () => null,
    };
  }

  // Softmax, along an axis of `size` entries that lie `after` apart.

  function alongAxis(array, size, after, run) {
    const result = new Float64Array(array.length);
    for (let start = 0; start < array.length; start += size * after)
      for (let inner = 0; inner < after; inner++) {
        const at = (k) => start + k * after + inner;
        run(at, (k, value) => {
          result[at(k)] = value;
        });
      }
    return result;
  }
  const summed = (count, term) => {
    let sum = 0;
    for (let k = 0; k < count; k++) sum += term(k);
    return sum;
  };

  function logProbabilities(z, size, after) {
    return alongAxis(z, size, after, (at, give) => {
      let most = -Infinity;
      for (let k = 0; k < size; k++) most = Math.max(most, z[at(k)]);
      const norm = most + Math.log(summed(size, (k) => Math.exp(z[at(k)] - most)));
      for (let k = 0; k < size; k++) give(k, z[at(k)] - norm);
    });
  }
  const probabilities = (z, size, after) => logProbabilities(z, size, after).map(Math.exp);

  function softmaxes({ kind, size, after }) {
    // Its derivative along `dot`: p (dot - sum p dot), and its transpose, which is the same.
    function centred(x, dot) {
      const p = probabilities(x, size, after);
      return alongAxis(dot, size, after, (at, give) => {
        const mean = summed(size, (k) => p[at(k)] * dot[at(k)]);
        for (let k = 0; k < size; k++) give(k, p[at(k)] * (dot[at(k)] - mean));
      });
    }
    function centredLogs(x, dot) {
      const p = probabilities(x, size, after);
      return alongAxis(dot, size, after, (at, give) => {
        const mean = summed(size, (k) => p[at(k)] * dot[at(k)]);
        for (let k = 0; k < size; k++) give(k, dot[at(k)] - mean);
      });
    }
    function pulledLogs(x, bar) {
      const p = probabilities(x, size, after);
      return alongAxis(bar, size, after, (at, give) => {
        const total = summed(size, (k) => bar[at(k)]);
        for (let k = 0; k < size; k++) give(k, bar[at(k)] - p[at(k)] * total);
      });
    }
    const logs = kind === "log_softmax";
    return {
      forward: ({ x }) => (logs ? logProbabilities : probabilities)(x, size, after),
      push: ({ x }, of, dot) => (logs ? centredLogs : centred)(x, dot),
      pull: ({ x }, bar) => ({ x: (logs ? pulledLogs : centred)(x, bar) }),
      factorOf: () => null,
    };
  }

  // Losses: one number for each row of outputs. `terms` gives the loss of a row, and its slope by each of its entries.

  function rowLoss(size, terms) {
    const rows = (outputs, labels, visit) => {
      for (let n = 0; n < outputs.length / size; n++) visit(n, terms(outputs.subarray(n * size, (n + 1) * size), labels, n));
    };
    function forward({ outputs, labels }) {
      const losses = new Float64Array(outputs.length / size);
      rows(outputs, labels, (n, { loss }) => {
        losses[n] = loss;
      });
      return losses;
    }
    function pull({ outputs, labels }, bar) {
      const bars = { outputs: new Float64Array(outputs.length) };
      rows(outputs, labels, (n, { slope }) => slope.forEach((each, k) => (bars.outputs[n * size + k] = bar[n] * each)));
      return bars;
    }
    function push({ outputs, labels }, of, dot) {
      const losses = new Float64Array(outputs.length / size);
      rows(outputs, labels, (n, { slope }) => {
        losses[n] = summed(size, (k) => slope[k] * dot[n * size + k]);
      });
      return losses;
    }
    return { forward, pull, push, factorOf: () => null };
  }

  // The weight of each class in the loss: integer labels are smoothed, weighed and perhaps ignored, as in fnnet/rules/labels.py.
  function targetsOf({ size, integers, smoothing, weights, ignored }, labels, n) {
    const isIgnored = integers && labels[n] === ignored;
    return Float64Array.from({ length: size }, (_, c) => {
      const share = integers ? Number(labels[n] === c) : labels[n * size + c];
      return isIgnored ? 0 : (weights ? weights[c] : 1) * ((1 - smoothing) * share + smoothing / size);
    });
  }

  const LOSSES = {
    softmax_cross_entropy: (engine) => (row, labels, n) => {
      const targets = targetsOf(engine, labels, n);
      const q = logProbabilities(row, engine.size, 1);
      const total = summed(engine.size, (c) => targets[c]);
      const loss = -summed(engine.size, (c) => (targets[c] ? targets[c] * q[c] : 0));
      return { loss, slope: q.map((each, c) => total * Math.exp(each) - targets[c]) };
    },
    squared_error: ({ size }) => (row, labels, n) => {
      const slope = row.map((each, k) => each - labels[n * size + k]);
      return { loss: summed(size, (k) => slope[k] ** 2) / 2, slope };
    },
    sigmoid_binary_cross_entropy: ({ size }) => (row, labels, n) => {
      const y = labels.subarray(n * size, (n + 1) * size);
      const loss = summed(size, (k) => y[k] * softplus(-row[k]) + (1 - y[k]) * softplus(row[k]));
      return { loss, slope: row.map((each, k) => logistic(each) - y[k]) };
    },
  };

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

  function made({ engine, jacobians }) {
    if (!engine && !jacobians) return null;
    if (!engine) return sparse(decodedLists(jacobians));
    const { kind } = engine;
    if (kind === "dense") {
      const window = { pixel: Int32Array.of(0), places: 1, taps: 1, pixels: 1 };
      return linear({ ...window, channels: engine.inputs, features: engine.features, groups: 1 });
    }
    if (kind === "conv") return linear({ ...windowTable(engine), ...engine });
    if (kind === "max_pool") return pooling(engine.channels, windowTable(engine), largest);
    if (kind === "avg_pool") {
      const mean = (x, entries, place) => entries.map((entry) => [entry, 1 / engine.divisors[place]]);
      return pooling(engine.channels, windowTable(engine), mean);
    }
    if (kind === "affine") return sparse(decodedLists(engine.lists), Float64Array.from(decode(engine.constant)));
    if (kind.endsWith("softmax")) return softmaxes(engine);
    if (kind in LOSSES) return rowLoss(engine.size, LOSSES[kind](engine));
    return entrywise(ACTIVATIONS[kind](engine));
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
