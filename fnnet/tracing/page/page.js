// The page of one trace, or of several moments of a training. `data` is what fnnet/tracing/page/webpage.py wrote.

// Words with an explanation one hover, focus or tap away.

function explained(word, text = word) {
  const said = everything.glossary[word];
  if (!said) return make("span", {}, text);
  const node = make("span", { className: "term", tabIndex: 0, role: "button" }, text);
  node.setAttribute("aria-label", `${text}: ${said}`);
  const showIt = () => {
    const box = node.getBoundingClientRect();
    showTip(said, box.left, box.bottom - 12);
  };
  node.addEventListener("mouseenter", showIt);
  node.addEventListener("focus", showIt);
  node.addEventListener("click", showIt);
  node.addEventListener("mouseleave", hideTip);
  node.addEventListener("blur", hideTip);
  return node;
}

// The network, left to right: a button a layer, with its value and its gradient, and arrows between.

let buttons = [];
let thumbnails = [];

function drawNetwork() {
  [buttons, thumbnails] = [[], []];
  const items = data.steps.map((step, number) => {
    const button = make("button", { type: "button" });
    button.dataset.layer = step.name;
    if (data.problem && data.problem.layer === step.name) button.classList.add("trouble");
    const value = make("canvas", { ariaHidden: "true" });
    const gradient = make("canvas", { ariaHidden: "true" });
    const [valueScale, gradientScale] = [make("small"), make("small")];
    button.append(make("span", { className: "name", title: step.name }, step.name.split("/").pop()), make("small", {}, sizes(step.value.shape)), value, valueScale, gradient, gradientScale);
    button.addEventListener("click", () => {
      play(false);
      show(number);
    });
    button.addEventListener("keydown", (event) => {
      const to = { ArrowRight: number + 1, ArrowLeft: number - 1, Home: 0, End: data.steps.length - 1 }[event.key];
      if (!data.steps[to]) return;
      event.preventDefault();
      show(to);
      buttons[to].focus();
    });
    buttons.push(button);
    const arrows = make("span", { className: "arrows", ariaHidden: "true" }, make("i", { className: "go" }, "→"), make("i", { className: "return" }, "←"));
    thumbnails.push({ value, gradient, valueScale, gradientScale, arrows });
    const item = make("li", {}, arrows, button);
    if (step.name.includes("/")) item.className = "inside";
    return item;
  });
  $("network").replaceChildren(...items);
}

const scaleOf = (tensor) => `± ${about(mostOf(tensor), 3)}`;

function refreshStrip() {
  data.steps.forEach((step, number) => {
    const { value, gradient, valueScale, gradientScale, arrows } = thumbnails[number];
    const tangent = following && following.tangents[number];
    const there = isComputed(number, "value");
    const back = isComputed(number, "incoming");
    const shown = following ? tangent && { ...step.value, now: tangent } : step.value;
    drawThumbnail(value, there && shown);
    valueScale.textContent = !there ? "not computed" : following ? (tangent ? `changes ${scaleOf(shown)}` : "not reached") : `value ${scaleOf(step.value)}`;
    drawThumbnail(gradient, back && step.incoming);
    gradientScale.textContent = back ? `gradient ${scaleOf(step.incoming)}` : "not computed";
    arrows.querySelector(".go").classList.toggle("done", position > number);
    arrows.querySelector(".go").classList.toggle("now", position === number + 1);
    arrows.querySelector(".return").classList.toggle("done", isComputed(number, "cotangent"));
    arrows.querySelector(".return").classList.toggle("now", position === 2 * layers() - number);
  });
}

function drawThumbnail(canvas, tensor) {
  canvas.classList.toggle("not-yet", !tensor);
  if (tensor) thumbnail(canvas, tensor);
  else canvas.width = 0; // which clears it
}

function markChosen(number) {
  buttons.forEach((button, i) => button.setAttribute("aria-current", String(i === number)));
  const strip = $("network");
  const item = buttons[number].parentElement;
  if (item.offsetLeft < strip.scrollLeft || item.offsetLeft + item.offsetWidth > strip.scrollLeft + strip.clientWidth) strip.scrollLeft = item.offsetLeft - strip.clientWidth / 2;
}

function refreshScrollHint() {
  const strip = $("network");
  $("scrolls").hidden = strip.scrollWidth <= strip.clientWidth + 4;
  strip.classList.toggle("more", strip.scrollLeft + strip.clientWidth < strip.scrollWidth - 4);
}

// Moments of a training.

function drawMoments() {
  if (moments.length < 2) return;
  const slider = make("input", { type: "range", id: "epoch", min: 0, max: moments.length - 1, step: 1, value: everything.place });
  slider.setAttribute("aria-label", "The moment of the training");
  const said = make("output", { id: "epoch-said" });
  slider.addEventListener("input", () => showMoment(Number(slider.value)));
  $("moments").replaceChildren(make("label", { htmlFor: "epoch" }, "Training "), slider, said);
}

function showMoment(number) {
  if (number < 0 || number >= moments.length) return;
  if (touched()) undo();
  const [name, place] = [data.steps[current].name, chosen];
  data = moments[number];
  endFollowing();
  drawNetwork();
  refreshSummary();
  if ($("epoch")) {
    $("epoch").value = number;
    $("epoch").setAttribute("aria-valuetext", String(data.label));
    $("epoch-said").textContent = data.label;
  }
  show(Math.max(0, data.steps.findIndex((step) => step.name === name)));
  refreshPlayer();
  if (place) goTo(place);
  $("changes-section").hidden = !data.changes;
  if (data.changes) $("changes").replaceChildren(changesTable(data.changes));
}

function changesTable({ since, rows }) {
  const body = make("tbody");
  for (const row of rows) body.append(make("tr", {}, ...row.map((cell) => make("td", {}, typeof cell === "number" ? about(cell) : cell))));
  const caption = make("caption", {}, `Since ${since}: how far each array has moved, and whether its gradient still points the same way (cosine)`);
  return make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, caption, head("layer", "array", "rms then", "now", "moved", "gradient then", "now", "cosine"), body));
}

// The whole.

function refreshSummary() {
  const examples = data.batch === null || data.batch === 1 ? "one example" : `${data.batch} examples`;
  const after = data.lossAfter === null ? "" : `; after the optimiser's update ${about(data.lossAfter)}`;
  const now = touched() ? ` With your changes it is ${about(lossNow())}.` : "";
  $("summary").textContent = `Loss ${about(data.loss)} of ${examples}${after}.${now}`;
  const where = data.problem ? data.steps.findIndex((step) => step.name === data.problem.layer) : -1;
  $("problem").textContent = data.problem ? `First problem, going backwards: ${data.problem.sentence} ` : "No problem found.";
  $("problem").prepend(beforeChanges());
  if (where >= 0) $("problem").append(layerLink(where));
  $("problem").classList.toggle("wrong", Boolean(data.problem));
}

function layerLink(number) {
  const button = make("button", { type: "button", className: "link" }, `Show ${data.steps[number].name}`);
  button.addEventListener("click", () => show(number));
  return button;
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").textContent = name === "dark" ? "Light mode" : "Dark mode";
  figures.forEach((figure) => figure.refresh());
  refreshStrip();
}

function start() {
  $("title").textContent = everything.title;
  $("footer").textContent = `Made by fnnet.trace with JAX ${everything.jax}. ` + (everything.sameBits
    ? "Loss and gradient have, bit for bit, the values of jax.value_and_grad, which ran beside the traced run, both without jit."
    : "Loss or gradient differ in some bits from jax.value_and_grad, which ran beside the traced run.");
  document.querySelectorAll("[data-term]").forEach((node) => node.replaceWith(explained(node.dataset.term, node.textContent)));
  if (data.live) rate = rateOfOptimizer() || rate;
  drawNetwork();
  drawMoments();
  position = lastPosition();
  document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  if (moments.length > 1) showMoment(everything.place);
  if (!readAddress()) {
    const troubled = data.problem ? data.steps.findIndex((step) => step.name === data.problem.layer) : -1;
    show(Math.max(0, troubled));
    refreshPlayer();
  }
  refreshSummary();
  theme(document.documentElement.dataset.theme);
  writes = true;
  $("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  $("first").addEventListener("click", () => stepBy(-position));
  $("last").addEventListener("click", () => stepBy(lastPosition() - position));
  $("back").addEventListener("click", () => stepBy(-1));
  $("on").addEventListener("click", () => stepBy(1));
  $("play").addEventListener("click", () => play(!playing));
  $("position").addEventListener("input", (event) => stepBy(Number(event.target.value) - position));
  $("network").addEventListener("scroll", refreshScrollHint);
  addEventListener("resize", refreshScrollHint);
  addEventListener("hashchange", readAddress);
  document.addEventListener("keydown", keys);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address is the position's
    $("layer").focus();
    $("layer").scrollIntoView();
  });
  $("equations-part").open = innerWidth > 800; // a phone's page is short
  $("saved-part").open = $("checks-part").open = innerWidth > 800;
  refreshScrollHint();
  document.body.dataset.ready = "true";
}
start();
