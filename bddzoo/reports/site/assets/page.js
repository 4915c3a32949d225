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

  // Blocks that are the same on many pages but for the model's name stand on the page of references, which
  // sends them: a page that was opened as a file may read no other file, but may be told.
  function fillFacts(link) {
    const place = document.createElement("div");
    link.parentElement.after(place);
    const frame = document.createElement("iframe");
    const name = document.querySelector("h1").innerHTML.trim();
    frame.hidden = true;
    frame.title = "References";
    frame.src = `${link.getAttribute("href").split("#")[0]}#${link.dataset.f}`;
    addEventListener("message", (event) => {
      if (event.source !== frame.contentWindow || !Array.isArray(event.data)) return;
      place.innerHTML = event.data
        .map((html) => `<section>${html.replaceAll("{model}", () => name)}</section>`).join("");
      frame.remove();
      link.parentElement.remove();
      furnish(place);
    });
    document.body.append(frame);
  }

  function sendFacts() {
    const blocks = location.hash.slice(1).split(",").map((id) => document.getElementById(id)?.innerHTML);
    if (blocks.every(Boolean)) parent.postMessage(blocks, "*");
  }

  // What scrolls must be within the keyboard's reach, and say what it is.
  function furnish(part) {
    addCopyButtons(part);
    for (const box of part.querySelectorAll(".scroll:not([tabindex])")) {
      if (box.scrollWidth <= box.clientWidth) continue;
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", [...document.querySelectorAll("h2")]
        .filter((head) => head.compareDocumentPosition(box) & 4).pop().textContent);
    }
  }

  window.bddzoo = { copy };

  // Should the other script fail, the table is shown as it is.
  addEventListener("load", () => root.classList.add("ready"));

  document.addEventListener("DOMContentLoaded", () => {
    if (parent !== window) {
      sendFacts();
      return;
    }
    if (!document.querySelector(".bar")) {
      // The same on every model's page, and so written once: here.
      const home = Object.assign(document.createElement("a"),
        { className: "brand", href: "../index.html", textContent: SITE });
      const bar = Object.assign(document.createElement("header"), { className: "bar" });
      bar.append(home);
      document.body.prepend(bar);
    }
    document.querySelector(".bar").append(themeButton());
    furnish(document);
    const link = document.querySelector("a[data-f]");
    if (link) fillFacts(link);
    const bars = document.querySelectorAll(".classes tbody td:nth-child(2)");
    for (const cell of bars) cell.style.setProperty("--v", parseFloat(cell.textContent) || 0);
  });
})();
