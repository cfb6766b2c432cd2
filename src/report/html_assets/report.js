"use strict";
(() => {
  const tables = [...document.querySelectorAll("table.results")];
  // Reference rows frame the range: they stay last, whatever the order.
  const isReference = (row) => row.classList.contains("reference");
  const rows = (table) => [...table.tBodies[0].rows].filter((row) => !isReference(row));

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
    const keyed = rows(table).map((row) => [value(row, column), row]);
    keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
    const references = [...table.tBodies[0].rows].filter(isReference);
    table.tBodies[0].append(...keyed.map(([, row]) => row), ...references);
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
    const all = tables.flatMap(rows);
    let shown = 0;
    for (const row of all) {
      const text = [...row.cells].map((cell) => cell.textContent.toLowerCase()).join(" ");
      row.hidden = !patterns.every((pattern) => pattern.test(text));
      shown += !row.hidden;
    }
    count.textContent = words.length ? `${shown} of ${all.length} rows` : "";
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
  for (const series of document.querySelectorAll(".series[data-point]")) {
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
