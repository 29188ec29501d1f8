// One entry followed to the loss: what one unit more of it changes in each layer's output, its tangent. The tangent
// times what comes back, summed, is the same number at every layer on the way: the entry's gradient.

let following = null; // { place, tangents: for each step an array or null }

/** The weight or the entry of the example that can be followed from a place; null for others. */
function followable(place) {
  if (!data.graph || !data.whole || !data.steps.every((step) => step.nested || step.engine || step.jacobians)) return null;
  const step = data.steps[place.step];
  if (step.name === "loss") return null;
  if (place.role === "leaf" || (place.role === "cotangent" && place.of !== "x")) return { ...place, role: "leaf" };
  const isExample = step.source < 0 && !step.nested && (place.role === "inputs" || place.role === "cotangent");
  return isExample && data.x.dtype.startsWith("float") ? { ...place, role: "inputs", of: "" } : null;
}

function follow(place) {
  play(false);
  const of = place.role === "leaf" ? place.of : "x";
  const flat = flatOf(tensorAt(place).shape, place.index);
  // The example's entry goes wherever the first layer hands it: a block of several paths has it on each.
  const outermost = data.steps.findIndex((step) => step.name === data.steps[place.step].name.split("/")[0]);
  following = { place, tangents: tangents(currentState(), place.role === "leaf" ? place.step : outermost, of, flat) };
  refreshStrip();
  showFollowing();
}

/** The way of the followed entry, whichever layer is looked at. */
function showFollowing() {
  $("numbers").replaceChildren(...path());
  $("numbers").closest("aside").scrollTop = 0;
  lightTangent();
}

function endFollowing() {
  if (!following) return;
  following = null;
  refreshStrip();
}

/** The way of the followed entry, a row a layer. */
function path() {
  const { place, tangents } = following;
  const body = make("tbody");
  data.steps.forEach((step, i) => {
    const tangent = tangents[i];
    if (!tangent) return;
    const bar = valuesOf(step.incoming);
    const sum = tangent.reduce((all, value, k) => all + value * Number(bar[k]), 0);
    const largest = largestOf(tangent);
    const where = entryName(step.value.name, indexOf(step.value.shape, largest));
    const button = make("button", { type: "button", className: "link" }, step.name);
    button.addEventListener("click", () => show(i));
    const row = make("tr", {}, make("td", {}, button), make("td", {}, `${nonzero(tangent).length} of ${tangent.length}`), make("td", {}, `${about(tangent[largest])} at ${where}`), make("td", {}, about(sum)));
    if (i === current) row.className = "here";
    body.append(row);
  });
  const name = `${data.steps[place.step].name}: ${nameOf(place)}`;
  const close = make("button", { type: "button", id: "follow-end" }, "Back to the products");
  close.addEventListener("click", () => goTo(place));
  return [
    make("p", { id: "chain-text" }, make("b", {}, `${name}, followed to the loss`)),
    make("p", {}, "One unit more of it changes each layer's output by this, its ", explained("tangent"), "; the strip above shows it, and its entries are lit in the layer's y. Times y_bar, and summed, that is its gradient, the same number at every layer; inside a block of several paths it is the part of one path."),
    make("div", { className: "scroll" }, make("table", { id: "path" }, head("layer", "reaches", "largest change", "times y_bar"), body)),
    make("p", {}, close),
  ];
}

/** Lights the moved entries of the chosen layer's output, and the followed entry itself. */
function lightTangent() {
  const tangent = following.tangents[current];
  figures.forEach((figure) => figure.light([]));
  const start = figures.get(`${following.place.role} ${following.place.of}`);
  if (following.place.step === current && start) start.light([{ index: following.place.index, weight: 1 }]);
  const output = figures.get("value ");
  if (!tangent || !output) return;
  const moved = nonzero(tangent).sort((a, b) => Math.abs(tangent[b]) - Math.abs(tangent[a])).slice(0, LIT);
  const most = moved.length ? Math.abs(tangent[moved[0]]) : 1;
  const shape = data.steps[current].value.shape;
  output.light(moved.map((flat) => ({ index: indexOf(shape, flat), weight: tangent[flat] / most })));
}
