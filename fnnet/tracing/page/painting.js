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
// From 0, black, to 1, white, as WCAG has it.
function luminance(channels) {
  const [red, green, blue] = channels.map((c) => (c <= 10 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
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

// The small picture of the strip: a number, the first tokens, bars, or the first tiles.

function thumbnail(canvas, tensor) {
  const [width, height] = [canvas.clientWidth || 84, canvas.clientHeight || 56];
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const context = canvas.getContext("2d");
  context.scale(devicePixelRatio, devicePixelRatio);
  const places = placesOf(tensor);
  const valueAt = (at) => Number(valuesOf(tensor)[places.flat(at)]);
  if (places.empty) return;
  if (tensor.draw === "number") smallText(context, about(valueAt({ r: 0, c: 0, y: 0, x: 0 }), 3), width, height);
  else if (tensor.draw === "tokens") smallText(context, firstTokens(tensor, places), width, height);
  else if (tensor.draw === "bars") smallBars(context, measuresOf(tensor), places, valueAt, width, height);
  else smallTiles(context, mostOf(tensor), places, valueAt, width, height);
}

function firstTokens(tensor, { count }) {
  const shown = Array.from(valuesOf(tensor).slice(0, Math.min(count.c, 4)));
  return shown.join(" ") + (count.c > 4 ? " …" : "");
}

function smallText(context, text, width, height) {
  context.fillStyle = isDark() ? "#e8eaee" : "#16181d";
  context.font = "600 15px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, width / 2, height / 2, width);
}

function smallBars(context, { low, high }, { count }, valueAt, width, height) {
  const [least, most] = [Math.min(0, low) || 0, Math.max(0, high) || 0]; // 0 where no entry is finite
  const y = (value) => (most > least ? ((most - clamp(value, least, most)) / (most - least)) * (height - 1) : height / 2);
  const bar = Math.min(width / count.x, 20);
  const start = (width - bar * count.x) / 2;
  for (let x = 0; x < count.x; x++) {
    const value = valueAt({ r: 0, c: 0, y: 0, x });
    const [left, right] = [snap(start + x * bar), snap(start + (x + 1) * bar)];
    const wide = right - left - (count.x <= 20 ? 1 : 0);
    context.fillStyle = colourText(Math.sign(value) || value, 1);
    context.fillRect(left, Math.min(y(value), y(0)), Math.max(1 / devicePixelRatio, wide), Math.max(1, Math.abs(y(value) - y(0))));
  }
}

/** The first tiles, as many as can be told apart. */
function smallTiles(context, most, { count }, valueAt, width, height) {
  const fits = [12, 9, 6, 4, 3, 2, 1].map((tiles) => tilesIn(Math.min(tiles, count.c), count, width, height));
  const { tiles, columns, rows, cell } = fits.find((found) => found.cell >= 1) || fits[fits.length - 1];
  const [w, h] = cell >= 1 ? [cell, cell] : [Math.min(14, width / count.x), Math.min(14, height / count.y)];
  const [wide, high] = [count.x * w + 1, count.y * h + 1]; // of a tile, with a gap of a pixel
  const [left, top] = [(width - columns * wide + 1) / 2, (height - rows * high + 1) / 2];
  for (let c = 0; c < tiles; c++)
    for (let y = 0; y < count.y; y++)
      for (let x = 0; x < count.x; x++) {
        const [from, above] = [left + (c % columns) * wide + x * w, top + Math.floor(c / columns) * high + y * h];
        context.fillStyle = colourText(valueAt({ r: 0, c, y, x }), most);
        context.fillRect(snap(from), snap(above), snap(from + w) - snap(from), snap(above + h) - snap(above));
      }
}

/** So many tiles in the columns in which their cells are largest. */
function tilesIn(tiles, count, width, height) {
  let best = { cell: 0 };
  for (let columns = 1; columns <= tiles; columns++) {
    const rows = Math.ceil(tiles / columns);
    const cell = Math.min((width - columns + 1) / (columns * count.x), (height - rows + 1) / (rows * count.y), 14);
    if (cell > best.cell) best = { tiles, columns, rows, cell };
  }
  return best;
}
