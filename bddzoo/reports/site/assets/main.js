// Ties the parts together: one state, written to the address, drawn by every part.
const tables = new Map();
for (const section of document.querySelectorAll("section[data-title]")) {
  tables.set(section.id, readTable(section));
}
let state = readState(tables);
let plotting;

function draw() {
  for (const table of tables.values()) table.section.hidden = table.id !== state.task;
  for (const link of document.querySelectorAll("[data-task]")) {
    if (link.dataset.task === state.task) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const table = tables.get(state.task);
  showRows(table, state);
  table.refresh();
  // The table first: thousands of points take as long again.
  clearTimeout(plotting);
  plotting = setTimeout(() => table.plot.draw(state));
}

function act(change, typing = false) {
  change(state);
  writeState(state, tables, typing);
  draw();
}

for (const table of tables.values()) {
  sortableHeadings(table, act);
  table.plot = makePlot(table, act);
  table.refresh = toolbar(table, () => state, act);
}
for (const link of document.querySelectorAll("[data-task]")) {
  link.onclick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    act((now) => Object.assign(now, {
      task: link.dataset.task, data: null, q: null, sort: null, cols: null, x: null, y: null, facets: {},
    }));
  };
}
for (const event of ["hashchange", "popstate"]) {
  addEventListener(event, () => {
    state = readState(tables);
    draw();
  });
}
// Until now nothing had to be laid out: of thousands of rows, few are shown.
document.documentElement.classList.add("ready");
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) {
    width = innerWidth;
    tables.get(state.task).plot.draw(state);
  }
});
draw();
