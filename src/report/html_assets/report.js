"use strict";
(() => {
  const table = document.getElementById("points");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  // Reference rows frame the range: they stay last, whatever the order.
  const rows = () => [...body.rows].filter((row) => !row.classList.contains("reference"));

  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? cell.textContent;
    const number = Number(text);
    return text === "" ? null : Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });

  const sortBy = (column) => {
    const first = heads[column].classList.contains("n") ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const order = heads[column].getAttribute("aria-sort") === first ? other : first;
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const keyed = rows().map((row) => [value(row, column), row]);
    keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
    const references = [...body.rows].filter((row) => row.classList.contains("reference"));
    body.append(...keyed.map(([, row]) => row), ...references);
  };
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => sortBy(column)));

  const count = document.getElementById("count");
  const filter = document.getElementById("filter");
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows()) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    count.textContent = words.length ? `${shown} of ${rows().length} points` : "";
  });

  const curves = new Map();
  for (const series of document.querySelectorAll(".series[data-point]")) {
    const point = series.dataset.point;
    if (!curves.has(point)) curves.set(point, []);
    curves.get(point).push(series);
  }
  const show = (box) => {
    for (const series of curves.get(box.dataset.point) ?? []) series.classList.toggle("off", !box.checked);
  };
  const boxes = [...body.querySelectorAll("input[data-point]")];
  body.addEventListener("change", (event) => {
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
