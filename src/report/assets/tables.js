// Tables: sorted, filtered and opened from what the page knows. A row that is not in the page yet is made when it is
// needed, so that a large sweep opens as quickly as a small one.

// Bodies that are shown before more are asked for.
const FIRST = 150;
const number = (text, kind) => {
  const found = (text.match(/[-+]?[\d.,]+(e[-+]?\d+)?/g) ?? []).map((part) => Number(part.replace(/,/g, "")));
  if (kind === 2) return found.length > 1 ? found[1] - found[0] : null;
  if (!found.length) return text === "baseline" ? 0 : null;
  return found[0];
};
const compare = (a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });

class ResultTable {
  constructor(element) {
    this.element = element;
    this.id = element.id;
    Object.assign(this, data.tables[element.id]);
    this.isPoints = this.id === "points";
    this.hasCurves = this.isPoints && Boolean(data.charts);
    this.first = this.whole ? Infinity : FIRST;
    this.limit = this.first;
    this.texts = [];
    this.groups = this.groups.map((group) =>
      typeof group === "number" ? { members: [group], first: group } : { members: group[0], first: group[1], name: group[2], cells: group[3] },
    );
    // Bodies as they were written come in the order of the groups they show.
    this.bodies = [];
    for (const body of element.tBodies) if (body.dataset.group) this.bodies[body.dataset.group] = body;
    this.frame = element.querySelector("tbody.references");
    this.heads = [...element.tHead.rows[0].cells].filter((head) => head.querySelector("button"));
    this.heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => this.sortBy(column - 1)));
    this.more = byId(`more-${this.id}`);
    this.more?.addEventListener("click", () => {
      this.limit *= 4;
      this.draw();
    });
    element.addEventListener("change", (event) => this.change(event.target));
    element.addEventListener("click", (event) => this.click(event));
    element.addEventListener("keydown", (event) => this.key(event));
  }

  // Cells of a row, its name first.
  text(row) {
    return (this.texts[row] ??= this.rows[row].join(" ").toLowerCase());
  }
  points(row) {
    return this.isPoints ? [row] : this.of[row];
  }
  keyOf(cells, column) {
    const text = cells[column + 1] ?? "";
    if (column < 0 || this.columns[column][1] === 0) return text === "" ? null : text;
    return number(text, this.columns[column][1]);
  }
  column(title) {
    return this.columns.findIndex(([name]) => name === title);
  }

  sortBy(column) {
    const title = column < 0 ? "" : this.columns[column][0];
    const first = column >= 0 && this.columns[column][1] ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const [sorted, order] = state.sort.get(this.id) ?? this.sorted ?? [];
    state.sort.set(this.id, [title, sorted === title && order === first ? other : first]);
    changed();
  }

  // Rows of each group that are wanted, in order.
  chosen() {
    // A word counts from its beginning, so that "frozen" does not find "unfrozen".
    const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
    const patterns = words.map((word) => new RegExp(`(^|[^a-z0-9])${word.replace(/[^\w]/g, "\\$&")}`));
    const isWanted = (row) =>
      this.points(row).some((point) => passing[point]) && patterns.every((pattern) => pattern.test(this.text(row)));
    const found = this.groups.map((group, place) => ({ place, group, left: group.members.filter(isWanted) }));
    const [title, order] = state.sort.get(this.id) ?? this.sorted ?? [];
    const column = title === "" ? -1 : title === undefined ? -2 : this.column(title);
    if (column < -1) return found;
    const sign = order === "ascending" ? 1 : -1;
    const by = (items, cells) => {
      const keyed = items.map((item) => [this.keyOf(cells(item), column), item]);
      keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
      return keyed.map(([, item]) => item);
    };
    for (const { group } of found) group.order = group.name ? by(group.members, (row) => this.rows[row]) : group.members;
    return by(found, ({ group }) => (group.cells ? [group.name, ...group.cells] : this.rows[group.first]));
  }

  draw() {
    const found = this.chosen();
    const shown = found.filter(({ left }) => left.length);
    const bodies = shown.slice(0, this.limit).map((one) => this.body(one));
    const kept = new Set(bodies);
    for (const body of [...this.element.tBodies]) if (body !== this.frame && !kept.has(body)) body.remove();
    this.frame.before(...bodies);
    const [title, order] = state.sort.get(this.id) ?? this.sorted ?? [];
    this.heads.forEach((head, column) => {
      const isSorted = title === (column ? this.columns[column - 1][0] : "");
      if (isSorted) head.setAttribute("aria-sort", order);
      else head.removeAttribute("aria-sort");
    });
    if (this.more) {
      const hidden = shown.length - bodies.length;
      this.more.hidden = hidden <= 0;
      this.more.textContent = `Show more (${plural(hidden, "row")} left)`;
    }
    if (!this.element.querySelector("tbody [tabindex='0']")) {
      const first = this.element.querySelector("tbody th[scope=row]");
      if (first) first.tabIndex = 0;
    }
    return found.reduce((sum, { left }) => sum + left.length, 0);
  }

  body({ group, place, left }) {
    const body = (this.bodies[place] ??= this.make(group, place));
    if (!group.name) return body;
    const isOpen = state.open.has(this.rows[group.first][0]);
    // Of a group that is searched for as a whole, its own row is enough.
    const isFound = left.length < group.members.length;
    body.querySelector(".open").checked = isOpen;
    body.classList.toggle("found", isFound);
    if (isOpen || isFound || body.rows.length > 1) {
      group.rows ??= new Map([...body.rows].slice(1).map((row) => [Number(row.dataset.row), row]));
      for (const row of group.order ?? group.members) {
        if (!group.rows.has(row)) group.rows.set(row, this.row(row, true));
        const line = group.rows.get(row);
        line.hidden = !left.includes(row);
        body.append(line);
      }
    }
    return body;
  }

  make(group, place) {
    const body = document.createElement("tbody");
    body.dataset.group = place;
    if (!group.name) {
      body.append(this.row(group.first, false));
      return body;
    }
    body.className = "group";
    const name = `<label><input type="checkbox" class="open"> ${escaped(group.name)}</label>`;
    const isBaseline = data.baseline.some((point) => this.points(group.first).includes(point));
    body.append(this.line(name, group.cells, `group${isBaseline ? " baseline" : ""}`, this.hasCurves ? "<td></td>" : ""));
    return body;
  }
  row(row, isMember) {
    const [name, ...cells] = this.rows[row];
    const isBaseline = data.baseline.some((point) => this.points(row).includes(point));
    const classes = [isMember && "member", isBaseline && "baseline"].filter(Boolean).join(" ");
    const line = this.line(escaped(name), cells, classes, this.hasCurves ? this.box(row) : "");
    line.dataset.row = row;
    return line;
  }
  box(row) {
    const checked = curvesShown().has(row) ? " checked" : "";
    return `<td><input type="checkbox" data-point="${row}" aria-label="curves of ${escaped(data.names[row])}"${checked}></td>`;
  }
  line(name, cells, classes, tick) {
    const line = document.createElement("tr");
    line.className = classes;
    const cell = (text, column) => {
      const range = this.shade[column];
      const value = range && text !== "" ? (number(text, 1) - range[0]) / (range[1] - range[0]) : null;
      const share = range && range[1] > range[0] ? value : 0.5;
      const isNumber = this.columns[column][1];
      if (value === null) return `<td${isNumber && text !== "" ? ' class="n"' : ""}>${escaped(text)}</td>`;
      return `<td class="n v" style="--v:${Math.min(1, Math.max(0, share)).toFixed(2)}">${escaped(text)}</td>`;
    };
    line.innerHTML = `${tick}<th scope="row">${name}</th>${this.columns.map((_, column) => cell(cells[column] ?? "", column)).join("")}`;
    return line;
  }

  change(target) {
    if (target.dataset.point !== undefined) {
      const chosen = new Set([...curvesShown()].map((point) => data.names[point]));
      chosen[target.checked ? "add" : "delete"](data.names[target.dataset.point]);
      state.curves = chosen;
      changed();
    } else if (target.matches(".open")) {
      const place = target.closest("tbody").dataset.group;
      const group = this.groups[place];
      state.open[target.checked ? "add" : "delete"](this.rows[group.first][0]);
      this.draw();
      writeAddress();
      target.focus();
    }
  }

  // A cell leads to the answers behind it.
  look(cell) {
    const body = cell.closest("tbody");
    if (!body?.dataset.group || cell.querySelector("input[data-point]")) return;
    const group = this.groups[body.dataset.group];
    const isWanted = (one) => this.points(one).some((point) => passing[point]);
    const standIn = isWanted(group.first) ? group.first : group.members.find(isWanted);
    const row = cell.parentNode.dataset.row ?? standIn;
    const column = [...cell.parentNode.cells].indexOf(cell) - [...cell.parentNode.cells].findIndex((one) => one.tagName === "TH") - 1;
    const shot = column < 0 ? null : this.columns[column][0].match(/^Shot (\d+)/)?.[1];
    openLook(this.rows[row][0], shot ?? null, cell);
  }
  click(event) {
    const cell = event.target.closest("tbody td, tbody th");
    if (cell && !event.target.closest("label, input, button, a") && !String(getSelection())) this.look(cell);
  }
  // The arrow keys go from cell to cell, Enter opens.
  key(event) {
    const cell = event.target.closest("tbody td, tbody th");
    if (!cell || event.target.matches("input")) return;
    const lines = [...this.element.querySelectorAll("tbody tr")].filter((line) => line.getClientRects().length);
    const [line, place] = [cell.parentNode, [...cell.parentNode.cells].indexOf(cell)];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter") this.look(cell);
    else if (step) {
      const next = lines[lines.indexOf(line) + step];
      if (next) move([cell, next.cells[place]], cell, "End");
    } else if (!move([...line.cells], cell, event.key)) return;
    event.preventDefault();
  }
}
