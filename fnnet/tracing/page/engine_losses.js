// Losses, computed in the page: one number for each row of outputs. See engine.js.

const lossEngines = (() => {
  // `terms` gives the loss of a row, and its slope by each of its entries.

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
        losses[n] = summed(size, (k) => (dot[n * size + k] ? slope[k] * dot[n * size + k] : 0));
      });
      return losses;
    }
    return { forward, pull, push, factorOf: () => null };
  }

  // The weight of each class in the loss. Integer labels are smoothed, weighed and perhaps ignored: fnnet/rules/labels.py.
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

  const losses = Object.entries(LOSSES).map(([kind, terms]) => [kind, (engine) => rowLoss(engine.size, terms(engine))]);
  return Object.fromEntries(losses);
})();
