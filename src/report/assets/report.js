"use strict";
(() => {
  const tables = [...document.querySelectorAll("table.results")];
  // A result is a body of its own: one row, or the row of a group and its members. References frame the range and
  // stay last, whatever the order.
  const isReference = (body) => body.classList.contains("references");
  const results = (table) => [...table.tBodies].filter((body) => !isReference(body));
  const members = (body) => [...body.rows].filter((row) => !row.classList.contains("group"));

  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? cell.textContent;
    const number = Number(text);
    return text === "" ? null : Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });

  const sortBy = (table, heads, column) => {
    const first = heads[column].classList.contains("n") ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const order = heads[column].getAttribute("aria-sort") === first ? other : first;
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const sorted = (items, row) => {
      const keyed = items.map((item) => [value(row(item), column), item]);
      keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
      return keyed.map(([, item]) => item);
    };
    for (const body of results(table)) body.append(...sorted(members(body), (row) => row));
    table.append(...sorted(results(table), (body) => body.rows[0]), ...[...table.tBodies].filter(isReference));
  };
  for (const table of tables) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) =>
      head.querySelector("button")?.addEventListener("click", () => sortBy(table, heads, column)),
    );
  }

  const count = document.getElementById("count");
  const filter = document.getElementById("filter");
  filter.addEventListener("input", () => {
    // A word counts from its beginning, so that "frozen" does not find "unfrozen".
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const patterns = words.map((word) => new RegExp(`(^|[^a-z0-9])${word.replace(/[^\w]/g, "\\$&")}`));
    let all = 0;
    let shown = 0;
    for (const body of tables.flatMap(results)) {
      const rows = members(body);
      for (const row of rows) {
        const text = [...row.cells].map((cell) => cell.textContent.toLowerCase()).join(" ");
        row.hidden = !patterns.every((pattern) => pattern.test(text));
      }
      const left = rows.filter((row) => !row.hidden).length;
      body.hidden = left === 0;
      // Of a group that is searched for as a whole, its own row is enough.
      body.classList.toggle("found", left > 0 && left < rows.length);
      all += rows.length;
      shown += left;
    }
    count.textContent = words.length ? `${shown} of ${all} rows` : "";
  });

  // One pair of axes at a time; taking the other one's axis swaps the two.
  const maps = [...document.querySelectorAll("figure[data-down]")];
  const selects = ["axis-one", "axis-two"].map((id) => document.getElementById(id));
  if (selects.every(Boolean)) {
    let chosen = selects.map((select) => select.value);
    const showMaps = () => {
      for (const map of maps) {
        const axes = [map.dataset.down, map.dataset.across];
        map.classList.toggle("other", !chosen.every((axis) => axes.includes(axis)));
      }
    };
    selects.forEach((select, index) =>
      select.addEventListener("change", () => {
        if (selects[1 - index].value === select.value) selects[1 - index].value = chosen[index];
        chosen = selects.map((one) => one.value);
        showMaps();
      }),
    );
    document.getElementById("axes").hidden = false;
    showMaps();
  }

  const curves = new Map();
  for (const series of document.querySelectorAll(".series[data-point]:not(#picture *)")) {
    const point = series.dataset.point;
    if (!curves.has(point)) curves.set(point, []);
    curves.get(point).push(series);
  }
  const show = (box) => {
    for (const series of curves.get(box.dataset.point) ?? []) series.classList.toggle("off", !box.checked);
  };
  const boxes = [...document.querySelectorAll("input[data-point]")];
  document.getElementById("points").addEventListener("change", (event) => {
    if (event.target.dataset.point !== undefined) show(event.target);
  });
  for (const button of document.querySelectorAll("button[data-curves]")) {
    button.addEventListener("click", () => {
      for (const box of boxes) {
        box.checked = button.dataset.curves === "first" && box.dataset.first !== undefined;
        show(box);
      }
    });
  }
})();
