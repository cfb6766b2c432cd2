// The answers behind a cell: what `sweep why` prints, from the answers that the page has; else the command.

// Answers are texts, one letter per column and query: which of the query's choices it was.
const LETTERS = 48;
const codeAt = (point, column, query) => {
  const { results, of, starts } = data.answers;
  return of[point] >= 0 ? results[of[point]].charCodeAt(starts[column] + query) - LETTERS : -1;
};
const choiceAt = (point, column, query) => {
  const code = codeAt(point, column, query);
  return code < 0 ? null : data.answers.choices[column][query][code];
};
// Whether two letters at one place stand for the same demonstrations: these may have scored differently.
const isSameChoice = (at, one, two) => {
  if (one === two) return true;
  const { starts, choices } = data.answers;
  const column = starts.findLastIndex((start) => start <= at);
  const of = (letter) => choices[column][at - starts[column]][letter.charCodeAt(0) - LETTERS]?.[0].join();
  return two !== " " && of(one) === of(two);
};
const scores = new Map();
// Mean over the columns, query by query; a column with fewer queries weighs each of them accordingly more.
const scoresOf = (point) => {
  const answers = data.answers;
  if (!answers || !(answers.of[point] >= 0)) return null;
  const result = answers.of[point];
  if (!scores.has(result)) {
    const ids = new Map();
    for (const list of answers.queries) for (const id of list) if (!ids.has(id)) ids.set(id, ids.size);
    const row = new Array(data.queries).fill(0);
    answers.queries.forEach((list, column) => {
      const own = list.map((id, query) => [ids.get(id), choiceAt(point, column, query)]);
      const present = own.filter(([at, choice]) => choice && at < row.length);
      const weight = data.queries / (Math.max(1, present.length) * answers.queries.length);
      for (const [at, choice] of present) row[at] += weight * choice[1];
    });
    scores.set(result, row);
  }
  return scores.get(result);
};

// P(X <= least) for as many fair coins, on both sides: McNemar's exact test.
const mcnemar = (better, worse) => {
  const coins = better + worse;
  let [term, sum] = [0.5 ** coins, 0];
  for (let heads = 0; heads <= Math.min(better, worse); heads += 1) {
    sum += term;
    term *= (coins - heads) / (heads + 1);
  }
  return Math.min(1, 2 * sum);
};

const command = (point, column) =>
  `sweep why ${data.dir} --point ${data.names[point]} --${data.column} ${data.columns[column]}`;
const commandHtml = (point, column) => {
  const commands = data.others ? data.others[point].map((one) => `${one} --${data.column} ${data.columns[column]}`) : [command(point, column)];
  return `<pre class="command">${escaped(commands.join("\n"))}</pre>`;
};

const facts = (point) => {
  const about = data.facts?.[point];
  const found = data.axes.map(([axis, values], index) => [axis, values[data.at[point][index]]]).filter(([, value]) => value !== "");
  if (about) {
    const [trainable, total, checkpoint, epoch] = about;
    if (total) found.push(["trained parameters", `${trainable.toLocaleString("en")} / ${total.toLocaleString("en")} (${((100 * trainable) / total).toFixed(1)} %)`]);
    if (checkpoint) found.push(["checkpoint", checkpoint]);
    if (epoch) found.push(["last epoch", epoch]);
  }
  return `<dl>${found.map(([key, value]) => `<dt>${escaped(key)}</dt><dd>${escaped(value)}</dd>`).join("")}</dl>`;
};

// What the judge was asked and what it said; where a prompt had no room, the command that shows it.
const askedHtml = (point, column) => {
  const { asked, queries, choices } = data.answers;
  if (!asked) return "";
  const lines = queries[column].map((id, query) => {
    const code = codeAt(point, column, query);
    if (code < 0) return "";
    const [answer, prompt] = asked.said[column][query][code];
    const accepted = asked.accepted[id];
    const shown = prompt ?? `${command(point, column)} --query ${id}`;
    return `<details class="asked"><summary>query ${id}: ${answer === null ? "" : `answered “${escaped(answer)}”, `}${accepted === null ? "" : `accepted: ${escaped(accepted)}, `}scores ${choices[column][query][code][1]}</summary><pre class="command">${escaped(shown)}</pre></details>`;
  });
  return `<details><summary>What the judge was asked and answered</summary>${lines.join("")}</details>`;
};

// Which queries were answered right, and against the baseline.
const answersHtml = (point, column) => {
  const list = data.answers.queries[column];
  const base = data.against[point];
  const own = list.map((id, query) => ({ id, choice: choiceAt(point, column, query), other: base >= 0 ? choiceAt(base, column, query) : null })).filter(({ choice }) => choice);
  if (!own.length) return "";
  const kinds = [
    ["right", (score) => score >= 1],
    ["partly right", (score) => score > 0 && score < 1],
    ["wrong", (score) => score <= 0],
  ];
  let html = `<p class="score">${(100 * average(own.map(({ choice }) => choice[1]))).toFixed(2)} %${data.counts ? ` at ${plural(data.columns[column], data.column)}` : ""}, ${own.length} ${data.inputs[own.length === 1 ? 0 : 1]}</p>`;
  const pairs = own.filter(({ other }) => other);
  if (base >= 0 && pairs.length) {
    const changed = pairs.filter(({ choice, other }) => choice[0].join() !== other[0].join());
    const better = pairs.filter(({ choice, other }) => choice[1] > other[1]);
    const worse = pairs.filter(({ choice, other }) => choice[1] < other[1]);
    const isBinary = pairs.every(({ choice, other }) => [choice[1], other[1]].every((score) => score === 0 || score === 1));
    const test = isBinary ? ` (McNemar's exact test: p = ${mcnemar(better.length, worse.length).toFixed(3)})` : "";
    html += `<p>Against the baseline ${escaped(data.names[base])} (${(100 * average(pairs.map(({ other }) => other[1]))).toFixed(2)} %): ${changed.length} of ${own.length} ${data.inputs[1]} chosen differently, ${better.length} better, ${worse.length} worse${test}</p>`;
    const line = ({ id, choice, other }) =>
      `<tr><th scope="row">${id}</th><td>${choice[0].join(" ")}</td><td class="n">${choice[1]}</td><td>${other[0].join(" ")}</td><td class="n">${other[1]}</td></tr>`;
    const lines = [...better, ...worse];
    if (lines.length) {
      html += `<div class="scroll" tabindex="0" role="region" aria-label="${data.inputs[1]} won and lost"><table><thead><tr><th>${data.inputs[0]}</th><th>chose</th><th>scores</th><th>baseline</th><th>scores</th></tr></thead><tbody><tr><th colspan="5" scope="rowgroup">${better.length} won</th></tr>${better.map(line).join("")}<tr><th colspan="5" scope="rowgroup">${worse.length} lost</th></tr>${worse.map(line).join("")}</tbody></table></div>`;
    }
  }
  for (const [word, isKind] of kinds) {
    const ids = own.filter(({ choice }) => isKind(choice[1])).map(({ id }) => id);
    if (ids.length) html += `<details><summary>${ids.length} ${word}</summary><p class="ids">${ids.join(" ")}</p></details>`;
  }
  return html + askedHtml(point, column);
};

const dialog = byId("look");
let opener = null;
const openLook = (row, column, from) => {
  opener = from ?? null;
  sayTip(null);
  state.look = [row, column ?? state.look?.[1] ?? String(data.columns[0] ?? "")];
  drawLook();
  writeAddress();
};
// The points behind a row: itself, or those of its seeds.
const pointsOf = (row) => {
  const point = data.names.indexOf(row);
  if (point >= 0) return [point];
  const table = tables.find((one) => one.of);
  const at = table?.rows.findIndex(([name]) => name === row) ?? -1;
  return at >= 0 ? table.of[at] : [];
};
const drawLook = () => {
  const [row, wanted] = state.look ?? [];
  const points = row === undefined ? [] : pointsOf(row);
  if (!points.length) {
    state.look = null;
    if (dialog.open) dialog.close();
    return;
  }
  const column = Math.max(0, data.columns.findIndex((count) => String(count) === wanted));
  const tab = (count, index) => `<button type="button" data-column="${count}" aria-pressed="${index === column}">${plural(count, data.column)}</button>`;
  const isKnown = (point) => data.answers?.of[point] >= 0;
  const one = (point) => {
    const isAnswered = data.mapped[point] !== null && data.columns.length > 0;
    const more = !isAnswered
      ? "<p>It has not been evaluated.</p>"
      : isKnown(point)
        ? `${answersHtml(point, column)}<p class="soft">The same on a terminal:</p>${commandHtml(point, column)}`
        : `<p>${data.answers || !data.others ? "Its answers are not in this page, which would become too large. They are in the results directory:" : "The answers behind it:"}</p>${commandHtml(point, column)}`;
    return `<h3>${escaped(data.names[point])}</h3>${facts(point)}${more}`;
  };
  const [first, ...others] = points;
  const rest = others.map((point) => `<details><summary>${escaped(data.names[point])}</summary>${one(point)}</details>`);
  const title = points.length > 1 ? `<h2>${escaped(row)}, ${plural(points.length, "seed")}</h2>` : "";
  dialog.innerHTML = `<form method="dialog"><button type="submit" id="close" aria-label="close">×</button></form>${title}<p class="control">${data.columns.map(tab).join(" ")}</p>${one(first)}${rest.join("")}`;
  if (!dialog.open) dialog.showModal();
};
dialog.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-column]");
  if (button) {
    state.look[1] = button.dataset.column;
    drawLook();
    writeAddress();
    dialog.querySelector(`button[data-column="${button.dataset.column}"]`).focus();
  } else if (event.target === dialog) dialog.close();
});
dialog.addEventListener("close", () => {
  state.look = null;
  writeAddress();
  if (opener?.isConnected) opener.focus();
});
