// The view's state, and how the address spells it. What is not in the address is as it was at first.
const VIEW = ["data", "q", "sort", "cols", "x", "y"];

function readState(tables) {
  const words = new URLSearchParams(location.hash.slice(1));
  const bare = location.hash.slice(1);
  const task = tables.has(bare) ? bare : words.get("task");
  const state = { task: tables.has(task) ? task : [...tables.keys()][0], facets: {} };
  for (const key of VIEW) state[key] = words.get(key);
  for (const column of tables.get(state.task).facets) {
    const values = words.getAll(column.key);
    if (values.length) state.facets[column.key] = new Set(values);
  }
  return state;
}

function stateHash(state, tables) {
  const words = new URLSearchParams();
  if (state.task !== [...tables.keys()][0]) words.set("task", state.task);
  for (const key of VIEW) if (state[key]) words.set(key, state[key]);
  for (const [key, values] of Object.entries(state.facets)) {
    for (const value of values) words.append(key, value);
  }
  const text = words.toString();
  return text ? `#${text}` : "";
}

// Typing must not fill the history; a choice may be gone back on.
function writeState(state, tables, typing) {
  const hash = stateHash(state, tables);
  if (hash === location.hash) return;
  const url = location.pathname + location.search + hash;
  try {
    history[typing ? "replaceState" : "pushState"](null, "", url);
  } catch {
    location.hash = hash;
  }
}
