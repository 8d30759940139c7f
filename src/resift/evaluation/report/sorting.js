// Tables are sorted by the buttons in their heads: numbers first from the largest, names from A.
(() => {
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    return cell.tagName === "TH" ? cell.textContent : null;
  };

  const compare = (a, b) =>
    typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;

  const sort = (table, head) => {
    const column = head.cellIndex;
    const rows = [...table.tBodies[0].rows];
    const known = rows.filter((row) => valueOf(row, column) !== null);
    const unknown = rows.filter((row) => valueOf(row, column) === null);
    const numeric = known.length > 0 && typeof valueOf(known[0], column) === "number";
    const before = head.getAttribute("aria-sort");
    const order = before === "none" ? (numeric ? "descending" : "ascending") : before === "ascending" ? "descending" : "ascending";
    known.sort((a, b) => compare(valueOf(a, column), valueOf(b, column)) * (order === "ascending" ? 1 : -1));
    for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", order);
    table.tBodies[0].append(...known, ...unknown);
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const head of table.tHead.rows[0].cells) {
      head.querySelector("button").addEventListener("click", () => sort(table, head));
    }
  }
})();
