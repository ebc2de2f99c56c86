"use strict";
/* Sorts the tables, filters the classes, closes enlarged pictures. Without it the page has the same content. */

function sortTable(table, column, ascending) {
  const body = table.tBodies[0];
  const value = row => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  const compare = (one, other) => {
    const a = value(one), b = value(other);
    if (typeof a === "string") return a.localeCompare(b, undefined, { numeric: true });
    return a - b;
  };
  const known = [], unknown = [];            // rows without a value come last in both directions
  for (const row of body.rows) (Number.isNaN(value(row)) ? unknown : known).push(row);
  known.sort(compare);
  if (!ascending) known.reverse();
  body.append(...known, ...unknown);
  for (const header of table.tHead.rows[0].cells) header.removeAttribute("aria-sort");
  table.tHead.rows[0].cells[column].setAttribute("aria-sort", ascending ? "ascending" : "descending");
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const before = header.getAttribute("aria-sort");
      sortTable(table, header.cellIndex, before ? before !== "ascending" : header.dataset.first !== "descending");
    });
  }
}

const classes = document.querySelector("#classes table");
const filter = document.querySelector("#filter");
if (classes && filter) {
  filter.hidden = false;
  const found = filter.querySelector("output");
  filter.querySelector("input").addEventListener("input", event => {
    const wanted = event.target.value.trim().toLocaleLowerCase();
    let shown = 0;
    for (const row of classes.tBodies[0].rows) {
      row.hidden = !row.cells[0].textContent.toLocaleLowerCase().includes(wanted);
      shown += row.hidden ? 0 : 1;
    }
    found.textContent = wanted ? shown + " found" : "";
  });
}

function closePicture(event) {
  if (!document.querySelector("figure:target")) return;
  event.preventDefault();
  const place = window.scrollY;
  window.location.hash = "#_";               // an anchor that does not exist, so that the page does not scroll
  window.scrollTo(0, place);
}

for (const link of document.querySelectorAll("figure .close")) link.addEventListener("click", closePicture);
document.addEventListener("keydown", event => { if (event.key === "Escape") closePicture(event); });
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => { part.open = true; }));
