"use strict";
// Sorts the table and enlarges images. The page is complete without this script.

for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const descending = header.ariaSort ? header.ariaSort === "ascending" : column > 0;
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const value = (row) => Number(row.cells[column].dataset.value);
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => (descending ? value(b) - value(a) : value(a) - value(b)));
      table.tBodies[0].append(...rows);
    });
  });
}

const images = [...document.querySelectorAll("img[data-zoom]")];
const dialog = document.createElement("dialog");
const enlarged = document.createElement("img");
const caption = document.createElement("p");
let current = 0;

function show(index) {
  current = (index + images.length) % images.length;
  const image = images[current];
  enlarged.src = image.src;
  enlarged.alt = image.alt;
  enlarged.style.setProperty("--ratio", image.width / image.height);
  caption.textContent = image.alt;
}

function open(index) {
  show(index);
  dialog.showModal();
}

images.forEach((image, index) => {
  image.tabIndex = 0;
  image.setAttribute("role", "button");
  image.addEventListener("click", () => open(index));
  image.addEventListener("keydown", (event) => {
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
    show(current + step);
  }
});
dialog.addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => images[current].focus());
dialog.setAttribute("aria-label", "Enlarged image; use the arrow keys to see others");
dialog.append(enlarged, caption);
document.body.append(dialog);
