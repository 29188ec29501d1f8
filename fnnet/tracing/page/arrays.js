// What the other scripts share: the page's data, its elements, its arrays, and numbers as words.
// `everything` is what fnnet/tracing/page/webpage.py wrote; nothing else is read.
const everything = JSON.parse(document.getElementById("data").textContent);
const moments = [...everything.moments]; // of a training, in order
moments.splice(everything.place, 0, everything); // the trace itself among them
let data = everything; // the moment shown
const $ = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// Arrays, decoded when they are first needed.

const TYPES = { f64: Float64Array, f32: Float32Array, i32: Int32Array, i16: Int16Array, i8: Int8Array, u8: Uint8Array };
const decoded = new Map();

function decode(key) {
  if (!decoded.has(key)) {
    const { kind, base64 } = everything.arrays[key];
    const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
    decoded.set(key, new TYPES[kind](bytes.buffer));
  }
  return decoded.get(key);
}

// The entries that the page has of a tensor, row-major: those of the trace, or `now`, which the live mode sets.
const valuesOf = (tensor) => tensor.now || decode(tensor.array);

// Numbers that describe an array: Python's, of the whole array, or those of the live values.
function measuresOf(tensor) {
  if (!tensor.now) return tensor;
  const found = { low: Infinity, high: -Infinity, zeros: 0, nans: 0, infinities: 0 };
  let squares = 0;
  let finite = 0;
  for (const value of tensor.now) {
    if (value === 0) found.zeros += 1;
    if (Number.isNaN(value)) found.nans += 1;
    else if (!Number.isFinite(value)) found.infinities += 1;
    else {
      found.low = Math.min(found.low, value);
      found.high = Math.max(found.high, value);
      squares += value * value;
      finite += 1;
    }
  }
  if (!finite) found.low = found.high = "NaN";
  return { ...found, zeros: tensor.now.length ? found.zeros / tensor.now.length : 0, rms: finite ? Math.sqrt(squares / finite) : 0 };
}

// Numbers as words: the shortest decimal that is the same number in its dtype; measures with four digits.

function exact(value, dtype) {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "infinite" : "-infinite";
  if (dtype === "float64" || Number.isInteger(value)) return String(value);
  const single = Math.fround(value);
  for (let digits = 1; digits <= 9; digits++) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === single) return String(Number(text));
  }
  return String(value);
}
const about = (value, digits = 4) =>
  typeof value !== "number" ? String(value) : value === 0 ? "0" : String(Number(value.toPrecision(digits)));
const percent = (share) => `${Number((100 * share).toPrecision(3))} %`;
const sizes = (shape) => (shape.length ? shape.join(" × ") : "one number");
const entryName = (name, index) => `${name}${index.length ? `[${index.join(", ")}]` : ""}`;
