// The chosen layer: its arrays, each with its gradient below it, its equations, what it saves, and its checks.

let current = 0; // the number of the chosen layer
let figures = new Map(); // "role of" -> the picture of that array

/** Shows a layer. The pictures of what is not computed yet stay empty until the pass has come so far. */
function show(number) {
  current = number;
  const step = data.steps[number];
  markChosen(number);
  $("layer-name").textContent = step.name;
  $("layer-text").textContent = step.text;
  refreshProblem();
  $("ending").replaceChildren(...(step.name === "loss" ? ending() : []));
  figures = new Map();
  packing.disconnect();
  $("pictures").replaceChildren(...pairs(number));
  for (const box of $("pictures").children) packing.observe(box);
  packing.observe($("pictures"));
  $("equations").replaceChildren(...step.pages.map(equations));
  $("saved").replaceChildren(saved(step));
  chosen = null;
  showTouch(null);
  if (following) showFollowing();
  else $("numbers").replaceChildren(make("p", {}, hint(step)));
  refreshComputed();
  writeAddress();
}

function hint(step) {
  if (canCompute(step) || step.nested) return "Choose an entry of any picture: here are the products that it is the sum of, and the factors are lit where they stand.";
  return "Choose an entry of a picture. The products of the marked entries are here; for the others the page says how to get them.";
}

/** The arrays of a layer, a box for each: its value, and below it its gradient and its update. */
function pairs(number) {
  const step = data.steps[number];
  const found = tensorsOf(number);
  const by = (role, of) => found.find((one) => one.role === role && one.of === of);
  const input = step.outgoing.find((one) => one.of === "x" || one.of === "outputs");
  const boxes = [box(number, step.inputs.name === "outputs" ? "outputs: what the network gives" : "x: what comes in", [by("inputs", ""), input && by("cotangent", input.of)])];
  for (const one of found) if (one.role === "inside") boxes.push(box(number, one.tensor.name, [one]));
  const parameters = step.outgoing.filter((one) => one !== input).sort((a, b) => isBias(a) - isBias(b)); // a bias after its kernel
  for (const one of parameters)
    boxes.push(box(number, one.of, [by("leaf", one.of), by("cotangent", one.of), by("update", one.of)]));
  boxes.push(box(number, step.name === "loss" ? "loss: one number an example" : "y: what goes out", [by("value", ""), by("incoming", "")]));
  return boxes;
}

// The boxes are packed without white gaps: the grid's cells are small, and a box covers as many as it needs.

const CELL = 8; // pixels, as in page.css
const GAP = 16;

function pack() {
  const boxes = [...$("pictures").children];
  const columns = Math.floor($("pictures").clientWidth / CELL);
  boxes.forEach((box) => (box.style.gridArea = "auto / 1 / auto / -1")); // alone in a row, it has its own size
  const found = boxes.map((box) => [box.offsetHeight, box.offsetWidth]);
  boxes.forEach((box, i) => {
    const [rows, wide] = found[i].map((length) => Math.ceil((length + GAP) / CELL));
    box.style.gridArea = `span ${rows} / span ${Math.min(columns, wide)}`;
  });
}

const packing = new ResizeObserver(pack);

const isBias = (one) => one.of.endsWith("bias");

function box(number, title, members) {
  const inside = make("div", { className: "figures" });
  const node = make("section", { className: "pair" }, make("h3", {}, title), inside);
  node.setAttribute("aria-label", title);
  for (const member of members.filter(Boolean)) {
    const figure = pictureOf(number, member);
    figures.set(`${member.role} ${member.of}`, figure);
    inside.append(figure);
  }
  return node;
}

const SAID = { incoming: ", the gradient that comes in", cotangent: ", its gradient" };

function pictureOf(number, { role, of, tensor }) {
  const one = data.steps[number].outgoing.find((each) => each.of === of);
  const marks = role === "cotangent" && one ? one.chains.map((chain) => chain.index) : [];
  return picture(tensor, {
    title: tensor.name + (SAID[role] || ""),
    marks,
    onChoose: (index) => {
      play(false);
      choose({ step: number, role, of, index });
    },
  });
}

/** The problem, if it is the chosen layer's; and the checks, which are of the trace. */
function refreshProblem() {
  const step = data.steps[current];
  const trouble = data.problem && data.problem.layer === step.name;
  $("layer-problem").textContent = trouble ? beforeChanges() + data.problem.sentence : "";
  $("checks").replaceChildren(checks(step));
}

const beforeChanges = () => (touched() ? "Before your changes: " : "");

/** Which arrays the pass has computed so far. */
function refreshComputed() {
  figures.forEach((figure, key) => {
    const [role] = key.split(" ");
    figure.notYet(!isComputed(current, role));
  });
}

function equations(page) {
  const node = make("div", {}, make("p", {}, make("b", {}, page.rule), `: ${page.title}`));
  for (const one of page.equations) {
    const mathematics = make("div");
    mathematics.innerHTML = one.mathml; // made by fnnet/tracing/page/mathml.py, which escapes the page's words
    const code = one.code.length ? make("pre", { tabIndex: 0 }, one.code.join("\n")) : make("span", { className: "note" }, one.remark);
    node.append(make("div", { className: "equation" }, explained(one.side), mathematics, make("span", {}, `(${one.number})`), code));
  }
  if (page.forward || page.backward) {
    const code = [page.forward, page.backward].filter(Boolean).join("\n\n\n");
    node.append(make("details", {}, make("summary", {}, "The code"), make("pre", { tabIndex: 0 }, code)));
  }
  if (page.sources) node.append(make("p", { className: "note" }, page.sources));
  return node;
}

function saved(step) {
  if (!step.saved.length) return make("p", {}, "Nothing.");
  const body = make("tbody");
  for (const one of step.saved) {
    const cells = [one.what, sizes(one.tensor.shape), one.tensor.dtype, one.tensor.bytes.toLocaleString("en"), one.there ? "there anyway" : "kept"];
    body.append(make("tr", {}, ...cells.map((cell) => make("td", {}, cell))));
  }
  const caption = make("caption", {}, `Beside what is there anyway: ${step.savedBytes.toLocaleString("en")} bytes`);
  return make("div", { className: "scroll" }, make("table", {}, caption, head("what", "shape", "dtype", "bytes", ""), body));
}

function head(...names) {
  return make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name))));
}

function checks(step) {
  if (!step.outgoing.length) return make("p", {}, "It has no cotangent.");
  const body = make("tbody");
  for (const one of step.outgoing) {
    const beside = one.agreement;
    const slope = one.slope;
    const row = make("tr", {}, make("td", {}, one.cotangent.name));
    if (beside) {
      const where = `at [${beside.at.join(", ")}] ${about(beside.ours)} where autodiff has ${about(beside.theirs)}`;
      const kinks = beside.kinks ? `, but for ${beside.kinks} entries at a kink` : "";
      const verdict = beside.wrong ? `wrong: it ${beside.looks} (${beside.wrong} entries; ${where})` : `agrees${kinks}`;
      row.append(make("td", {}, about(beside.largest)), make("td", { className: "left" }, `${verdict}; ${beside.against}`));
    } else row.append(make("td", {}, "–"), make("td", { className: "left" }, "not compared"));
    if (slope) {
      row.append(make("td", {}, about(slope.ours)), make("td", {}, about(slope.theirs)));
      row.append(make("td", { className: "left" }, slope.wrong ? "wrong" : slope.conclusive ? `agrees, ${slope.entries} entries moved` : "inconclusive: a kink"));
    } else row.append(make("td", {}, "–"), make("td", {}, "–"), make("td", {}, ""));
    row.append(make("td", {}, one.ratio === null ? "–" : about(one.ratio)));
    if ((beside && beside.wrong) || (slope && slope.wrong)) row.className = "wrong";
    body.append(row);
  }
  const caption = make("caption", {}, `${beforeChanges()}Each cotangent beside autodiff's, entry by entry, and beside finite differences along a random direction; the layer is judged alone, from its own incoming cotangent`);
  const table = make("table", {}, caption, head("cotangent", "largest |a − b| / (|b| + rms b)", "autodiff", "slope", "finite differences", "", "update / weight"), body);
  return make("div", { className: "scroll", tabIndex: 0 }, table);
}
