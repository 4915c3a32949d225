// A scatter plot of two columns: each point is a row's, by mouse and by keyboard.
const SVG = "http://www.w3.org/2000/svg";
const SHAPES = [
  "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0", "M-4.5-4.5h9v9h-9z", "M0-6L5.5 4.5h-11z", "M0-6L6 0L0 6L-6 0z",
  "M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4z", "M0 6L5.5-4.5h-11z",
];
const HEIGHT = 320, PAD = { left: 52, right: 20, top: 16, bottom: 44 };

function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step / 1e6; v += step) found.push(v);
  return found;
}

// The second round of shapes has other colours.
const hue = (s) => (s + Math.floor(s / SHAPES.length)) % SHAPES.length;

const short = (value) => (Math.abs(value) >= 1e6 ? `${+(value / 1e6).toFixed(1)} M`
  : Math.abs(value) >= 1e4 ? `${+(value / 1e3).toFixed(1)}K` : `${+value.toFixed(2)}`);

const safe = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

function makePlot(table, act) {
  const plot = { points: [], at: -1 };
  const axes = table.columns.filter((column) => column.numeric && column.kind === "number");
  const first = (keys) => keys.map((key) => table.byKey.get(key)).find((column) => axes.includes(column));
  const defaults = { x: first(["params"]) || axes[1] || axes[0], y: axes.find((c) => c.key.endsWith("-val")) || axes[0] };
  const choose = (name, label) => {
    const select = element("select", { onchange: () => act((state) => { state[name] = select.value; }) },
      ...axes.map((column) => element("option", { value: column.key }, column.title)));
    return { select, label: element("label", {}, `${label} `, select) };
  };
  const x = choose("x", "Across"), y = choose("y", "Up");
  const svg = document.createElementNS(SVG, "svg");
  const tip = element("div", { class: "tip", "aria-hidden": "true", hidden: true });
  const legend = element("div", { class: "legend" });
  const note = element("p", { class: "none" });
  const hint = element("p", { class: "hint" }, "Arrow keys go from point to point, Enter to the row.");
  plot.box = element("details", { class: "plot", open: innerWidth > 640 }, element("summary", {}, "Plot"),
    element("div", { class: "axes" }, y.label, x.label, legend), element("div", { class: "canvas" }, svg, tip), note, hint);
  if (axes.length < 2) plot.box.hidden = true;
  plot.box.ontoggle = () => { if (plot.box.open && plot.state) plot.draw(plot.state); };

  function describe(p) {
    const text = (column) => `${column.title} ${cell(p.row, column)}`;
    return `${p.row.cells[0]}, ${text(plot.y)}, ${text(plot.x)}`;
  }

  function select(index, focus) {
    plot.links[plot.at]?.classList.remove("on");
    plot.at = index;
    const p = plot.points[index];
    tip.hidden = !p;
    if (!p) return;
    const link = plot.links[index];
    link.classList.add("on");
    for (const other of svg.querySelectorAll("a[tabindex='0']")) other.setAttribute("tabindex", "-1");
    link.setAttribute("tabindex", "0");
    if (focus) link.focus({ preventScroll: true });
    const about = ["method", "backbone", "verdict"].map((key) => table.byKey.get(key)).filter(Boolean);
    tip.replaceChildren(element("b", {}, p.row.cells[0]),
      ...[plot.y, plot.x, ...about].map((c) => element("span", {}, `${c.title}: ${cell(p.row, c)}`)));
    const wide = svg.clientWidth;
    tip.style.left = `${Math.min(Math.max(p.px - tip.offsetWidth / 2, 4), Math.max(wide - tip.offsetWidth - 4, 4))}px`;
    tip.style.top = p.py - tip.offsetHeight - 12 > 0 ? `${p.py - tip.offsetHeight - 12}px` : `${p.py + 14}px`;
    mark(table, p.row);
  }

  function nearest(event) {
    const box = svg.getBoundingClientRect();
    const mx = event.clientX - box.left, my = event.clientY - box.top;
    let best = -1, least = 24 ** 2;
    plot.points.forEach((p, i) => {
      const d = (p.px - mx) ** 2 + (p.py - my) ** 2;
      if (d < least) [best, least] = [i, d];
    });
    return best;
  }
  svg.onmousemove = (event) => {
    const at = nearest(event);
    svg.style.cursor = at < 0 ? "" : "pointer";
    if (at !== plot.at) select(at, false);
  };
  svg.onmouseleave = () => { if (!svg.contains(document.activeElement)) select(-1); };
  svg.onclick = (event) => {
    event.preventDefault();
    // Enter on a link clicks it, too, and then there is no place on the screen.
    const link = event.target.closest("a");
    const at = event.detail ? nearest(event) : plot.links.indexOf(link);
    if (at >= 0) goToRow(table, plot.points[at].row);
  };
  svg.addEventListener("focusin", (event) => {
    const at = plot.links.indexOf(event.target.closest("a"));
    if (at >= 0 && at !== plot.at) select(at, false);
  });
  svg.addEventListener("focusout", () => select(-1));
  svg.onkeydown = (event) => {
    const last = plot.points.length - 1;
    const byY = () => plot.points.map((_, i) => i).sort((a, b) => plot.points[b].py - plot.points[a].py || a - b);
    const vertical = (step) => {
      const order = byY();
      return order[order.indexOf(plot.at) + step] ?? plot.at;
    };
    const go = {
      ArrowRight: () => Math.min(plot.at + 1, last), ArrowLeft: () => Math.max(plot.at - 1, 0),
      ArrowUp: () => vertical(1), ArrowDown: () => vertical(-1), Home: () => 0, End: () => last,
    }[event.key];
    if (!go || last < 0) return;
    event.preventDefault();
    select(go(), true);
  };
  table.body.addEventListener("mouseover", (event) => {
    const tr = event.target.closest("tr");
    for (const link of svg.querySelectorAll(".near")) link.classList.remove("near");
    const at = plot.points.findIndex((p) => p.row.tr === tr);
    if (at >= 0) plot.links[at].classList.add("near");
  });

  plot.draw = (state) => {
    plot.state = state;
    if (plot.box.hidden || !plot.box.open) return;
    const column = (key, fallback) => axes.find((c) => c.key === key) || fallback;
    plot.x = column(state.x, defaults.x);
    plot.y = column(state.y, defaults.y);
    x.select.value = plot.x.key;
    y.select.value = plot.y.key;
    const value = (row, c) => c.values[row.order];
    const rows = table.visible.filter((row) => value(row, plot.x) !== null && value(row, plot.y) !== null);
    const left = table.visible.length - rows.length;
    note.textContent = rows.length
      ? (left ? `${left} of ${table.visible.length} models are not drawn: ${plot.x.title} or ${plot.y.title} is unknown.` : "")
      : `Nothing to draw: no row shown has both ${plot.x.title} and ${plot.y.title}.`;
    hint.hidden = !rows.length;
    tip.hidden = true;
    svg.style.display = rows.length ? "" : "none";
    plot.at = -1;
    // A page that is being laid out may have no width yet.
    const wide = Math.max(plot.box.clientWidth - 34, 200);
    const range = (c, count) => {
      const all = rows.map((row) => value(row, c));
      const low = all.reduce((a, b) => Math.min(a, b), Infinity), high = all.reduce((a, b) => Math.max(a, b), -Infinity);
      const slack = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
      return [low - slack, high + slack, ticks(low - slack, high + slack, count)];
    };
    const [x0, x1, xt] = range(plot.x, Math.max(3, wide / 110)), [y0, y1, yt] = range(plot.y, 5);
    const px = (v) => PAD.left + ((v - x0) / (x1 - x0)) * (wide - PAD.left - PAD.right);
    const py = (v) => HEIGHT - PAD.bottom - ((v - y0) / (y1 - y0)) * (HEIGHT - PAD.top - PAD.bottom);
    plot.points = rows.map((row) => ({ row, px: px(value(row, plot.x)), py: py(value(row, plot.y)) }))
      .sort((a, b) => a.px - b.px || b.py - a.py);
    const zoo = table.byKey.get("zoo");
    const series = [...new Set(table.visible.map((row) => (zoo ? cell(row, zoo) : "")))];
    const grid = yt.map((v) => `<path class=grid d="M${PAD.left} ${py(v)}H${wide - PAD.right}"/>`
      + `<text x=${PAD.left - 8} y=${py(v) + 4} text-anchor=end>${short(v)}</text>`).join("")
      + xt.map((v) => `<path class=grid d="M${px(v)} ${PAD.top}V${HEIGHT - PAD.bottom}"/>`
      + `<text x=${px(v)} y=${HEIGHT - PAD.bottom + 18} text-anchor=middle>${short(v)}</text>`).join("");
    const titles = `<text class=title x=${(wide + PAD.left - PAD.right) / 2} y=${HEIGHT - 6} text-anchor=middle>${safe(plot.x.title)}</text>`
      + `<text class=title transform="translate(13 ${(HEIGHT - PAD.bottom + PAD.top) / 2})rotate(-90)" text-anchor=middle>${safe(plot.y.title)}</text>`;
    const front = frontier(plot.points);
    const path = front.length > 1 ? `<path class=front d="M${front.map((p) => `${p.px} ${p.py}`).join("L")}"/>` : "";
    const points = plot.points.map((p, i) => {
      const s = zoo ? series.indexOf(cell(p.row, zoo)) : 0;
      const href = p.row.tr.querySelector("a").getAttribute("href");
      return `<a href="${safe(href)}" tabindex=${i ? -1 : 0} class=s${hue(s)} aria-label="${safe(describe(p))}">`
        + `<path transform="translate(${p.px.toFixed(1)} ${p.py.toFixed(1)})" d="${SHAPES[s % SHAPES.length]}"/></a>`;
    }).join("");
    svg.setAttribute("width", wide);
    svg.setAttribute("height", HEIGHT);
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", `${plot.y.title} against ${plot.x.title}, ${rows.length} models`);
    svg.innerHTML = `<g aria-hidden=true>${grid}${titles}${path}${labels(front, wide)}</g>${points}`;
    plot.links = [...svg.querySelectorAll("a")];
    legend.replaceChildren(...(series.length > 1 ? series : []).map((name, s) => {
      const key = document.createElementNS(SVG, "svg");
      key.setAttribute("viewBox", "-8 -8 16 16");
      key.innerHTML = `<path class=s${hue(s)} d="${SHAPES[s % SHAPES.length]}"/>`;
      return element("span", {}, key, name);
    }));
  };

  // Rows that no other beats on both axes, where less across and more up is better.
  function frontier(points) {
    if (!plot.x.less || chosenData(table, plot.state) === null) return [];
    const found = [];
    for (const p of [...points].sort((a, b) => a.px - b.px || a.py - b.py)) {
      if (!found.length || p.py < found.at(-1).py) {
        // Of points that lie on one another but for a pixel or two, the better stands for both.
        if (found.length && p.px - found.at(-1).px < 3) found.pop();
        found.push(p);
      }
    }
    return found;
  }

  function labels(front, wide) {
    const method = table.byKey.get("method"), backbone = table.byKey.get("backbone");
    if (!method || !backbone) return "";
    const taken = [], named = new Set();
    let text = "";
    for (const p of [...front].reverse()) {
      const [one, two] = [cell(p.row, method), cell(p.row, backbone)];
      const name = two.startsWith(one) ? two : `${one} ${two}`;
      if (named.has(name)) continue;
      named.add(name);
      const size = name.length * 6.2, right = p.px + size + 12 < wide - PAD.right;
      const box = [right ? p.px + 8 : p.px - size - 8, p.py - 16, size, 16];
      if (taken.some((t) => box[0] < t[0] + t[2] && t[0] < box[0] + box[2] && Math.abs(box[1] - t[1]) < 19)) continue;
      if (plot.points.filter((q) => q.px > box[0] && q.px < box[0] + box[2] && q.py > box[1] - 3 && q.py < box[1] + 19
        && Math.abs(q.px - p.px) > 6).length) continue;
      taken.push(box);
      text += `<text class=name x=${right ? p.px + 8 : p.px - 8} y=${p.py - 7} text-anchor=${right ? "start" : "end"}>${safe(name)}</text>`;
    }
    return text;
  }
  return plot;
}
