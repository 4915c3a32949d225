// For every page: the theme, buttons that copy, and blocks that pages share.
"use strict";
(() => {
  const root = document.documentElement;
  const stored = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
  if (stored === "light" || stored === "dark") root.dataset.theme = stored;
  root.classList.add("js");
  // An empty icon, or the browser would ask a server for one.
  document.head.append(Object.assign(document.createElement("link"), { rel: "icon", href: "data:," }));

  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  function themeButton() {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "theme";
    const name = () => {
      button.textContent = isDark() ? "Light" : "Dark";
      button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
    };
    button.onclick = () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("theme", root.dataset.theme); } catch { /* a file may have no storage */ }
      name();
    };
    name();
    return button;
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch { /* not allowed here: the old way */ }
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }

  function copyButton(text, what) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${what}`);
    button.onclick = async () => {
      button.textContent = await copy(text()) ? "Copied" : "Failed";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    };
    return button;
  }

  function addCopyButtons(part) {
    for (const line of part.querySelectorAll(".cmd")) {
      const code = line.querySelector("code");
      line.append(copyButton(() => code.textContent, `the command: ${line.firstChild.textContent}`));
    }
    for (const block of part.querySelectorAll("pre")) {
      block.before(copyButton(() => block.textContent, "the BibTeX entries"));
    }
  }

  // A block is the same on many pages but for the model's name.
  window.fillFacts = (blocks) => {
    const place = document.querySelector("[data-facts]");
    if (!place) return;
    const name = document.querySelector("h1").innerHTML.trim();
    place.innerHTML = place.dataset.facts.split(" ")
      .map((key) => `<section>${blocks[key].replaceAll("{}", () => name)}</section>`).join("");
    addCopyButtons(place);
  };
  window.bddzoo = { copy };

  // Should the other script fail, the table is shown as it is.
  addEventListener("load", () => root.classList.add("ready"));

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelector(".bar").append(themeButton());
    if (document.querySelector("[data-facts]")) {
      document.head.append(Object.assign(document.createElement("script"), { src: "../facts.js" }));
    }
    addCopyButtons(document);
    const bars = document.querySelectorAll(".classes tbody td:nth-child(2)");
    for (const cell of bars) cell.style.setProperty("--v", parseFloat(cell.textContent) || 0);
  });
})();
