// The pass as steps in time: forward through the layers, then backward. The position is in the address.
//
// With L layers, position p has computed the first p values; at p = L + b also the gradients that the last b layers
// hand on.

let position = 0;
let playing = null;
const TICK = 1100; // milliseconds a layer

const layers = () => data.steps.length;
const lastPosition = () => 2 * layers();

/** The layer that a position computes. */
const layerAt = (p) => (p <= layers() ? Math.max(0, p - 1) : 2 * layers() - p);

/** Whether an array of a layer is computed at the position. */
function isComputed(number, role) {
  const forward = Math.min(position, layers());
  const backward = position - layers(); // layers whose backward has run
  const behind = layers() - 1 - number; // layers whose backward runs before this one's
  if (role === "leaf") return true;
  if (role === "inputs") return inputReady(number, forward);
  if (role === "value" || role === "inside") return number < forward;
  if (role === "incoming") return backward >= behind;
  return backward > layers() - 1 - firstInside(number); // a container's, when its inner layers are done
}

function inputReady(number, forward) {
  const source = data.graph ? data.steps[number].source : number - 1;
  return source < forward;
}

function firstInside(number) {
  const { name, nested } = data.steps[number];
  return nested ? data.steps.findIndex((step) => step.name.startsWith(`${name}/`) || step.name === name) : number;
}

/** Goes to a position; the layer that it computes is shown. */
function goToPosition(p) {
  position = Math.max(0, Math.min(lastPosition(), p));
  endFollowing();
  show(layerAt(position));
  refreshPlayer();
  illustrate();
}

/** Chooses an entry that shows what the step does: the largest, of those whose products the page has. */
function illustrate() {
  const isForward = position <= layers();
  const found = tensorsOf(current).filter((one) => (isForward ? one.role === "value" : one.role === "cotangent"));
  const one = found.find(({ of }) => of !== "x" && !of.endsWith("bias")) || found[0]; // a kernel, before the input
  if (!position || !one) return;
  const at = (index) => goTo({ step: current, role: one.role, of: one.of, index });
  if (canCompute(data.steps[current])) return at(indexOf(one.tensor.shape, largestOf(valuesOf(one.tensor))));
  const outgoing = data.steps[current].outgoing.find((each) => each.of === one.of);
  if (!isForward && outgoing.chains.length) at(outgoing.chains[0].index);
}

function largestOf(values) {
  let largest = 0;
  values.forEach((value, i) => {
    if (Math.abs(value) > Math.abs(values[largest])) largest = i;
  });
  return largest;
}

function refreshPlayer() {
  const [done, all] = [position, layers()];
  $("position").max = lastPosition();
  $("position").value = position;
  $("back").disabled = $("first").disabled = done === 0;
  $("on").disabled = $("last").disabled = done === lastPosition();
  const name = data.steps[layerAt(position)].name;
  const said = done === 0 ? "The example comes in; nothing is computed yet." : done <= all ? `Forward, ${done} of ${all}: ${name} computes its value.` : `Backward, ${done - all} of ${all}: ${name} hands its gradients on.`;
  $("where").textContent = said;
  $("position").setAttribute("aria-valuetext", said);
  refreshStrip();
}

function play(on) {
  if (playing) clearInterval(playing);
  playing = null;
  if (on) {
    if (position === lastPosition()) goToPosition(0);
    playing = setInterval(() => {
      goToPosition(position + 1);
      if (position === lastPosition()) play(false);
    }, TICK);
  }
  $("play").textContent = on ? "❚❚ Pause" : "▶ Play";
  $("play").setAttribute("aria-pressed", String(on));
}

/** A step by hand ends the playing. */
function stepBy(by) {
  play(false);
  goToPosition(position + by);
}

const takesKeys = (node) => Boolean(node.closest("input, select, figure, pre, .scroll, #network"));

function keys(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " " && (event.target.closest("#network, figure") || !event.target.closest("button, summary, input, select, a, pre, .scroll, [role=button]"))) {
    event.preventDefault();
    play(!playing);
  } else if ((event.key === "ArrowRight" || event.key === "ArrowLeft") && !takesKeys(event.target)) {
    event.preventDefault();
    stepBy(event.key === "ArrowRight" ? 1 : -1);
  } else if (event.key === "Escape") {
    hideTip();
    if (following) goTo(following.place);
  }
}

// The address: #forward=conv_0 or #backward=conv_0, &layer= where another is looked at, &entry=, &epoch=.

/** "3" of "epoch 3"; another label as it is. */
const numberOfEpoch = ({ label }) => (/^epoch (\d+)/.exec(label) || ["", label])[1];

let writes = false; // not while the page is being opened

function writeAddress() {
  if (!writes || location.protocol === "about:") return; // a notebook's frame has no address of its own
  const name = position ? data.steps[layerAt(position)].name : "x";
  const parts = [`${position <= layers() ? "forward" : "backward"}=${name}`];
  if (current !== layerAt(position)) parts.push(`layer=${data.steps[current].name}`);
  if (chosen) parts.push(`entry=${nameOf(chosen).replaceAll(", ", ",")}`);
  if (moments.length > 1) parts.push(`epoch=${numberOfEpoch(data)}`);
  const address = `#${encodeURI(parts.join("&")).replaceAll("%5B", "[").replaceAll("%5D", "]")}`;
  try {
    history.replaceState(null, "", address);
  } catch {
    // a frame without a right to its address
  }
}

function readable(address) {
  try {
    return decodeURI(address);
  } catch {
    return ""; // no address of this page
  }
}

/** Reads the address; false where it says nothing. */
function readAddress() {
  const parts = readable(location.hash.slice(1)).split("&").map((part) => /^([^=]*)=(.*)$/.exec(part)).filter(Boolean);
  const said = new Map(parts.map(([, name, value]) => [name, value]));
  const way = ["forward", "backward"].find((each) => said.has(each));
  if (!way && !said.has("layer")) return false;
  if (said.has("epoch")) showMoment(moments.findIndex((one) => numberOfEpoch(one) === said.get("epoch")));
  const number = (name) => data.steps.findIndex((step) => step.name === name);
  const at = way ? number(said.get(way)) : -1;
  position = !way ? lastPosition() : way === "forward" ? at + 1 : at < 0 ? lastPosition() : 2 * layers() - at;
  const layer = said.has("layer") ? number(said.get("layer")) : -1;
  show(layer < 0 ? layerAt(position) : layer);
  refreshPlayer();
  if (said.has("epoch") && numberOfEpoch(data) !== said.get("epoch")) $("where").textContent = `The address names an epoch that is not here, ${said.get("epoch")}.`;
  const unknown = [way && said.get(way) !== "x" && said.get(way), said.get("layer")].find((name) => name && number(name) < 0);
  if (unknown) $("where").textContent = `The address names a layer that is not here, ${unknown}.`;
  const entry = /^(.+?)(?:\[([\d,\s]*)\])?$/.exec(said.get("entry") || "");
  const found = entry && tensorsOf(current).find((one) => one.tensor.name === entry[1]);
  const index = found && entry[2] ? entry[2].split(",").map(Number) : [];
  if (found && index.length === found.tensor.shape.length && index.every((i, axis) => i < found.tensor.shape[axis]))
    goTo({ step: current, role: found.role, of: found.of, index });
  else if (entry) $("where").textContent = `The address names an entry that is not here, ${said.get("entry")}.`;
  return true;
}
