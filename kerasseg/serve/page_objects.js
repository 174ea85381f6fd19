"use strict";
// Draws the objects that /segment detects: masks with outlines, boxes, names, scores.

const SHADE = [0, 0, 0, 90]; // Of all other pixels if an object is selected.
const OUTLINES = 400; // Width of an image, in outlines.

// Decodes masks, which are run lengths by columns, into the id of the object at each
// pixel. The object with the highest score wins. So hiding all objects below a score
// never uncovers another one, and one map is enough for all positions of the slider.
function decodeIds(objects, width, height) {
  const columns = new Uint16Array(width * height);
  for (const { id, segmentation } of [...objects].reverse()) {
    let start = 0;
    segmentation.counts.forEach((count, i) => {
      if (i % 2) columns.fill(id, start, start + count);
      start += count;
    });
  }
  const ids = new Uint16Array(width * height);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++) ids[i++] = columns[x * height + y];
  return ids;
}

// Returns `cells`, twice the id of each pixel, plus 1 at the edge of the object; and
// `around`, the best neighbor of each pixel that covers the object of the pixel.
function findEdges(ids, width, height) {
  const step = Math.max(1, Math.round(Math.max(width, height) / OUTLINES));
  const cells = new Uint32Array(ids.length);
  const around = new Uint16Array(ids.length);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) {
      const id = ids[i];
      const left = x >= step ? ids[i - step] : id;
      const right = x + step < width ? ids[i + step] : id;
      const above = y >= step ? ids[i - step * width] : id;
      const below = y + step < height ? ids[i + step * width] : id;
      cells[i] = 2 * id;
      if (left === id && right === id && above === id && below === id) continue;
      if (id) cells[i]++;
      const better = [left, right, above, below].filter((n) => n && (!id || n < id));
      if (better.length) around[i] = Math.min(...better);
    }
  return { cells, around };
}

function mapObjects(objects, width, height) {
  const ids = decodeIds(objects, width, height);
  return { ids, ...findEdges(ids, width, height) };
}

// Draws masks in the colors of their classes, with outlines that are never transparent
// and a line in black or white around them, where no other object is drawn.
function drawObjects(objects, { cells, around }, background) {
  const { width, height, classes, objects: all } = shown;
  const context = $("mask").getContext("2d");
  const image = context.createImageData(width, height);
  const colors = new Uint32Array(2 * (all.length + 1)); // 0 if hidden.
  const lines = new Uint32Array(all.length + 1);
  const [colorBytes, lineBytes] = [colors, lines].map((x) => new Uint8Array(x.buffer));
  const alpha = Math.max(1, Math.round(2.55 * $("opacity").value)); // 0 is hidden.
  lines.fill(new Uint32Array(new Uint8Array(background).buffer)[0]);
  for (const { id, category_id } of objects) {
    const { color } = classes[category_id];
    colorBytes.set([...color, alpha, ...color, 255], 8 * id);
    lineBytes.set([...contrast(color), 255], 4 * id);
  }
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++)
    pixels[i] = colors[cells[i]] || lines[around[i]];
  context.putImageData(image, 0, 0);
}

// Black for light colors, white for dark ones.
function contrast([red, green, blue]) {
  const isLight = 0.299 * red + 0.587 * green + 0.114 * blue > 140;
  return isLight ? [0, 0, 0] : [255, 255, 255];
}

function captionOf({ category_id, score }) {
  return `${shown.classes[category_id].name} ${score.toFixed(2)}`;
}

// Returns a box and its caption, placed in percent of the image.
function boxElements(object) {
  const { width, height, classes } = shown;
  const { color } = classes[object.category_id];
  const [left, boxWidth] = [0, 2].map((i) => (100 * object.bbox[i]) / width);
  const [top, boxHeight] = [1, 3].map((i) => (100 * object.bbox[i]) / height);
  const box = span("box", "");
  box.style.left = `${left}%`;
  box.style.top = `${top}%`;
  box.style.width = `${boxWidth}%`;
  box.style.height = `${boxHeight}%`;
  box.style.borderColor = toCss(color);
  const caption = span("caption", captionOf(object));
  caption.style.top = `max(0px, ${top}% - 1.25rem)`; // Above the box, if it fits.
  const right = left + boxWidth;
  const isLeft = left + right < 100; // There is more space to the right.
  caption.style[isLeft ? "left" : "right"] = `${isLeft ? left : 100 - right}%`;
  caption.style.maxWidth = `${isLeft ? 100 - left : right}%`;
  caption.style.background = toCss(color);
  caption.style.color = toCss(contrast(color));
  return [box, caption];
}

// Creates the elements of all objects; the slider only hides and shows them.
function showObjects() {
  const { objects, classes, width, height } = shown;
  shown.map = mapObjects(objects, width, height);
  shown.elements = objects.map((each) => {
    const { name, color } = classes[each.category_id];
    const row = legendRow(each.id, name, color, each.score.toFixed(2));
    row.firstChild.title = "Show only this object";
    return [row, ...boxElements(each)];
  });
  $("legend").replaceChildren(...shown.elements.map(([row]) => row));
  const boxes = shown.elements.map(([, box]) => box).reverse(); // The best on top.
  const captions = shown.elements.map(([, , caption]) => caption).reverse();
  $("boxes").replaceChildren(...boxes, ...captions);
}

// Shows the objects with a high enough score, or of these the selected one.
function updateObjects() {
  const lowest = Number($("score").value);
  $("lowest").textContent = lowest.toFixed(2);
  if (!shown?.objects) return;
  const { objects, elements, width, height } = shown;
  if (selected !== null && objects[selected - 1].score < lowest)
    return select(selected, elements[selected - 1][0].firstChild); // Selects none.
  const drawn = [];
  objects.forEach((each, i) => {
    const [row, box, caption] = elements[i];
    row.hidden = each.score < lowest;
    box.hidden = caption.hidden =
      row.hidden || (selected !== null && each.id !== selected);
    if (!box.hidden) drawn.push(each);
  });
  if (selected === null) drawObjects(drawn, shown.map, [0, 0, 0, 0]);
  else drawObjects(drawn, mapObjects(drawn, width, height), SHADE);
  describeObjects(objects.filter(({ score }) => score >= lowest));
}

function describeObjects(listed) {
  const { objects, classes } = shown;
  $("count").textContent = `${listed.length} of ${objects.length} objects are shown`;
  const numbers = new Set(listed.map((each) => each.category_id));
  showAbsent(classes.filter(({ number }) => number > 0 && !numbers.has(number)));
  const captions = listed.map(captionOf).join(", ");
  $("stage").setAttribute("aria-label", `Your image and its objects: ${captions}`);
}

// Names the object at a pixel, unless it is hidden.
function objectAt(pixel) {
  const object = shown.objects[shown.map.ids[pixel] - 1];
  const isShown = object && object.score >= Number($("score").value);
  return isShown ? captionOf(object) : "No object";
}
