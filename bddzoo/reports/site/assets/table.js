// The table on the screen: headings that sort, columns that hide, and no more rows than are looked at.
const CHUNK = 200;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made[name] = value;
    else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function sortableHeadings(table, act) {
  for (const column of table.columns) {
    const button = element("button", { type: "button" }, column.title);
    if (column.th.title) button.title = column.th.title;
    column.th.removeAttribute("title");
    button.onclick = () => act((state) => {
      const up = column.key, down = `-${column.key}`;
      // Numbers start with the best, text with A; the third click is the published order again.
      const order = column.numeric ? [down, up, "none"] : [up, down, "none"];
      const next = order[(order.indexOf(sorting(table, state)) + 1) % 3];
      state.sort = null;
      if (sorting(table, state) !== next) state.sort = next;
    });
    column.th.replaceChildren(button);
  }
  table.style = element("style");
  table.section.append(table.style);
  table.scroll = table.section.querySelector(".scroll");
  table.more = element("div", { class: "more" });
  table.scroll.append(table.more);
  new IntersectionObserver((seen) => {
    if (seen.some((entry) => entry.isIntersecting)) attach(table, table.attached + CHUNK);
  }, { root: table.scroll, rootMargin: "600px" }).observe(table.more);
  addEventListener("beforeprint", () => attach(table, Infinity));
}

function attach(table, count) {
  const from = table.attached, to = Math.min(count, table.visible.length);
  if (to <= from) return;
  table.body.append(...table.visible.slice(from, to).map((row) => row.tr));
  table.attached = to;
}

function showRows(table, state) {
  const sort = sorting(table, state);
  const rows = sorted(matching(table, state), table, sort);
  table.visible = rows;
  table.attached = Math.min(rows.length, rows.length <= 2 * CHUNK ? rows.length : CHUNK);
  table.body.replaceChildren(...rows.slice(0, table.attached).map((row) => row.tr));
  table.scroll.scrollTop = 0;
  table.shown = shownColumns(table, state, rows);
  const keep = new Set(table.shown);
  const hidden = table.columns.filter((column) => !keep.has(column));
  table.style.textContent = hidden.length
    ? `${hidden.map((c) => `#${CSS.escape(table.id)} tr>:nth-child(${c.index + 1})`).join(",")}{display:none}` : "";
  for (const column of table.columns) {
    const way = sort === column.key ? "ascending" : sort === `-${column.key}` ? "descending" : null;
    if (way) column.th.setAttribute("aria-sort", way);
    else column.th.removeAttribute("aria-sort");
  }
}

// Bring a row into view, and the keyboard's focus to its link.
function goToRow(table, row) {
  const at = table.visible.indexOf(row);
  if (at < 0) return;
  attach(table, at + CHUNK);
  mark(table, row);
  row.tr.scrollIntoView({ block: "center", inline: "nearest" });
  row.tr.querySelector("a").focus({ preventScroll: true });
}

function mark(table, row) {
  if (table.marked) table.marked.tr.classList.remove("marked");
  table.marked = row;
  if (row) row.tr.classList.add("marked");
}
