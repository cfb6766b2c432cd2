// From the address to the page, and back with every change.

const tables = [...document.querySelectorAll("table.results")].map((element) => new ResultTable(element));
const filter = byId("filter");
let isFirst = true;

const drawTables = () => {
  const counts = tables.map((table) => [table.draw(), table.rows.length]);
  const [left, rows] = counts.reduce(([a, b], [c, d]) => [a + c, b + d], [0, 0]);
  if (filter.value !== state.words) filter.value = state.words;
  byId("count").textContent = left < rows ? `${left} of ${rows} rows` : "";
};
// Draws what depends on the state. What stands as it was written is left alone.
const draw = () => {
  const isPlain = isFirst && address() === "";
  isFirst = false;
  choosePoints();
  drawTables();
  chooseMaps();
  if (isPlain) return;
  drawFilters();
  if (isFiltered() || isRedrawn) {
    drawForest();
    drawAxes();
    drawMaps();
    drawMovement();
    drawOverlap();
    isRedrawn = true;
  }
  drawCurves();
  drawLook();
};
let isRedrawn = false;
const changed = () => {
  draw();
  writeAddress();
};

filter.addEventListener("input", () => {
  state.words = filter.value;
  for (const table of tables) table.limit = table.first;
  drawTables();
  writeAddress();
});
for (const button of document.querySelectorAll("button[data-curves]")) {
  button.addEventListener("click", () => {
    state.curves = button.dataset.curves === "first" ? null : new Set();
    changed();
  });
}
// Sections are gone to without losing the state.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  const section = link && byId(link.getAttribute("href").slice(1));
  if (!section) return;
  event.preventDefault();
  state.at = section.id;
  section.scrollIntoView();
  writeAddress();
});
const arrive = () => {
  if (location.hash && !location.hash.includes("=")) return;
  readAddress();
  draw();
  // A page that is loaded again stays where it was.
  const isAgain = performance.getEntriesByType("navigation")[0]?.type === "reload";
  if (state.at && !isAgain) byId(state.at)?.scrollIntoView();
};
addEventListener("hashchange", arrive);
makeFilters();
arrive();
if (location.hash && !location.hash.includes("=")) draw();

// A page that a running sweep rewrites loads itself again, in the same place: not while somebody writes or reads.
if (data.follow) {
  setInterval(() => {
    const isBusy = document.activeElement?.matches("input[type=search], select") || dialog.open || bar.querySelector("details[open]");
    if (!isBusy && !document.hidden) location.reload();
  }, 1000 * data.follow);
}
