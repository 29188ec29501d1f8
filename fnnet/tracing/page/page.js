// The page of one trace.

// The network, left to right.

function drawNetwork() {
  data.steps.forEach((step, number) => {
    const button = make("button", { type: "button", tabIndex: number ? -1 : 0 });
    button.dataset.layer = step.name;
    if (data.problem && data.problem.layer === step.name) button.classList.add("trouble");
    const value = make("canvas", { ariaHidden: "true" });
    const gradient = make("canvas", { ariaHidden: "true" });
    const name = make("span", { className: "name" }, step.name.split("/").pop());
    const arrows = make("span", { className: "visually" });
    button.append(name, make("small", {}, sizes(step.value.shape)), value, make("small", {}, "value"), gradient, make("small", {}, `gradient, rms ${about(step.incoming.rms)}`), arrows);
    button.addEventListener("click", () => show(number));
    button.addEventListener("keydown", (event) => {
      const to = { ArrowRight: number + 1, ArrowLeft: number - 1, Home: 0, End: data.steps.length - 1 }[event.key];
      if (to === undefined || !data.steps[to]) return;
      event.preventDefault();
      show(to);
      buttons[to].focus();
    });
    const item = make("li", {}, button);
    if (step.name.includes("/")) item.className = "inside";
    if (number + 1 < data.steps.length) item.append(make("span", { className: "arrows", ariaHidden: "true" }, "→", make("br"), "←"));
    $("network").append(item);
    buttons.push(button);
    thumbnails.push(() => {
      thumbnail(value, step.value);
      thumbnail(gradient, step.incoming);
    });
  });
}
const buttons = [];
const thumbnails = [];
let current = 0;
let figures = [];

// One layer.

function show(number) {
  current = number;
  const step = data.steps[number];
  buttons.forEach((button, i) => {
    button.setAttribute("aria-current", String(i === number));
    button.tabIndex = i === number ? 0 : -1;
  });
  buttons[number].scrollIntoView({ block: "nearest", inline: "nearest" });
  $("layer-name").textContent = step.name;
  $("layer-text").textContent = step.text;
  $("equations").replaceChildren(...step.pages.map(equations));
  const forward = [picture(step.inputs, { title: `${step.inputs.name}, the input` })];
  const parameters = step.outgoing.filter((one) => one.of !== "x" && one.of !== "outputs");
  forward.push(...parameters.map((one) => picture(one.value, { title: one.of })), picture(step.value, { title: `${step.value.name}, the output` }));
  $("forward").replaceChildren(...forward);
  $("saved").replaceChildren(saved(step));
  const backward = [picture(step.incoming, { title: `${step.incoming.name}, coming in` })];
  const cotangents = step.outgoing.map((one) =>
    picture(one.cotangent, { title: `${one.cotangent.name}, going out`, onChoose: (index) => chain(step, one, index) }));
  const updates = step.outgoing.filter((one) => one.update).map((one) => picture(one.update, { title: one.update.name }));
  $("backward").replaceChildren(...backward, ...cotangents, ...updates);
  figures = [...forward, ...backward, ...cotangents, ...updates];
  $("checks").replaceChildren(checks(step));
  startChain(step, cotangents);
}

function equations(page) {
  const node = make("div", {}, make("p", {}, make("b", {}, page.rule), `: ${page.title}`));
  for (const one of page.equations) {
    const mathematics = make("div");
    mathematics.innerHTML = one.mathml; // made by fnnet/tracing/page/mathml.py, which escapes the page's words
    const code = one.code.length ? make("pre", {}, one.code.join("\n")) : make("span", { className: "note" }, one.remark);
    node.append(make("div", { className: "equation" }, make("span", { className: "note" }, one.side), mathematics, make("span", {}, `(${one.number})`), code));
  }
  if (page.forward || page.backward) {
    const code = [page.forward, page.backward].filter(Boolean).join("\n\n\n");
    node.append(make("details", {}, make("summary", {}, "The code"), make("pre", {}, code)));
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
  return make("table", {}, make("caption", {}, `Beside what is there anyway: ${step.savedBytes.toLocaleString("en")} bytes`), head("what", "shape", "dtype", "bytes", ""), body);
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
      const verdict = beside.wrong ? `wrong: it ${beside.looks} (${beside.wrong} entries)` : "agrees";
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
  const caption = make("caption", {}, "Each cotangent beside autodiff's, entry by entry, and beside finite differences along a random direction; the layer is judged alone, from its own incoming cotangent");
  const table = make("table", {}, caption, head("cotangent", "largest |a − b| / (|b| + rms b)", "autodiff", "slope", "finite differences", "", "update / weight"), body);
  return make("div", { className: "scroll" }, table);
}

// The chain of numbers behind one entry.

function startChain(step, cotangents) {
  const choices = step.outgoing.flatMap((one, i) => one.chains.map((found) => ({ one, found, picture: cotangents[i] })));
  if (!choices.length) {
    $("chain").replaceChildren(make("p", {}, "Its layers have the chains."));
    return;
  }
  const select = make("select", { id: "entry" });
  choices.forEach(({ one, found }, i) => {
    const index = found.index.length ? `[${found.index.join(", ")}]` : "";
    select.append(make("option", { value: String(i) }, `${one.cotangent.name}${index} = ${about(found.value)}`));
  });
  const first = step.outgoing.findIndex((one) => one.of !== "x" && one.chains.length);
  const start = Math.max(0, choices.findIndex(({ one }) => one === step.outgoing[first]));
  select.value = String(start);
  select.addEventListener("change", () => {
    const { found, picture } = choices[Number(select.value)];
    picture.choose(found.index);
  });
  const label = make("label", {}, "An entry, or click one in a picture above: ", select);
  $("chain").replaceChildren(label, make("div", { id: "chain-of", ariaLive: "polite" }));
  const { one, found } = choices[start];
  chain(step, one, found.index);
}

function chain(step, one, index) {
  const place = $("chain-of");
  if (!place) return;
  const name = `${one.cotangent.name}${index.length ? `[${index.join(", ")}]` : ""}`;
  const found = one.chains.find((each) => each.index.join() === index.join());
  if (!found) {
    place.replaceChildren(make("p", {}, `The page has the chains of the entries in the list. For ${name}, in Python: `, make("code", {}, `print(trace.explain("${step.name}", "${one.of}", (${index.join(", ")}${index.length === 1 ? "," : ""})))`)));
    return;
  }
  const dtype = one.cotangent.dtype;
  const body = make("tbody");
  let listed = 0;
  const bar = step.incoming.name;
  for (const term of found.terms) {
    const at = term.output.length ? `[${term.output.join(", ")}]` : "";
    const product = term.factor * term.incoming;
    listed += product;
    const cells = [term.name || `∂${step.value.name}${at} / ∂${one.of}[${index.join(", ")}]`, about(term.factor), `${bar}${at}`, about(term.incoming), about(product)];
    body.append(make("tr", {}, ...cells.map((cell, i) => make("td", { className: i === 2 ? "left" : "" }, cell))));
  }
  if (found.count > found.terms.length)
    body.append(make("tr", {}, make("td", {}, `the other ${found.count - found.terms.length} products`), make("td"), make("td"), make("td"), make("td", {}, about(found.total - listed))));
  body.append(make("tr", {}, make("th", { scope: "row" }, "sum"), make("td"), make("td"), make("td"), make("th", {}, about(found.total))));
  const products = found.count === 1 ? "one product" : `${found.count} products`;
  const text = make("p", {}, make("b", {}, `${name} = ${exact(typeof found.value === "number" ? found.value : NaN, dtype)}`), found.count ? `, the sum of ${products}:` : ": no path leads from this entry to the loss.");
  text.id = "chain-text";
  const table = make("table", {}, head("factor", "", "incoming", "", "product"), body);
  place.replaceChildren(text, ...(found.count ? [make("div", { className: "scroll" }, table)] : []));
}

// The whole.

function theme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").setAttribute("aria-pressed", String(name === "dark"));
  thumbnails.forEach((draw) => draw());
  figures.forEach((each) => each.refresh());
  const canvas = $("scale");
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    context.fillStyle = `rgb(${colour((2 * x) / (canvas.width - 1) - 1, 1).join()})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}

$("title").textContent = data.title;
const examples = data.batch === null ? "one example" : `${data.batch} examples`;
const after = data.lossAfter === null ? "" : `; after the optimiser's update ${about(data.lossAfter)}`;
$("summary").textContent = `Loss ${about(data.loss)} of ${examples}${after}.`;
$("problem").textContent = data.problem ? `First problem, going backwards: ${data.problem.sentence}` : "No problem found.";
$("problem").classList.toggle("wrong", Boolean(data.problem));
$("footer").textContent = `Made by fnnet.trace with JAX ${data.jax}. ` + (data.sameBits
  ? "Loss and gradient have, bit for bit, the values of jax.value_and_grad, which ran beside the traced run, both without jit."
  : "Loss or gradient differ in some bits from jax.value_and_grad, which ran beside the traced run.");
$("theme").addEventListener("click", () => theme(isDark() ? "light" : "dark"));
drawNetwork();
theme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
const troubled = data.problem ? data.steps.findIndex((step) => step.name === data.problem.layer) : -1;
show(Math.max(0, troubled));
document.body.dataset.ready = "true";
