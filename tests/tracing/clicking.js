// What tests/tracing/test_trace_page_answers.py runs in a page: every entry and every button, and what they answer.

// Every entry of every picture of a layer: those without an answer, and sums that are not the entry.
function entriesWithoutAnswer(number, most) {
  const found = [];
  show(number);
  for (const [key, figure] of [...figures]) {
    const [role, ...of] = key.split(" ");
    const { shape, places } = figure.tensor;
    const there = places.map((at, axis) => (typeof at === "number" ? [...Array(shape[axis]).keys()] : at));
    const count = there.reduce((product, at) => product * at.length, 1);
    for (let k = 0; k < count; k += Math.ceil(count / most)) {
      const index = indexOf(there.map((at) => at.length), k).map((i, axis) => there[axis][i]);
      $("numbers").replaceChildren();
      figure.choose(index);
      const place = { step: number, role, of: of.join(" "), index };
      const problem = problemOf(place);
      if (problem) found.push(`${data.steps[number].name} ${nameOf(place)}: ${problem}`);
    }
  }
  return found;
}

function problemOf(place) {
  const said = $("numbers").textContent;
  if (!said.includes(`${nameOf(place)} = `)) return `the panel says ${JSON.stringify(said.slice(0, 80))}`;
  const made = madeOf(place);
  if (!made.terms.length && !made.said && !made.more) return "no answer";
  if (made.more && data.whole) return "a small network's page refers to the command line";
  const { engine } = data.steps[place.step];
  if (place.role === "value" && engine && ["dense", "conv"].includes(engine.kind) && made.terms.length && !made.sum) return "a sum is not said to be one";
  if (!made.sum) return "";
  const value = numberAt(place);
  if (Number.isNaN(value)) return Number.isNaN(made.total) ? "" : `NaN is not the sum ${made.total}`;
  const scale = Math.abs(value) + made.terms.reduce((sum, one) => sum + Math.abs(one.product), 0);
  return Math.abs(made.total - value) <= 1e-5 * scale + 1e-7 ? "" : `${value} is not the sum ${made.total}`;
}

// Every button, summary and choice of the page as it stands: those after whose click nothing has changed.
function buttonsWithoutAnswer() {
  const found = [];
  const selector = "button, summary, [role=button], a[href]";
  const count = document.querySelectorAll(selector).length;
  for (let k = 0; k < count; k++) {
    const all = [...document.querySelectorAll(selector)];
    const node = all[k];
    if (!node || node.disabled || !node.checkVisibility()) continue;
    const watched = new MutationObserver(() => {});
    watched.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
    document.activeElement.blur();
    const text = node.textContent;
    const before = document.activeElement;
    node.click();
    if (!watched.takeRecords().length && document.activeElement === before) found.push(node.outerHTML.slice(0, 120));
    if (!leadsWhereItSays(node, text)) found.push(`${text} leads to ${$("chain-text").textContent}`);
    watched.disconnect();
  }
  play(false);
  return found;
}

// A layer's button shows the layer; a number of a product shows that entry.
function leadsWhereItSays(node, text) {
  if (node.dataset.layer) return $("layer-name").textContent === node.dataset.layer;
  const isEntry = node.className === "link" && /^[a-z_]+(\[[\d, ]+\])?$/.test(text) && data.steps.every((step) => step.name !== text);
  return !isEntry || $("chain-text").textContent.includes(`: ${text}`);
}

// Whatever reaches beyond the window, or has no name for a screen reader.
function cutOrNameless() {
  const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  const nameless = [...document.querySelectorAll("button, canvas, input, select, [role=button]")]
    .filter((node) => node.checkVisibility() && node.getAttribute("aria-hidden") !== "true")
    .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim() || (node.labels && node.labels.length)));
  return [...(wide ? ["wider than the window"] : []), ...nameless.map((node) => node.outerHTML.slice(0, 120))];
}
