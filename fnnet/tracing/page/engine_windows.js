// Layers with windows, computed in the page: dense layers, convolutions and poolings. See engine.js.

const windowEngines = (() => {
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

    // Along a direction, `moving`, what does not move has no part, even where it meets NaN.
    function products(x, kernel, moving) {
      const examples = x.length / (pixels * channels);
      const y = new Float64Array(examples * places * features);
      walk(examples, (ofX, ofKernel, ofY) => {
        for (let g = 0; g < groups; g++)
          for (let c = 0; c < share; c++) {
            const value = x[ofX + g * share + c];
            if (moving === "x" && value === 0) continue;
            for (let f = g * each; f < (g + 1) * each; f++) {
              const weight = kernel[ofKernel + c * features + f];
              if (moving !== "kernel" || weight !== 0) y[ofY + f] += value * weight;
            }
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
      if (of === "x") return products(dot, kernel, "x");
      if (of === "kernel") return products(x, dot, "kernel");
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

  function dense({ inputs, features }) {
    return linear({ pixel: Int32Array.of(0), places: 1, taps: 1, pixels: 1, channels: inputs, features, groups: 1 });
  }

  function meanPooling(engine) {
    const mean = (x, entries, place) => entries.map((entry) => [entry, 1 / engine.divisors[place]]);
    return pooling(engine.channels, windowTable(engine), mean);
  }

  return {
    dense,
    conv: (engine) => linear({ ...windowTable(engine), ...engine }),
    max_pool: (engine) => pooling(engine.channels, windowTable(engine), largest),
    avg_pool: meanPooling,
  };
})();
