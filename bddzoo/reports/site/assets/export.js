// What is on the screen as CSV, JSON and Markdown: the rows that pass, in their order, and the shown columns.
function csvText(table) {
  const field = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll("\"", "\"\"")}"` : text);
  const line = (cells) => `${cells.map(field).join(",")}\n`;
  const value = (row) => (column) => (cell(row, column) === UNKNOWN ? "" : cell(row, column));
  return line(table.shown.map((column) => column.title))
    + table.visible.map((row) => line(table.shown.map(value(row)))).join("");
}

function jsonText(table) {
  const value = (row, column) => {
    const text = cell(row, column);
    if (isEmpty(text)) return null;
    return column.kind === "number" && column.numeric ? column.values[row.order] : text;
  };
  const rows = table.visible.map((row) =>
    Object.fromEntries(table.shown.map((column) => [column.key, value(row, column)])));
  return `${JSON.stringify(rows, null, 1)}\n`;
}

function markdownText(table) {
  const line = (cells) => `| ${cells.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |\n`;
  return line(table.shown.map((column) => column.title))
    + line(table.shown.map((column) => (column.kind === "number" ? "--:" : ":--")))
    + table.visible.map((row) => line(table.shown.map((column) => cell(row, column)))).join("");
}

function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function exportMenu(table) {
  const made = menu("Export", () => {});
  const name = `bddzoo-${table.id}`;
  const markdown = element("button", { type: "button" }, "Copy as Markdown");
  markdown.onclick = async () => {
    markdown.textContent = await bddzoo.copy(markdownText(table)) ? "Copied" : "Copying failed";
    setTimeout(() => { markdown.textContent = "Copy as Markdown"; }, 1500);
  };
  made.querySelector(".pop").append(
    element("button", { type: "button", onclick: () => download(`${name}.csv`, csvText(table), "text/csv") },
      "Download CSV"),
    element("button", {
      type: "button", onclick: () => download(`${name}.json`, jsonText(table), "application/json"),
    }, "Download JSON"),
    markdown);
  return made;
}
