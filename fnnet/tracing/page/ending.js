// The end of the network: the label, the answer, how sure the network is of each class, and the loss in words.

let answerShown = 0; // of data.answers

function ending() {
  const answers = isComputed(layers() - 1, "value") ? data.answers : [];
  if (!answers.length) return lossWords(0);
  answerShown = Math.min(answerShown, answers.length - 1);
  const answer = answers[answerShown];
  const parts = answers.length > 1 ? [answerChooser(answers)] : [];
  parts.push(answerLine(answer));
  if (answer.classes.length) parts.push(classBars(answer));
  return [make("div", { className: "answer" }, ...parts, ...lossWords(answer.example || 0))];
}

function lossWords(example) {
  const said = isComputed(layers() - 1, "value") && data.lossWords[example];
  return said && !touched() ? [make("p", { id: "loss-words" }, said)] : [];
}

function answerChooser(answers) {
  const select = make("select", { id: "answer" });
  answers.forEach((one, i) => select.append(make("option", { value: String(i) }, placeOf(one))));
  select.value = String(answerShown);
  select.addEventListener("change", () => {
    answerShown = Number(select.value);
    $("ending").replaceChildren(...ending());
    $("answer").focus();
  });
  return make("p", {}, make("label", { htmlFor: "answer" }, "The answer for "), select);
}

function placeOf({ example, token }) {
  return [example === null ? "" : `example ${example}`, token === null ? "" : `token ${token}`].filter(Boolean).join(", ") || "the example";
}

const isYesOrNo = (answer) => Array.isArray(answer.label);
const indexOfAnswer = (answer) => [answer.example, answer.token].filter((at) => at !== null);

/** Label and prediction; a label can be changed where the page computes the loss itself. */
function answerLine(answer) {
  if (isYesOrNo(answer)) return make("p", {}, `Labels ${answer.label.join(", ")}; predictions ${(predicted(answer) || ["none"]).join(", ")}.`);
  const prediction = predicted(answer);
  const parts = data.live && data.y.dtype.startsWith("int") && answer.classes.length ? [make("label", { htmlFor: "label" }, "Label "), labelChooser(answer)] : [`Label ${labelOf(answer)}`];
  return make("p", { id: "answer-line" }, ...parts, `; the network answers ${prediction === null ? "nothing" : prediction}${prediction === labelOf(answer) ? ", which is right" : ""}.`);
}

function labelOf(answer) {
  if (!touched()) return answer.label;
  return data.y.dtype.startsWith("int") ? Number(valuesOf(data.y)[flatOf(data.y.shape, indexOfAnswer(answer))]) : answer.label;
}

function labelChooser(answer) {
  const select = make("select", { id: "label" });
  answer.classes.forEach((one) => select.append(make("option", { value: String(one) }, String(one))));
  select.value = String(labelOf(answer));
  select.addEventListener("change", () => {
    const label = Number(select.value);
    change((state) => (state.labels[flatOf(data.y.shape, indexOfAnswer(answer))] = label));
    $("label").focus();
  });
  return select;
}

function predicted(answer) {
  if (!touched()) return answer.prediction;
  const shares = probabilitiesOf(answer);
  return isYesOrNo(answer) ? shares.map((share) => Number(share >= 0.5)) : answer.classes[shares.indexOf(Math.max(...shares))];
}

/** Those of the trace, or of the outputs after a change. */
function probabilitiesOf(answer) {
  if (!touched()) return answer.probabilities;
  const outputs = data.steps[data.steps.length - 1].inputs;
  const count = outputs.shape[outputs.shape.length - 1];
  const first = flatOf(outputs.shape, [...indexOfAnswer(answer), 0]);
  const logits = Array.from(valuesOf(outputs).slice(first, first + count), Number);
  if (isYesOrNo(answer)) return logits.map((logit) => 1 / (1 + Math.exp(-logit)));
  const most = Math.max(...logits);
  const exponentials = logits.map((logit) => Math.exp(logit - most));
  const sum = exponentials.reduce((a, b) => a + b, 0); // over all classes, of which the answer may list some
  return answer.classes.map((one) => exponentials[one] / sum);
}

/** The probability of the class at an entry of the outputs; undefined where the page has none. */
function probabilityAt(index) {
  const answer = (data.answers || []).find((one) => indexOfAnswer(one).join() === index.slice(0, -1).join());
  return answer && probabilitiesOf(answer)[answer.classes.indexOf(index[index.length - 1])];
}

/** A bar for each class; choosing one shows how the loss's gradient of its logit comes about. */
function classBars(answer) {
  const node = make("div", { className: "classes", role: "group", ariaLabel: "How sure the network is of each class" });
  const shares = probabilitiesOf(answer);
  const [label, prediction] = [labelOf(answer), predicted(answer)];
  answer.classes.forEach((one, i) => {
    const bar = make("i");
    bar.style.width = `${100 * shares[i]}%`;
    const said = [percent(shares[i]), one === label ? "label" : "", one === prediction ? "answer" : ""].filter(Boolean).join(", ");
    const button = make("button", { type: "button" }, make("span", {}, String(one)), make("span", { className: "bar" }, bar), make("span", {}, said));
    button.dataset.class = one;
    button.setAttribute("aria-label", `class ${one}: ${said}`);
    button.addEventListener("click", () => goTo({ step: data.steps.length - 1, role: "cotangent", of: "outputs", index: [...indexOfAnswer(answer), one] }));
    node.append(button);
  });
  return node;
}
