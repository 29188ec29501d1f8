// Layers that keep the shape of x, computed in the page: activations, and softmax along an axis. See engine.js.

const { entryEngines, logistic, softplus, logProbabilities } = (() => {
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
      push: ({ x }, of, dot) => sloped(x, dot).map((each, i) => (dot[i] ? each : 0)), // what does not move meets no NaN
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
        const mean = summed(size, (k) => (dot[at(k)] ? p[at(k)] * dot[at(k)] : 0));
        for (let k = 0; k < size; k++) if (dot[at(k)] !== mean) give(k, p[at(k)] * (dot[at(k)] - mean));
      });
    }
    function centredLogs(x, dot) {
      const p = probabilities(x, size, after);
      return alongAxis(dot, size, after, (at, give) => {
        const mean = summed(size, (k) => (dot[at(k)] ? p[at(k)] * dot[at(k)] : 0));
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

  const activations = Object.entries(ACTIVATIONS).map(([kind, make]) => [kind, (engine) => entrywise(make(engine))]);
  const entryEngines = { ...Object.fromEntries(activations), softmax: softmaxes, log_softmax: softmaxes };
  return { entryEngines, logistic, softplus, logProbabilities };
})();
