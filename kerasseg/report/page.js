"use strict";
// Without this the page is whole: it sorts the table and enlarges pictures.

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falls = head.ariaSort ? head.ariaSort === "ascending" : column > 0;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const value = (row) => Number(row.cells[column].dataset.value);
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => (falls ? value(b) - value(a) : value(a) - value(b)));
      table.tBodies[0].append(...rows);
    });
  });
}

const pictures = [...document.querySelectorAll("img[data-zoom]")];
const dialog = document.createElement("dialog");
const shown = document.createElement("img");
const said = document.createElement("p");
let place = 0;

function show(index) {
  place = (index + pictures.length) % pictures.length;
  const picture = pictures[place];
  shown.src = picture.src;
  shown.alt = picture.alt;
  shown.style.setProperty("--ratio", picture.width / picture.height);
  said.textContent = picture.alt;
}

function open(index) {
  show(index);
  dialog.showModal();
}

pictures.forEach((picture, index) => {
  picture.tabIndex = 0;
  picture.setAttribute("role", "button");
  picture.addEventListener("click", () => open(index));
  picture.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      open(index);
    }
  });
});
dialog.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) {
    event.preventDefault();
    show(place + step);
  }
});
dialog.addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => pictures[place].focus());
dialog.setAttribute("aria-label", "A picture; the arrow keys lead to the others");
dialog.append(shown, said);
document.body.append(dialog);
