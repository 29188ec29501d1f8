// What an array looks like: colours, cells, bars, and the small picture of the strip.

// Colours: zero is a grey that differs from the page; NaN is green, infinite is yellow.

const isDark = () => document.documentElement.dataset.theme === "dark";

function colour(value, most) {
  const zero = isDark() ? [44, 49, 58] : [236, 238, 242];
  if (Number.isNaN(value)) return [0, 170, 80];
  if (!Number.isFinite(value)) return [240, 200, 0];
  const end = value < 0 ? (isDark() ? [90, 160, 255] : [5, 80, 170]) : isDark() ? [255, 110, 80] : [180, 20, 30];
  const part = most > 0 ? Math.min(1, Math.abs(value) / most) ** 0.7 : 0;
  return zero.map((from, i) => Math.round(from + part * (end[i] - from)));
}
const colourText = (value, most) => `rgb(${colour(value, most).join()})`;

function mostOf(tensor) {
  const { low, high } = measuresOf(tensor);
  return Math.max(0, ...[low, high].filter((end) => typeof end === "number").map(Math.abs));
}

// Painting.

function paint(canvas, tensor, places, geometry) {
  const ratio = devicePixelRatio;
  canvas.width = Math.max(1, Math.round(geometry.width * ratio));
  canvas.height = Math.max(1, Math.round(geometry.height * ratio));
  canvas.style.width = `${geometry.width}px`;
  canvas.style.height = `${geometry.height}px`;
  if (places.empty) return;
  (geometry.reach ? paintBars : paintCells)(canvas, tensor, places, geometry);
}

// Pixel by pixel: a large array has as many cells as pixels, and one rectangle for each would be slow.
function paintCells(canvas, tensor, places, geometry) {
  const values = valuesOf(tensor);
  const most = tensor.draw === "tokens" ? 0 : mostOf(tensor); // a token is a name, not a size
  const image = new ImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  const pixel = (length) => Math.round(length * devicePixelRatio);
  for (const at of eachPlace(places.count)) {
    const [red, green, blue] = colour(Number(values[places.flat(at)]), most);
    const { left, top, width, height } = geometry.box(at);
    const right = Math.min(pixel(left + width), canvas.width);
    const bottom = Math.min(pixel(top + height), canvas.height);
    for (let y = pixel(top); y < bottom; y++)
      pixels.fill((255 << 24) | (blue << 16) | (green << 8) | red, y * canvas.width + pixel(left), y * canvas.width + right);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function paintBars(canvas, tensor, places, geometry) {
  const context = canvas.getContext("2d");
  context.scale(devicePixelRatio, devicePixelRatio);
  const values = valuesOf(tensor);
  const thin = 1 / devicePixelRatio;
  const between = geometry.bar >= 4 ? 1 : 0;
  context.fillStyle = isDark() ? "#9aa3b2" : "#5b6270";
  for (const line of geometry.lines) context.fillRect(0, snap(line.top + line.zero), geometry.width, thin);
  for (const at of eachPlace(places.count)) {
    const value = Number(values[places.flat(at)]);
    if (value === 0) continue;
    const { left, top } = geometry.box(at);
    const [from, to] = geometry.reach(value).map((y) => snap(top + y));
    context.fillStyle = colourText(Math.sign(value) || value, 1); // full strength, which the height tells; NaN keeps its colour
    context.fillRect(left, from, geometry.bar - between, Math.max(thin, to - from));
  }
}

function thumbnail(canvas, tensor) {
  const [width, height] = [canvas.clientWidth || 84, canvas.clientHeight || 56];
  const ratio = devicePixelRatio;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const places = placesOf(tensor);
  const { count } = places;
  const values = valuesOf(tensor);
  const value = (at) => Number(values[places.flat(at)]);
  if (places.empty) return;
  if (tensor.draw === "number") {
    context.fillStyle = isDark() ? "#e8eaee" : "#16181d";
    context.font = "600 15px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(about(Number(values[0]), 3), width / 2, height / 2, width);
  } else if (tensor.draw === "bars") {
    const { low, high } = measuresOf(tensor);
    const [least, most] = [Math.min(0, low) || 0, Math.max(0, high) || 0];
    const y = (v) => (most > least ? ((most - clamp(v, least, most)) / (most - least)) * (height - 1) : height / 2);
    for (let x = 0; x < count.x; x++) {
      const v = value({ r: 0, c: 0, y: 0, x });
      const [left, right] = [snap((x * width) / count.x), snap(((x + 1) * width) / count.x)];
      context.fillStyle = colourText(Math.sign(v) || v, 1);
      const wide = right - left - (count.x <= 20 ? 1 : 0);
      context.fillRect(left, Math.min(y(v), y(0)), Math.max(1 / ratio, wide), Math.max(1, Math.abs(y(v) - y(0))));
    }
  } else {
    // The first tile, or the tokens in one row.
    const [rows, columns] = tensor.draw === "tokens" ? [count.r, count.c] : [count.y, count.x];
    const cell = Math.min(width / columns, height / rows, 14);
    const [w, h] = cell >= 1 ? [cell, cell] : [Math.min(14, width / columns), Math.min(14, height / rows)];
    const [left, top] = [(width - columns * w) / 2, (height - rows * h) / 2];
    const most = tensor.draw === "tokens" ? 0 : mostOf(tensor);
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++) {
        const at = tensor.draw === "tokens" ? { r: i, c: j, y: 0, x: 0 } : { r: 0, c: 0, y: i, x: j };
        const [x, y] = [snap(left + j * w), snap(top + i * h)];
        context.fillStyle = colourText(value(at), most);
        context.fillRect(x, y, snap(left + (j + 1) * w) - x, snap(top + (i + 1) * h) - y);
      }
  }
}

