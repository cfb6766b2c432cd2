// What the page knows, what its reader has asked for, and the address that keeps it. The files after this one draw
// tables, pictures and the answers behind a cell from it.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const all = data.names.map((_, point) => point);
const escaped = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
const plural = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;

const state = {
  only: new Map(), // axis -> its values that are looked at
  words: "",
  open: new Set(), // rows that stand for others and show them, by name
  sort: new Map(), // table -> [column, order]
  curves: null, // points whose curves are drawn, by name; null are the first ones
  maps: null, // the two axes of the heat maps
  look: null, // the row whose answers are open, and its shot count
  at: "", // the section that was gone to
};

// The state as the address says it; nothing where the page is as it was written.
const address = () => {
  const query = new URLSearchParams();
  for (const [axis, values] of state.only) for (const value of values) query.append(`only.${axis}`, value);
  if (state.words) query.set("words", state.words);
  for (const name of state.open) query.append("open", name);
  for (const [table, [title, order]] of state.sort) query.append("sort", `${table}:${order}:${title}`);
  if (state.curves) for (const name of state.curves.size ? state.curves : [""]) query.append("curve", name);
  if (state.maps) for (const axis of state.maps) query.append("map", axis);
  if (state.look) for (const part of state.look) query.append("look", part);
  if (state.at) query.set("at", state.at);
  return query.toString();
};
const readAddress = () => {
  const query = new URLSearchParams(location.hash.slice(1));
  state.only = new Map();
  for (const [axis] of data.axes) {
    const values = query.getAll(`only.${axis}`);
    if (values.length) state.only.set(axis, new Set(values));
  }
  state.words = query.get("words") ?? "";
  state.open = new Set(query.getAll("open"));
  state.sort = new Map();
  for (const text of query.getAll("sort")) {
    const [table, order, ...title] = text.split(":");
    if (["ascending", "descending"].includes(order)) state.sort.set(table, [title.join(":"), order]);
  }
  state.curves = query.has("curve") ? new Set(query.getAll("curve").filter(Boolean)) : null;
  state.maps = query.getAll("map").length === 2 ? query.getAll("map") : null;
  state.look = query.getAll("look").length === 2 ? query.getAll("look") : null;
  state.at = query.get("at") ?? "";
};
const writeAddress = () => {
  const text = address();
  history.replaceState(null, "", location.href.split("#")[0] + (text ? `#${text}` : ""));
};

// The points that are looked at. Rows that average over seeds stay while one of theirs does.
let passing = all.map(() => true);
const isFiltered = () => state.only.size > 0;
const choosePoints = () => {
  const wanted = data.axes.map(([axis, values]) => values.map((value) => state.only.get(axis)?.has(value) ?? true));
  passing = data.at.map((place) => place.every((value, axis) => wanted[axis][value]));
};

// Filters by axis value, in the bar that stays in sight: one list of boxes per axis.
const bar = byId("filters");
const drawFilters = () => {
  for (const [index, pick] of [...bar.querySelectorAll("details")].entries()) {
    const [axis] = data.axes[index];
    const chosen = state.only.get(axis);
    pick.classList.toggle("on", Boolean(chosen));
    pick.querySelector("summary").textContent = chosen ? `${axis}: ${[...chosen].join(", ")}` : axis;
    for (const box of pick.querySelectorAll("input")) box.checked = chosen?.has(box.value) ?? false;
  }
  const left = passing.filter(Boolean).length;
  byId("passing").textContent = isFiltered() ? `${left.toLocaleString("en")} of ${plural(all.length, data.what)}; headline and findings are of all` : "";
  byId("clear").hidden = !isFiltered();
  document.body.classList.toggle("filtered", isFiltered());
};
const setFilter = (axis, values) => {
  if (values.size) state.only.set(axis, values);
  else state.only.delete(axis);
  changed();
};
const makeFilters = () => {
  if (!data.axes.length) return;
  const box = (value) => `<label><input type="checkbox" value="${escaped(value)}"> ${escaped(value || "(none)")}</label>`;
  bar.innerHTML = `<span>Only</span>${data.axes
    .map(([axis, values]) => `<details><summary>${escaped(axis)}</summary><div>${values.map(box).join("")}</div></details>`)
    .join("")}<button type="button" id="clear" hidden>Clear</button> <span id="passing" class="soft" role="status"></span>`;
  const lists = [...bar.querySelectorAll("details")];
  lists.forEach((list, index) =>
    list.addEventListener("change", () => {
      setFilter(data.axes[index][0], new Set([...list.querySelectorAll("input:checked")].map((box) => box.value)));
    }),
  );
  // One list at a time, and none in the way.
  const close = (except) => lists.forEach((list) => list !== except && (list.open = false));
  bar.addEventListener("toggle", (event) => event.target.open && close(event.target), true);
  document.addEventListener("click", (event) => bar.contains(event.target) || close());
  bar.addEventListener("keydown", (event) => {
    const open = event.key === "Escape" && lists.find((list) => list.open);
    if (open) {
      open.open = false;
      open.querySelector("summary").focus();
    }
  });
  byId("clear").addEventListener("click", () => {
    state.only.clear();
    changed();
    lists[0].querySelector("summary").focus();
  });
  bar.hidden = false;
};

// What a mark says, on hover and on focus. Without a script its <title> does.
const tip = document.body.appendChild(document.createElement("div"));
tip.id = "tip";
tip.hidden = true;
const sayTip = (mark) => {
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.dataset.tip;
  const [box, own] = [mark.getBoundingClientRect(), tip.getBoundingClientRect()];
  const left = Math.min(Math.max(4, box.left + box.width / 2 - own.width / 2), innerWidth - own.width - 4);
  const above = box.top - own.height - 6;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 4 ? above : box.bottom + 6}px`;
};
const markOf = (event) => event.target.closest?.("[data-tip]");
document.addEventListener("pointerover", (event) => sayTip(markOf(event)));
document.addEventListener("focusin", (event) => sayTip(markOf(event)));
document.addEventListener("focusout", () => sayTip(null));
// What has the focus may be scrolled to; what was pointed at is no longer there.
addEventListener("scroll", () => sayTip(document.activeElement?.closest("[data-tip]") ?? null), true);

// The marks of a figure are one stop of the Tab key; arrows go from one to the next.
const prepare = (figure) => {
  const marks = [];
  for (const title of [...figure.querySelectorAll("title")]) {
    const mark = title.parentNode;
    mark.dataset.tip = title.textContent;
    title.remove();
    if (mark.matches(".series")) continue;
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", mark.dataset.tip);
    mark.tabIndex = marks.length ? -1 : 0;
    marks.push(mark);
  }
  if (marks.length) figure.querySelector("svg").setAttribute("role", "group");
};
const move = (marks, from, key) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -marks.length, End: marks.length }[key];
  if (step === undefined) return false;
  const to = marks[Math.min(Math.max(0, marks.indexOf(from) + step), marks.length - 1)];
  from.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
  to.scrollIntoView({ block: "nearest", inline: "nearest" });
  return true;
};
// A mark leads to the answers of its row, or, of a value of an axis, to the points with this value.
const follow = (mark) => {
  if (mark.dataset.row !== undefined) openLook(mark.dataset.row, null, mark);
  else if (mark.dataset.only !== undefined) {
    const pairs = JSON.parse(mark.dataset.only);
    const isSet = pairs.every(([axis, value]) => state.only.get(axis)?.size === 1 && state.only.get(axis).has(value));
    for (const [axis, value] of pairs) {
      if (isSet) state.only.delete(axis);
      else state.only.set(axis, new Set([value]));
    }
    changed();
  }
};
// Figures as they were written: what they are without a filter.
const written = new Map();
for (const figure of document.querySelectorAll("figure")) {
  written.set(figure, figure.innerHTML);
  prepare(figure);
  figure.addEventListener("click", (event) => markOf(event) && follow(markOf(event)));
  figure.addEventListener("keydown", (event) => {
    const mark = markOf(event);
    if (!mark) return;
    const marks = [...figure.querySelectorAll("[tabindex]")];
    if (event.key === "Enter" || event.key === " ") follow(mark);
    else if (event.key === "Escape") sayTip(null);
    else if (!move(marks, mark, event.key)) return;
    event.preventDefault();
  });
}
