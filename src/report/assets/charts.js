// Pictures, drawn anew for what is looked at. They are the ones that the page was written with, in the same places.

const LETTER = 6.5;
const signed = (value, digits) => {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? (0).toFixed(digits) : value > 0 ? `+${text}` : text;
};
const short = (value) =>
  value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) ? value.toExponential(1) : String(Number(value.toFixed(4)));
const place = (value) => value.toFixed(1);
const textAt = (kind, x, y, anchor, words) =>
  `<text class="${kind}" x="${place(x)}" y="${place(y)}" text-anchor="${anchor}">${escaped(words)}</text>`;
const head = (kind, width, height, title) =>
  `<svg class="${kind}" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(title)}">`;
const scaleOf = (values, air) => {
  const [low, high] = values.filter(Number.isFinite).reduce(([l, h], v) => [Math.min(l, v), Math.max(h, v)], [Infinity, -Infinity]);
  const extra = !air ? 0 : high > low ? 0.06 * (high - low) : 0.05 * Math.max(Math.abs(high), 1e-3);
  return { low: low - extra, high: high + extra };
};
const share = (scale, value) => (scale.high > scale.low ? (value - scale.low) / (scale.high - scale.low) : 0.5);
const ticksOf = ({ low, high }) => {
  const raw = (high - low) / 5;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((one) => one >= raw) ?? raw;
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.min(13, Math.floor(high / step) - first + 1) }, (_, index) => (first + index) * step);
};
const cut = (label, room) => (label.length <= room ? label : `${label.slice(0, room - 1).trimEnd()}…`);
const redraw = (figure, svg) => {
  figure.innerHTML = svg;
  prepare(figure);
};
// Without a filter a figure is as it was written.
const isRestored = (figure) => {
  if (figure && !isFiltered()) redraw(figure, written.get(figure));
  return !figure || !isFiltered();
};

// Rows of dots with intervals: [{ title, dots: [{ label, value, interval, text, about, kind, look, attributes }] }].
const drawDots = (figure, title, under, panels, isAbove, around) => {
  const [WIDTH, TOP, BOTTOM, HEAD, BESIDE] = [400, 30, 40, 24, 22];
  const dots = panels.flatMap((panel) => panel.dots);
  if (!dots.length) return redraw(figure, `${head("figure chart dots", WIDTH, 60, title)}${textAt("title", 4, 18, "start", title)}${textAt("label", 4, 44, "start", "nothing passes the filter")}</svg>`);
  const ends = (dot) => [dot.value, ...(dot.interval ?? [])];
  const trained = dots.filter((dot) => dot.kind !== "reference");
  const own = scaleOf([...(trained.length ? trained : dots).flatMap(ends), ...(around === null ? [] : [-around, 0, around])]);
  const near = 0.5 * (own.high - own.low);
  const isNear = (value) => value >= own.low - near && value <= own.high + near;
  const framing = dots.filter((dot) => dot.kind === "reference" && isNear(dot.value)).flatMap(ends).filter(isNear);
  const scale = scaleOf([own.low, own.high, ...framing], true);
  const longest = Math.max(...dots.map((dot) => cut(dot.label, BESIDE).length));
  const left = isAbove ? 8 : LETTER * longest + 14;
  const right = WIDTH - LETTER * Math.max(...dots.map((dot) => dot.text.length)) - 16;
  const step = isAbove ? 33 : 19;
  const height = TOP + step * dots.length + HEAD * panels.filter((panel) => panel.title).length + BOTTOM;
  const at = (value) => left + Math.min(1, Math.max(0, share(scale, value))) * (right - left);
  let svg = head("figure chart dots", WIDTH, height, title) + textAt("title", 4, 18, "start", title);
  for (const tick of ticksOf(scale)) svg += textAt("tick", at(tick), height - BOTTOM + 15, "middle", short(tick));
  svg += textAt("label", (left + right) / 2, height - 6, "middle", under);
  let y = TOP;
  for (const panel of panels) {
    if (panel.title) {
      svg += textAt("value halo", 4, y + HEAD - 7, "start", panel.title);
      y += HEAD;
    }
    for (const tick of ticksOf(scale)) {
      const kind = around !== null && Math.abs(tick) < 1e-12 ? "grid zero" : "grid";
      svg += `<line class="${kind}" x1="${place(at(tick))}" x2="${place(at(tick))}" y1="${place(y)}" y2="${place(y + step * panel.dots.length)}"/>`;
    }
    for (const dot of panel.dots) {
      svg += `<g class="dot${dot.look ? ` ${dot.look}` : ""}"${dot.attributes}><title>${escaped(`${dot.label}: ${dot.text}${dot.about}`)}</title>`;
      const middle = y + (isAbove ? 22 : 9);
      svg += isAbove
        ? textAt("value halo", 4, y + 12, "start", cut(dot.label, Math.floor((WIDTH - 8) / LETTER)))
        : textAt("tick", left - 8, y + 13, "end", cut(dot.label, BESIDE));
      if (dot.interval) svg += `<line x1="${place(at(dot.interval[0]))}" x2="${place(at(dot.interval[1]))}" y1="${middle}" y2="${middle}"/>`;
      const x = at(dot.value);
      const where = share(scale, dot.value);
      const tip = where > 1 ? 7 : -7;
      if (where < 0 || where > 1) svg += `<path d="M${place(x)} ${middle - 5}l${tip} 5l${-tip} 5z"/>`;
      else if (dot.kind === "baseline") svg += `<path class="base" d="M${place(x - 4)} ${middle - 4}h8v8h-8z"/>`;
      else if (dot.kind === "reference") svg += `<path d="M${place(x)} ${middle - 5}l5 5l-5 5l-5 -5z"/>`;
      else svg += `<circle cx="${place(x)}" cy="${middle}" r="4"/>`;
      svg += `${textAt("tick", right + 10, middle + 4, "start", dot.text)}</g>`;
      y += step;
    }
  }
  redraw(figure, `${svg}</svg>`);
};

// The best and the worst of the rows that are looked at, and the baseline.
const drawForest = () => {
  const figure = byId("fig-forest");
  if (isRestored(figure)) return;
  const { table: id, value, interval, title, falling, zero } = data.forest;
  const table = tables.find((one) => one.id === id);
  const [middle, ends, verdict] = [value, interval, "verdict"].map((name) => table.column(name) + 1);
  const rowOf = (cells) => {
    const number_of = number(cells[middle] ?? "", 1);
    const found = ends ? (cells[ends] ?? "").match(/[-+]?[\d.]+/g) : null;
    const text = (cells[middle] ?? "") + (found ? ` [${found.join(", ")}]` : "");
    return { value: number_of, interval: found?.map(Number) ?? null, text, look: ["better", "worse"].includes(cells[verdict]) ? cells[verdict] : "" };
  };
  const groups = table.groups.flatMap((group) => {
    const left = group.members.filter((row) => table.points(row).some((point) => passing[point]));
    if (!left.length) return [];
    const first = left.includes(group.first) ? group.first : left[0];
    const label = left.length === group.members.length && group.name ? group.name.replace(/: (.*) \w+$/, " ($1)") : table.rows[first][0] + (left.length > 1 ? ` +${left.length - 1}` : "");
    const isBaseline = table.points(first).some((point) => data.baseline.includes(point));
    const seeds = table.points(first).length;
    const about = (seeds > 1 ? `; ${seeds} seeds` : "") + data.forest.about;
    return [{ ...rowOf(table.rows[first]), label, about, kind: isBaseline ? "baseline" : "trained", attributes: ` data-row="${escaped(table.rows[first][0])}"` }];
  });
  const sign = falling ? -1 : 1;
  const found = groups.filter((dot) => dot.value !== null).sort((a, b) => sign * (a.value - b.value));
  const [BEST, WORST] = [9, 3];
  const shown = found.filter((dot, index) => index < BEST || index >= found.length - WORST || dot.kind === "baseline");
  const references = table.references.map((cells) => ({ ...rowOf(cells), label: cells[0], about: data.forest.about, kind: "reference", attributes: "" })).filter((dot) => dot.value !== null);
  const dots = [...shown, ...references].sort((a, b) => sign * (a.value - b.value));
  const results = `${found.length.toLocaleString("en")} that pass`;
  const which = shown.length < found.length ? `the best and the worst of ${results}` : results;
  drawDots(figure, title, which, [{ title: "", dots }], true, zero);
};

const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// What the values of each axis do among the points that are looked at; intervals where the page has the answers.
const drawAxes = () => {
  const figure = byId("fig-axes");
  if (isRestored(figure)) return;
  const points = all.filter((point) => passing[point] && data.mapped[point] !== null);
  const scores = data.isLoss ? null : points.map(scoresOf);
  const hasAll = scores?.every(Boolean) && points.length > 0;
  const panels = data.axes.map(([name, values], axis) => {
    const found = values.flatMap((value, index) => {
      const own = points.map((point, at) => [point, at]).filter(([point]) => data.at[point][axis] === index);
      if (!own.length) return [];
      const mean = average(own.map(([point]) => data.mapped[point]));
      const rows = hasAll && own.map(([, at]) => scores[at]);
      return [{ value, mean, count: own.length, row: rows && rows[0].map((_, query) => average(rows.map((row) => row[query]))) }];
    });
    if (found.length < 2) return { gap: -1 };
    const middle = data.isLoss ? 0 : average(found.map((one) => one.mean));
    const center = hasAll && found[0].row.map((_, query) => average(found.map((one) => one.row[query])));
    const dots = found.map(({ value, mean, count, row }) => {
      const own = mean - middle;
      let interval = null;
      if (row) {
        const apart = row.map((score, query) => 100 * (score - center[query]));
        const mid = average(apart);
        const error = Math.sqrt(average(apart.map((one) => (one - mid) ** 2)) / Math.max(1, apart.length - 1));
        interval = [own - 1.96 * error, own + 1.96 * error];
      }
      const text = data.isLoss ? own.toFixed(4) : signed(own, 2) + (interval ? ` [${interval.map((end) => signed(end, 1)).join(", ")}]` : "");
      const only = escaped(JSON.stringify([[name, value]]));
      return { label: value, value: own, interval, text, about: `; ${plural(count, "point")}${data.isLoss ? "" : data.about}`, kind: "trained", look: "", attributes: ` data-only="${only}"` };
    });
    const means = found.map((one) => one.mean);
    const gap = Math.max(...means) - Math.min(...means);
    const isSeed = name === "seed";
    const order = dots.map((dot, index) => [dot.value, index]).sort(([a], [b]) => a - b);
    const kept = new Set(order.filter((_, index) => dots.length <= 8 || index < 4 || index >= dots.length - 4).map(([, index]) => index));
    const which = kept.size < dots.length ? ` (${kept.size} of ${dots.length} values)` : "";
    const apart = data.isLoss ? `${gap.toFixed(4)} apart` : `${gap.toFixed(2)} points apart`;
    return { isSeed, gap, title: `${isSeed ? "seed (luck)" : name}${which}: ${apart}`, dots: dots.filter((_, index) => kept.has(index)) };
  });
  const shown = panels.filter((panel) => panel.gap >= 0).sort((a, b) => a.isSeed - b.isSeed || b.gap - a.gap);
  const title = data.isLoss ? "Validation loss by the values of the axes" : "Values of the axes against their mean, points";
  drawDots(figure, title, `each averaged over everything else, of ${plural(points.length, "point")}`, shown, false, data.isLoss ? null : 0.5);
};

// The curves that are drawn: what was ticked; at first the baseline and the best that differ.
const firstCurves = () => {
  if (!isFiltered()) return data.first;
  const order = ranking();
  const baselines = data.baseline.filter((point) => passing[point]).slice(0, 1);
  const found = [...baselines];
  const letters = new Set(found.map((point) => data.letters[point]).filter(Boolean));
  for (const point of order) {
    if (found.length >= baselines.length + 3) break;
    if (found.includes(point) || letters.has(data.letters[point])) continue;
    if (data.letters[point]) letters.add(data.letters[point]);
    found.push(point);
  }
  return found;
};
const curvesShown = () => {
  const points = state.curves ? all.filter((point) => state.curves.has(data.names[point])) : firstCurves();
  return new Set(points.filter((point) => passing[point]));
};
const colourOf = (point, points) => {
  const place = points.indexOf(point);
  return `s${(place >= 0 ? place : point) % 8}`;
};
const curveName = (point) => data.names[point] + (data.baseline.includes(point) ? " (baseline)" : "");

const drawLines = (figure, chart, points) => {
  const [WIDTH, HEIGHT, LEFT, TOP, BOTTOM] = [460, 270, 56, 30, 42];
  const first = firstCurves();
  const own = points.filter((point) => chart.values[point]).map((point) => {
    const marks = chart.values[point].map((one, index) => {
      const [y, low, high] = Array.isArray(one) ? one : [one];
      return { x: chart.ticks[index]?.[0] + (chart.isApart ? 0.16 * ((point % 8) / 8 - 0.5) : 0), label: chart.ticks[index]?.[1], y, low, high };
    });
    return { name: curveName(point), colour: colourOf(point, first), row: data.names[point], marks: marks.filter((mark) => typeof mark.y === "number") };
  });
  const frame = (chart.references ?? []).map(([name, values]) => ({
    name, colour: "s7 ref", marks: values.map(([y, low, high], index) => ({ x: chart.ticks[index][0], label: chart.ticks[index][1], y, low, high })),
  }));
  const series = [...own, ...frame];
  const marks = series.flatMap((one) => one.marks);
  let svg = head("figure chart", WIDTH, HEIGHT + 4, chart.title) + textAt("title", LEFT, 18, "start", chart.title);
  if (!marks.length) return redraw(figure, `${svg}${textAt("label", LEFT, 60, "start", "no curve is chosen")}</svg>`);
  const right = Math.max(28, ...frame.map((one) => 7 * one.name.length + 10));
  const y = scaleOf(marks.flatMap((mark) => [mark.y, mark.low ?? mark.y, mark.high ?? mark.y]), true);
  const x = scaleOf(marks.map((mark) => mark.x));
  const atX = (value) => LEFT + share(x, value) * (WIDTH - LEFT - right);
  const atY = (value) => HEIGHT - BOTTOM - share(y, value) * (HEIGHT - TOP - BOTTOM);
  for (const tick of ticksOf(y)) {
    svg += `<line class="grid" x1="${LEFT}" x2="${WIDTH - right}" y1="${place(atY(tick))}" y2="${place(atY(tick))}"/>`;
    svg += textAt("tick", LEFT - 6, atY(tick) + 4, "end", short(tick));
  }
  for (const [value, label] of chart.ticks) if (value >= x.low - 0.1 && value <= x.high + 0.1) svg += textAt("tick", atX(value), HEIGHT - BOTTOM + 16, "middle", label);
  svg += textAt("label", (LEFT + WIDTH - right) / 2, HEIGHT - 8, "middle", chart.under);
  for (const { name, colour, row, marks: found } of series) {
    svg += `<g class="series ${colour}"><title>${escaped(name)}</title><polyline points="${found.map((mark) => `${place(atX(mark.x))},${place(atY(mark.y))}`).join(" ")}"/>`;
    for (const mark of found) {
      const at = place(atX(mark.x));
      if (mark.low !== undefined) svg += `<line x1="${at}" x2="${at}" y1="${place(atY(mark.low))}" y2="${place(atY(mark.high))}"/>`;
      const ends = mark.low === undefined ? "" : ` [${mark.low}, ${mark.high}]`;
      svg += `<circle cx="${at}" cy="${place(atY(mark.y))}" r="2.6"${row ? ` data-row="${escaped(row)}"` : ""}><title>${escaped(`${name}, ${chart.unit}${mark.label}: ${mark.y}${ends}${chart.about}`)}</title></circle>`;
    }
    const last = found[found.length - 1];
    if (!row && last) svg += textAt("label", atX(last.x) + 7, atY(last.y) + 4, "start", name);
    svg += "</g>";
  }
  redraw(figure, `${svg}</svg>`);
};

const drawCurves = () => {
  if (!data.charts) return;
  const shown = [...curvesShown()];
  const first = firstCurves();
  const legend = (points) => points.map((point) => `<li class="series ${colourOf(point, first)}"><span>${escaped(curveName(point))}</span></li>`).join("");
  for (const [id, chart] of Object.entries(data.charts)) {
    const figure = byId(`fig-${id}`);
    if (figure) drawLines(figure, chart, shown);
    const health = byId(`fig-first-${id}`);
    if (health) drawLines(health, chart, first);
  }
  for (const list of document.querySelectorAll("ul.legend")) list.innerHTML = legend(list.closest("#picture") ? first : shown);
  for (const box of document.querySelectorAll("input[data-point]")) box.checked = shown.includes(Number(box.dataset.point));
};

// A value per row and column: { title, rows: [[name, point]], columns, value(row, column), text(value), about, cell }.
const drawGrid = (figure, grid) => {
  const [CELL, LETTER] = [26, 7];
  const labels = grid.rows.map(([name]) => name);
  const longest = (texts) => Math.max(0, ...texts.map((text) => text.length));
  const isTurned = LETTER * longest(grid.columns) > grid.cell;
  const left = LETTER * longest(labels) + 14;
  const top = isTurned ? 40 + 6.2 * longest(grid.columns) : 50;
  const width = Math.max(left + grid.cell * grid.columns.length + 10, 8.4 * grid.title.length);
  const values = grid.rows.map((_, row) => grid.columns.map((_, column) => grid.value(row, column)));
  const known = values.flat().filter((value) => value !== null);
  const range = { low: Math.min(...known), high: Math.max(...known) };
  let svg = head("figure", width, top + CELL * labels.length + 8, grid.title) + textAt("title", 4, 18, "start", grid.title);
  grid.columns.forEach((column, index) => {
    const x = left + grid.cell * (index + 0.5);
    svg += isTurned
      ? `<text class="tick" transform="translate(${place(x + 4)},${place(top - 6)}) rotate(-90)">${escaped(column)}</text>`
      : textAt("tick", x - 1, top - 8, "middle", column);
  });
  labels.forEach((label, row) => {
    const y = top + CELL * row;
    svg += textAt("tick", left - 8, y + 17, "end", label);
    values[row].forEach((value, column) => {
      if (value === null) return;
      const x = left + grid.cell * column;
      const text = grid.text(value);
      svg += `<g data-row="${escaped(data.names[grid.rows[row][1]])}"><title>${escaped(`${label}, ${grid.columns[column]}: ${text}${grid.about}`)}</title>`;
      svg += `<rect class="cell" x="${place(x)}" y="${place(y)}" width="${place(grid.cell - 2)}" height="${CELL - 2}" fill-opacity="${(0.04 + 0.62 * share(range, value)).toFixed(2)}"/>`;
      svg += `${textAt("value", x + grid.cell / 2 - 1, y + 16.5, "middle", text)}</g>`;
    });
  });
  redraw(figure, `${svg}</svg>`);
};

// Points that are looked at, best first; those without a figure are left out.
const ranking = () => {
  const order = all.filter((point) => passing[point] && data.mapped[point] !== null);
  return order.sort((a, b) => (data.isLoss ? 1 : -1) * (data.mapped[a] - data.mapped[b]));
};
const LISTED = 40;
const drawMovement = () => {
  const figure = byId("fig-movement");
  if (isRestored(figure)) return;
  const points = ranking().filter((point) => data.movement[point]);
  const shown = points.slice(0, LISTED);
  const which = shown.length < points.length ? ` (the best ${LISTED} of ${plural(points.length, "point")})` : "";
  drawGrid(figure, {
    title: `Relative parameter change in the last phase, %${which}`,
    rows: shown.map((point) => [data.names[point], point]),
    columns: data.groups,
    value: (row, column) => data.movement[shown[row]][column],
    text: (value) => value.toFixed(3),
    about: "",
    cell: 84,
  });
};
// The baseline and the best, one per group of those that choose alike.
const drawOverlap = () => {
  const figure = byId("fig-overlap");
  if (isRestored(figure) || !data.answers) return;
  const { of, results } = data.answers;
  const taken = new Set();
  const shown = [];
  for (const point of [...data.baseline.filter((one) => passing[one]), ...ranking()]) {
    if (shown.length === LISTED / 2 || !(of[point] >= 0) || taken.has(of[point])) continue;
    taken.add(of[point]);
    shown.push(point);
  }
  const alike = (a, b) => {
    const [one, two] = [results[of[a]], results[of[b]]];
    const both = [...one].filter((letter, at) => letter !== " " && two[at] !== " ").length;
    return [...one].filter((letter, at) => letter !== " " && isSameChoice(at, letter, two[at])).length / Math.max(1, both);
  };
  const name = (point) => `${data.letters[point] ? `${data.letters[point]}: ` : ""}${curveName(point)}`;
  drawGrid(figure, {
    title: "Share of equal selections, % (one point per group of identical ones)",
    rows: shown.map((point) => [name(point), point]),
    columns: shown.map(name),
    value: (row, column) => alike(shown[row], shown[column]),
    text: (value) => (value === 1 ? "100" : Math.min(99.9, 100 * value).toFixed(1)),
    about: data.about,
    cell: 36,
  });
};

// Cells of the heat maps are means over the points that are looked at.
const maps = [...document.querySelectorAll("figure[data-down]")];
const drawMaps = () => {
  for (const map of maps) {
    map.classList.remove("empty");
    if (isRestored(map)) continue;
    for (const mark of map.querySelectorAll("[data-only]")) {
      const only = JSON.parse(mark.dataset.only);
      const wanted = [...only, ...(map.dataset.setting === undefined ? [] : [["freeze", map.dataset.setting]])];
      const places = wanted.map(([axis, value]) => {
        const at = data.axes.findIndex(([name]) => name === axis);
        return [at, data.axes[at][1].indexOf(value)];
      });
      const values = all
        .filter((point) => passing[point] && data.mapped[point] !== null && places.every(([axis, value]) => data.at[point][axis] === value))
        .map((point) => data.mapped[point]);
      mark.style.display = values.length ? "" : "none";
      if (!values.length) continue;
      const mean = average(values);
      const [low, high] = data.range;
      const strength = high > low ? Math.min(1, Math.max(0, (mean - low) / (high - low))) : 0.5;
      const words = mean.toFixed(data.isLoss ? 4 : 2);
      mark.querySelector("rect").setAttribute("fill-opacity", (0.04 + 0.62 * strength).toFixed(2));
      mark.querySelector("text").textContent = words;
      mark.dataset.tip = `${only.map((pair) => pair.join(" ")).join(", ")}: ${words}; ${plural(values.length, "point")}${data.isLoss ? "" : data.about}`;
      mark.setAttribute("aria-label", mark.dataset.tip);
    }
    map.classList.toggle("empty", ![...map.querySelectorAll("[data-only]")].some((mark) => mark.style.display !== "none"));
  }
};

// One pair of axes at a time; taking the other one's axis swaps the two.
const selects = ["axis-one", "axis-two"].map(byId);
const hasChoice = selects.every(Boolean);
const firstMaps = selects.map((select) => select?.value);
const chooseMaps = () => {
  if (!hasChoice) return;
  const options = [...selects[0].options].map((option) => option.value);
  const chosen = state.maps?.every((axis) => options.includes(axis)) ? state.maps : firstMaps;
  selects.forEach((select, index) => (select.value = chosen[index]));
  for (const map of maps) map.classList.toggle("other", !chosen.every((axis) => [map.dataset.down, map.dataset.across].includes(axis)));
};
if (hasChoice) {
  selects.forEach((select, index) =>
    select.addEventListener("change", () => {
      const before = state.maps ?? firstMaps;
      const chosen = [...before];
      chosen[index] = select.value;
      if (chosen[0] === chosen[1]) chosen[1 - index] = before[index];
      state.maps = chosen;
      changed();
    }),
  );
  byId("axes").hidden = false;
}
