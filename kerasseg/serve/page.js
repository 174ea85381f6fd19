"use strict";
// Sends an image to /segment, and draws the mask of class numbers that it returns.

const $ = (id) => document.getElementById(id);
const ACCEPTED_TYPES = ["image/jpeg", "image/png"];
const QUALITY = 0.92;
const TIMES = { timeStyle: "medium" };

let model = null; // The response of /model.
let shown = null; // {width, height, classes, mask or objects} of the image on the page.
let selected = null; // Number of the class, or id of the object, that is shown alone.
let marked = [0, 0]; // Pixel of the marker.
let pending = null; // AbortController of the current request.
let urls = []; // URLs of the blobs on the page.

async function loadModel() {
  const response = await fetch("model");
  const description = await response.json();
  if (!response.ok) throw new Error(description.error);
  model = description;
  $("model").textContent =
    `${model.name}, version ${model.version}, ${model.classes.length} classes`;
}

function showStatus(text) {
  $("status").textContent = text;
  $("error").hidden = true;
}

function showError(text) {
  $("status").textContent = "";
  $("error").textContent = text;
  $("error").hidden = false;
}

// Returns a JPEG or PNG file that the server accepts: resized and converted if needed.
async function prepare(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error("This file is not an image that your browser can show.");
  }
  const scale = Math.min(1, Math.sqrt(model.max_pixels / (bitmap.width * bitmap.height)));
  const fits = scale === 1 && file.size <= model.max_bytes;
  if (fits && ACCEPTED_TYPES.includes(file.type)) return file;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.floor(bitmap.width * scale));
  canvas.height = Math.max(1, Math.floor(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
}

async function segment(file) {
  pending?.abort();
  const controller = (pending = new AbortController());
  showStatus("Segmenting…");
  $("result").setAttribute("aria-busy", "true");
  try {
    if (!model) await loadModel();
    const image = await prepare(file);
    const start = performance.now();
    const response = await fetch("segment", {
      method: "POST",
      body: image,
      headers: { Accept: "application/json" },
      signal: controller.signal,
    });
    const result = await response.json();
    if (!response.ok) throw new Error(result.error);
    const seconds = (performance.now() - start) / 1000;
    if (controller === pending) await show(image, result, seconds, file.name);
    if (result.version !== model.version) await loadModel(); // A newer one is served.
  } catch (error) {
    if (error.name === "AbortError") return;
    const offline = error instanceof TypeError;
    showError(offline ? "The server does not respond. Try again later." : error.message);
  } finally {
    if (controller === pending) $("result").removeAttribute("aria-busy");
  }
}

function decodeBlob(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

function createUrl(blob) {
  urls.push(URL.createObjectURL(blob));
  return urls[urls.length - 1];
}

// Returns class numbers; or the bits of the classes, whose upper bits are in green.
async function decodeMask(text, width, height, upper) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(decodeBlob(text), options);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  const mask = new Uint16Array(width * height);
  for (let i = 0; i < mask.length; i++)
    mask[i] = pixels[4 * i] + (upper ? 256 * pixels[4 * i + 1] : 0);
  return mask;
}

async function show(image, result, seconds, name) {
  const { width, height, classes, detections: objects } = result;
  const multiLabel = Boolean(result.multi_label);
  const png = multiLabel ? result.bits_png : result.numbers_png;
  const mask = objects ? null : await decodeMask(png, width, height, multiLabel);
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
  if (objects && !shown?.objects) $("score").value = result.min_score;
  shown = { width, height, classes, mask, objects, multiLabel };
  selected = null;
  marked = [width >> 1, height >> 1];
  $("image").src = createUrl(image);
  $("image").width = width;
  $("image").height = height;
  $("stage").style.setProperty("--ratio", width / height);
  $("mask").width = width;
  $("mask").height = height;
  $("marker").hidden = true;
  $("pointed").textContent = "Point at the image";
  $("download").href = createUrl(decodeBlob(result.mask_png));
  $("download").download = `${(name || "image").replace(/\.[^.]*$/, "")}-mask.png`;
  $("time").textContent =
    `${result.seconds.toFixed(2)} s on the server, ${seconds.toFixed(2)} s in total; ` +
    `${width} × ${height} pixels`;
  for (const each of document.querySelectorAll(".objects")) each.hidden = !objects;
  $("kind").textContent = objects ? "Objects" : "Classes";
  $("boxes").replaceChildren();
  if (objects) {
    $("note").textContent =
      `The mask has the classes of the objects with a score of at least ${result.min_score}.`;
    showObjects();
  } else {
    drawMask();
    showLegend();
  }
  setOpacity(); // Also draws the objects.
  $("result").hidden = false;
  document.body.classList.add("done");
  const found = objects
    ? `${objects.length} objects`
    : `${classes.filter((each) => each.share > 0).length} classes`;
  showStatus(`Done at ${new Date().toLocaleTimeString([], TIMES)}: ${found} found.`);
}

// Draws the classes in their colors; if one is selected, the others are shaded.
function drawMask() {
  const { width, height, mask, classes, multiLabel } = shown;
  const context = $("mask").getContext("2d");
  const image = context.createImageData(width, height);
  if (multiLabel) {
    drawBits(image.data, mask, classes);
    context.putImageData(image, 0, 0);
    return;
  }
  const table = new Uint32Array(256);
  const parts = new Uint8Array(table.buffer);
  classes.forEach(({ color }, i) => {
    const shaded = selected !== null && selected !== i;
    parts.set(shaded ? [0, 0, 0, 90] : [...color, 255], 4 * i);
  });
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < mask.length; i++) pixels[i] = table[mask[i]];
  context.putImageData(image, 0, 0);
}

// Class k is bit k + 1. The color is the mean over the classes of a pixel.
function classesOf(bits) {
  return shown.classes.filter(({ number }) => (bits >> (number + 1)) & 1);
}

function drawBits(data, mask, classes) {
  const colors = new Map();
  const shade = selected === null ? [0, 0, 0, 0] : [0, 0, 0, 90];
  for (let i = 0; i < mask.length; i++) {
    let color = colors.get(mask[i]);
    if (!color) {
      const found = classesOf(mask[i]);
      const used = selected === null ? found : found.filter((each) => each === classes[selected]);
      const mean = [0, 1, 2].map(
        (c) => used.reduce((sum, each) => sum + each.color[c], 0) / used.length,
      );
      color = used.length ? [...mean, 255] : shade;
      colors.set(mask[i], color);
    }
    data.set(color, 4 * i);
  }
}

function toCss(color) {
  return `rgb(${color.join(" ")})`;
}

function colorBox(color) {
  const box = document.createElement("canvas");
  box.width = box.height = 16;
  const context = box.getContext("2d");
  context.fillStyle = toCss(color);
  context.fillRect(0, 0, 16, 16);
  return box;
}

function span(kind, text) {
  const element = document.createElement("span");
  element.className = kind;
  element.textContent = text;
  return element;
}

function percent(share) {
  return share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
}

// Returns a row of the legend; its button shows a class or an object alone.
function legendRow(number, name, color, value) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(colorBox(color), span("name", name), span("value", value));
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => select(number, button));
  const row = document.createElement("li");
  row.append(button);
  return row;
}

function showAbsent(classes) {
  const names = classes.map((each) => each.name);
  $("absent").textContent = names.length ? `Not found: ${names.join(", ")}` : "";
}

function showLegend() {
  const order = [...shown.classes].sort((a, b) => b.share - a.share);
  const found = order.filter((each) => each.share > 0);
  const rows = found.map(({ number, name, color, share }) => {
    const row = legendRow(number, name, color, percent(share));
    row.firstChild.title = "Show only this class";
    return row;
  });
  $("legend").replaceChildren(...rows);
  showAbsent(order.filter((each) => each.share === 0));
  const shares = found.map((each) => `${each.name} ${percent(each.share)}`).join(", ");
  $("stage").setAttribute("aria-label", `Your image and its classes: ${shares}`);
}

function select(number, button) {
  const wasSelected = button.getAttribute("aria-pressed") === "true";
  for (const each of $("legend").querySelectorAll("button"))
    each.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-pressed", String(!wasSelected));
  selected = wasSelected ? null : number;
  if (shown.objects) updateObjects();
  else drawMask();
}

function classAt(pixel) {
  const number = shown.mask[pixel];
  if (shown.multiLabel)
    return classesOf(number).map((each) => each.name).join(", ") || "no class";
  return `${shown.classes[number]?.name ?? "unknown"} (class ${number})`;
}

function pointAt(x, y) {
  const { width, height, objects } = shown;
  marked = [Math.min(width - 1, Math.max(0, x)), Math.min(height - 1, Math.max(0, y))];
  const pixel = marked[1] * width + marked[0];
  const name = objects ? objectAt(pixel) : classAt(pixel);
  $("pointed").textContent = `${name} at ${marked[0]}, ${marked[1]}`;
}

function onPointer(event) {
  if (!shown) return;
  const box = $("stage").getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * shown.width;
  const y = ((event.clientY - box.top) / box.height) * shown.height;
  $("marker").hidden = true;
  pointAt(Math.floor(x), Math.floor(y));
}

function onKey(event) {
  const [left, right, up, down] = [[-1, 0], [1, 0], [0, -1], [0, 1]];
  const keys = { ArrowLeft: left, ArrowRight: right, ArrowUp: up, ArrowDown: down };
  const direction = keys[event.key];
  if (!shown || !direction) return;
  event.preventDefault();
  const longest = Math.max(shown.width, shown.height);
  const step = Math.max(1, Math.round(longest / (event.shiftKey ? 10 : 50)));
  pointAt(marked[0] + direction[0] * step, marked[1] + direction[1] * step);
  $("marker").hidden = false;
  $("marker").style.left = `${(100 * (marked[0] + 0.5)) / shown.width}%`;
  $("marker").style.top = `${(100 * (marked[1] + 0.5)) / shown.height}%`;
}

function setOpacity() {
  const value = $("opacity").value;
  $("percent").textContent = `${value} %`;
  $("mask").style.opacity = shown?.objects ? 1 : value / 100;
  if (shown?.objects) updateObjects(); // Their outlines stay opaque.
}

async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) return $("capture").click();
  $("camera").disabled = true; // A second stream would not be stopped.
  try {
    const video = { facingMode: "environment", width: { ideal: 1920 } };
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video });
  } catch {
    $("camera").disabled = false;
    return showError("This page has no access to a camera. Choose a file instead.");
  }
  $("viewfinder").hidden = false;
  $("snapshot").focus();
}

function closeCamera() {
  for (const track of $("video").srcObject?.getTracks() ?? []) track.stop();
  $("video").srcObject = null;
  $("viewfinder").hidden = true;
  $("camera").disabled = false;
  $("camera").focus();
}

async function takePhoto() {
  const canvas = document.createElement("canvas");
  canvas.width = $("video").videoWidth;
  canvas.height = $("video").videoHeight;
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
  closeCamera();
  if (blob) segment(new File([blob], "camera.jpg", { type: blob.type }));
}

function segmentFirst(files) {
  const file = [...(files ?? [])].find((each) => each.size);
  if (file) segment(file);
}

for (const id of ["file", "capture"])
  $(id).addEventListener("change", (event) => {
    segmentFirst(event.target.files);
    event.target.value = ""; // The same file may be chosen again.
  });
for (const kind of ["dragenter", "dragover"])
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  segmentFirst(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => segmentFirst(event.clipboardData.files));
$("camera").addEventListener("click", openCamera);
$("snapshot").addEventListener("click", takePhoto);
$("cancel").addEventListener("click", closeCamera);
$("opacity").addEventListener("input", setOpacity);
$("score").addEventListener("input", updateObjects);
$("stage").addEventListener("pointermove", onPointer);
$("stage").addEventListener("pointerdown", onPointer);
$("stage").addEventListener("keydown", onKey);
setOpacity();
loadModel().catch((error) => {
  $("model").textContent = `No model: ${error.message}`;
});
