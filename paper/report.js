// Makes each number of the report a button that says where the number comes from: its exact value, its expression, and
// its records with their digests. What it says stands once in the page, as JSON; the page reads without this script.
"use strict";
{
  const told = JSON.parse(document.getElementById("provenance").textContent);
  const dialog = document.getElementById("number");
  const keys = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const places = new Map(); // table, row and column → the number's name
  const key = (table, row, column) => JSON.stringify([table, row, column]);
  for (const [name, entry] of Object.entries(told.numbers)) {
    for (const place of entry[6]) places.set(key(...place), name);
  }

  function element(tag, text, ...children) {
    const made = document.createElement(tag);
    made.append(...(text === null ? children : [text]));
    return made;
  }

  // Every record file of a source, closed until asked for: there may be thousands.
  function source(origin) {
    const [group, digest] = origin.split(" sha256:");
    const files = Object.entries((told.sources[group] || { files: {} }).files);
    const all = element("details", null, element("summary", `${files.length} file${files.length === 1 ? "" : "s"}`));
    all.addEventListener("toggle", () => {
      if (all.open && all.childElementCount === 1) {
        const rows = files.map(([file, sha256]) => element("li", null, element("code", file), " ", element("code", sha256)));
        all.append(element("ul", null, ...rows));
      }
    });
    return element("li", null, element("strong", group), " ", element("code", `sha256:${digest}`), all);
  }

  function described(name, end) {
    const [value, text, unit, , expression, origin] = told.numbers[name];
    const list = element("dl", null);
    const say = (term, ...what) => list.append(element("dt", term), element("dd", null, ...what));
    say("value", element("code", String(value)), unit ? ` ${unit}` : "", `, printed as ${text}`);
    if (!end) {
      say("expression", told.expressions[expression] || "the value as it stands in the records");
      say("records", element("ul", null, ...told.origins[origin].map(source)));
    }
    say("in numbers.json", element("code", name));
    return list;
  }

  function show(names) {
    const body = document.getElementById("number-body");
    body.replaceChildren();
    names.forEach((name, index) => {
      if (index) body.append(element("h3", told.numbers[name][6][0][2]));
      body.append(described(name, index > 0));
    });
    document.getElementById("number-title").textContent = told.numbers[names[0]][1];
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  }

  // One stop of the Tab key for each table; within it, the arrow keys go from number to number.
  function move(button, event) {
    const step = keys[event.key];
    if (!step) return;
    const row = button.closest("tr");
    let next = null;
    if (step[1]) {
      const all = [...row.querySelectorAll("button")];
      next = all[all.indexOf(button) + step[1]];
    }
    for (let other = row; step[0] && !next; ) {
      other = step[0] > 0 ? other.nextElementSibling : other.previousElementSibling;
      if (!other) break;
      next = other.cells[button.closest("td").cellIndex].querySelector("button");
    }
    if (!next) return;
    event.preventDefault();
    next.focus();
  }

  // The numbers within a text, each a button of its own.
  function within(cell, named, opener) {
    for (let nth = 1, name; (name = named(` #${nth}`)); nth += 1) {
      const rest = cell.lastChild;
      const text = told.numbers[name][1];
      const spelled = text.replace(/[.+]/g, "\\$&");
      const at = rest.data.search(new RegExp(`(?<![\\w.,])${spelled}(?!\\w)`)); // not a part of a name
      if (at < 0) return;
      rest.splitText(at + text.length);
      rest.splitText(at).replaceWith(opener(text, [name]));
    }
  }

  for (const table of document.querySelectorAll("table[data-table]")) {
    const columns = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
    let stop = null;
    const opener = (text, names) => {
      const button = element("button", text);
      button.type = "button";
      button.tabIndex = stop ? -1 : 0;
      stop = stop || button;
      button.setAttribute("aria-haspopup", "dialog");
      button.addEventListener("click", () => show(names));
      button.addEventListener("keydown", (event) => move(button, event));
      button.addEventListener("focus", () => {
        stop.tabIndex = -1;
        stop = button;
        stop.tabIndex = 0;
      });
      return button;
    };
    [...table.tBodies[0].rows].forEach((row, index) => {
      [...row.cells].forEach((cell, position) => {
        const named = (end) => places.get(key(table.dataset.table, index, columns[position] + end));
        const name = named("");
        // an interval stands in the cell of its value
        if (name) cell.replaceChildren(opener(cell.textContent, [name, ...(told.numbers[name][7] || [])]));
        else within(cell, named, opener);
      });
    });
  }
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
}
