// Search, filters, data sets and the chooser of columns.
function menu(title, fill) {
  const body = element("div", { class: "pop", role: "group", "aria-label": title });
  const badge = element("span", { class: "badge" });
  const made = element("details", { class: "menu" }, element("summary", {}, title, badge), body);
  made.ontoggle = () => { if (made.open) fill(body); };
  // The event above comes later than the next key of somebody who knows the way.
  made.firstChild.onclick = () => { if (!made.open) fill(body); };
  made.refresh = (count) => {
    badge.textContent = count || "";
    if (made.open) fill(body);
  };
  return made;
}

// One menu at a time; a click elsewhere or Escape closes it.
function closeMenus(except) {
  for (const open of document.querySelectorAll("details.menu[open]")) if (open !== except) open.open = false;
}
addEventListener("click", (event) => closeMenus(event.target.closest("details.menu")));
addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && document.querySelector("details.menu[open]");
  if (open) {
    open.open = false;
    open.querySelector("summary").focus();
  }
});

function checkbox(label, note, checked, change) {
  const input = element("input", { type: "checkbox", onchange: () => change(input.checked) });
  input.checked = checked;
  return element("label", {}, input, element("span", {}, label), element("small", {}, note));
}

// Fill a menu, and leave the focus on the box that it was on.
function fillMenu(body, boxes, foot) {
  const at = [...body.querySelectorAll("input")].indexOf(document.activeElement);
  const top = body.scrollTop;
  body.replaceChildren(...boxes, ...(foot ? [foot] : []));
  body.scrollTop = top;
  if (at >= 0) body.querySelectorAll("input")[at]?.focus({ preventScroll: true });
}

function facetMenu(table, column, view, act) {
  return menu(column.title, (body) => {
    const counts = new Map();
    for (const row of matching(table, view(), column.key)) {
      const value = cell(row, column);
      counts.set(value, (counts.get(value) || 0) + 1);
    }
    const chosen = view().facets[column.key] || new Set();
    for (const value of chosen) if (!counts.has(value)) counts.set(value, 0);
    const names = [...counts.keys()].sort(collator.compare);
    const boxes = names.map((name) => checkbox(name || "none", counts.get(name), chosen.has(name), (on) =>
      act((state) => {
        const values = new Set(state.facets[column.key]);
        if (on) values.add(name); else values.delete(name);
        if (values.size) state.facets[column.key] = values; else delete state.facets[column.key];
      })));
    fillMenu(body, boxes);
  });
}

function columnMenu(table, view, act) {
  return menu("Columns", (body) => {
    const shown = new Set(table.shown);
    const boxes = table.columns.slice(1).map((column) => {
      const bare = !table.visible.some((row) => !isEmpty(cell(row, column)));
      return checkbox(column.title, bare ? "empty" : "", shown.has(column), (on) => act((state) => {
        const keys = table.columns.slice(1)
          .filter((other) => (other === column ? on : shown.has(other))).map((other) => other.key);
        state.cols = keys.join("~") || "none";
      }));
    });
    const reset = element("button", { type: "button", onclick: () => act((state) => { state.cols = null; }) },
      "As at first");
    fillMenu(body, boxes, reset);
  });
}

function dataChips(table, view, act) {
  const names = datasets(table);
  const box = element("div", { class: "chips", role: "group", "aria-label": "Data set" });
  if (names.size < 2) return { box, refresh() {} };
  const first = names.keys().next().value;
  const chips = [...names, ["*", table.rows.length]].map(([name, count]) => {
    const chip = element("button", { type: "button", onclick: () =>
      act((state) => { state.data = name === first ? null : name; }) },
    name === "*" ? "All" : name, element("small", {}, count));
    box.append(chip);
    return [name, chip];
  });
  return { box, refresh() {
    const chosen = chosenData(table, view()) ?? "*";
    for (const [name, chip] of chips) chip.setAttribute("aria-pressed", name === chosen);
  } };
}

function toolbar(table, view, act) {
  const search = element("input", {
    type: "search", placeholder: "Search models", "aria-label": `Search in ${table.title}`, autocomplete: "off",
  });
  search.oninput = () => act((state) => { state.q = search.value; }, true);
  const chips = dataChips(table, view, act);
  const facets = table.facets.map((column) => [column, facetMenu(table, column, view, act)]);
  // Whether files can be had is worth a filter once somebody has asked for them.
  for (const [column, made] of facets) {
    made.hidden = column.key === "weights" && new Set(table.rows.map((row) => cell(row, column))).size < 2;
  }
  const chooser = columnMenu(table, view, act);
  const exporter = exportMenu(table);
  const clear = element("button", { type: "button", class: "plain", onclick: () => {
    act((state) => { state.q = null; state.facets = {}; });
    search.focus();
  } }, "Clear filters");
  const status = element("p", { class: "status", role: "status" });
  const tools = element("div", { class: "tools", role: "toolbar", "aria-label": "Filters" }, search,
    ...facets.map(([, made]) => made), clear, element("span", { class: "gap" }), chooser, exporter);
  table.scroll.before(chips.box, table.plot.box, tools, status);
  return () => {
    const state = view();
    if (search.value !== (state.q || "")) search.value = state.q || "";
    chips.refresh();
    for (const [column, made] of facets) made.refresh(state.facets[column.key]?.size);
    chooser.refresh(state.cols ? table.shown.length - 1 : 0);
    clear.hidden = !(state.q || Object.keys(state.facets).length);
    const count = table.visible.length, all = table.rows.length;
    status.textContent = `${count} of ${all} models`
      + (count ? "" : ": nothing passes all filters");
  };
}
