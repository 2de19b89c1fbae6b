"use strict";
// Every head of a sortable table becomes a button; the page reads whole without this. On paper all folds are open and the
// heads are plain text again: a button would be left out where a table goes on on the next page.
(() => {
  const number = (text) => (text === "" ? NaN : Number(text));
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [number(a), number(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) return a.localeCompare(b, "en");
    return x < y ? -1 : x > y ? 1 : 0;
  };
  const sort = (table, column, head) => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    const key = (row) => row.cells[column].dataset.key;
    const rows = [...table.tBodies[0].rows];
    const empty = (row) => key(row) === "";
    rows.sort((a, b) => (empty(a) || empty(b) || up ? compare(key(a), key(b)) : compare(key(b), key(a))));
    table.tBodies[0].append(...rows);
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
  };
  const buttons = [];
  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, column, head));
      head.append(button);
      buttons.push([head, button]);
    });
  }
  const opened = [];
  addEventListener("beforeprint", () => {
    for (const [head, button] of buttons) if (button.isConnected) head.replaceChildren(...button.childNodes);
    for (const fold of document.querySelectorAll("details:not([open])")) {
      fold.open = true;
      opened.push(fold);
    }
  });
  addEventListener("afterprint", () => {
    for (const [head, button] of buttons) {
      if (button.isConnected) continue;
      button.append(...head.childNodes);
      head.append(button);
    }
    for (const fold of opened.splice(0)) fold.open = false;
  });
})();
