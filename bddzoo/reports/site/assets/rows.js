// The rows, read from the page's own tables: what a reader without scripts sees is all the data there is.
const UNKNOWN = "–";
const FACTOR = { "": 1, k: 1e3, w: 1e4, m: 1e6, g: 1e9 };

// "40K" and "29.5 M" are numbers; other text is not.
function quantity(text) {
  const match = /^([-+]?\d+(?:\.\d+)?)\s*([kmgw]?)$/i.exec(text);
  return match ? match[1] * FACTOR[match[2].toLowerCase()] : null;
}

const FACETS = ["zoo", "method", "backbone", "verdict", "weights"];

const isEmpty = (text) => text === "" || text === UNKNOWN;

function readTable(section) {
  const table = section.querySelector("table");
  const columns = [...table.tHead.rows[0].cells].map((th, index) => ({
    th, index, key: th.dataset.k, title: th.textContent.trim(), kind: th.dataset.t || "text", less: "l" in th.dataset,
    facet: "f" in th.dataset, shown: !("h" in th.dataset),
  }));
  const rows = Array.from(table.tBodies[0].rows, (tr, order) => {
    // On a phone, a name breaks where it has a joint.
    if (innerWidth <= 640) tr.querySelector("a").innerHTML = tr.querySelector("a").innerHTML.replaceAll("_", "_<wbr>");
    const cells = Array.from(tr.cells, (cell) => cell.textContent.trim());
    return { tr, order, cells, text: cells.join("\n").toLowerCase() };
  });
  for (const column of columns) {
    const values = rows.map((row) => (isEmpty(row.cells[column.index]) ? null : quantity(row.cells[column.index])));
    column.numeric = rows.every((row, i) => values[i] !== null || isEmpty(row.cells[column.index]));
    if (column.numeric) column.values = values;
  }
  const byKey = new Map(columns.map((column) => [column.key, column]));
  return {
    section, table, columns, rows, byKey,
    id: section.id, title: section.dataset.title, body: table.tBodies[0],
    facets: FACETS.map((key) => byKey.get(key)).filter((column) => column?.facet),
    data: byKey.get("data"),
  };
}

const cell = (row, column) => row.cells[column.index];

// The data set whose numbers are shown at first: numbers of two data sets cannot be ranked together.
function datasets(table) {
  const counts = new Map();
  if (table.data) for (const row of table.rows) {
    const name = cell(row, table.data);
    counts.set(name, (counts.get(name) || 0) + 1);
  }
  return counts;
}

function chosenData(table, state) {
  const names = datasets(table);
  if (state.data === "*" || !names.size) return null;
  return names.has(state.data) ? state.data : names.keys().next().value;
}

// Rows that pass every filter, or every one but one.
function matching(table, state, except) {
  const words = (state.q || "").toLowerCase().split(/\s+/).filter(Boolean);
  const data = chosenData(table, state);
  const sets = table.facets
    .filter((column) => column.key !== except && state.facets[column.key])
    .map((column) => [column.index, state.facets[column.key]]);
  return table.rows.filter((row) =>
    (data === null || cell(row, table.data) === data)
    && sets.every(([index, values]) => values.has(row.cells[index]))
    && words.every((word) => row.text.includes(word)));
}

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

// The best of one data set first, until somebody chooses; numbers of several are not ranked together.
function sorting(table, state) {
  if (state.sort) return state.sort;
  const best = table.columns.find((column) => column.key.endsWith("-val"));
  return best && chosenData(table, state) !== null ? `-${best.key}` : "none";
}

// Rows without a value come last whichever way; equal rows stay as published.
function sorted(rows, table, sort) {
  const down = sort.startsWith("-");
  const column = table.byKey.get(down ? sort.slice(1) : sort);
  if (!column) return rows;
  const sign = down ? -1 : 1;
  const known = rows.filter((row) => !isEmpty(cell(row, column)));
  const rest = rows.filter((row) => isEmpty(cell(row, column)));
  const compare = column.numeric
    ? (a, b) => column.values[a.order] - column.values[b.order]
    : (a, b) => collator.compare(cell(a, column), cell(b, column));
  known.sort((a, b) => sign * compare(a, b) || a.order - b.order);
  return known.concat(rest);
}

// Columns that are shown: the chosen ones, or those that hold something in these rows.
function shownColumns(table, state, rows) {
  if (state.cols) {
    const keys = new Set(state.cols.split("~"));
    return table.columns.filter((column) => column.index === 0 || keys.has(column.key));
  }
  return table.columns.filter((column) =>
    column.index === 0 || (column.shown && (!rows.length || rows.some((row) => !isEmpty(cell(row, column))))));
}
