"use strict";
// A picture goes to /segment; its class numbers come back and are painted here.

const $ = (id) => document.getElementById(id);
const SENT_AS_IT_IS = ["image/jpeg", "image/png"];
const QUALITY = 0.92;
const TIMES = { timeStyle: "medium" };

let model = null; // What /model tells.
let shown = null; // {width, height, numbers, classes} of the picture on the page.
let chosen = null; // Number of the class that is shown alone.
let under = [0, 0]; // Pixel that the arrow keys point at.
let sending = null; // AbortController of the request under way.
let urls = []; // Of the blobs that are shown.

async function findModel() {
  const answer = await fetch("model");
  const facts = await answer.json();
  if (!answer.ok) throw new Error(facts.error);
  model = facts;
  $("model").textContent =
    `${model.name}, version ${model.version}, ${model.classes.length} classes`;
}

function tell(text) {
  $("status").textContent = text;
  $("error").hidden = true;
}

function complain(text) {
  $("status").textContent = "";
  $("error").textContent = text;
  $("error").hidden = false;
}

// A JPEG or PNG file that the server takes: shrunk and converted if it must be.
async function prepared(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error("This file is no picture that your browser can show.");
  }
  const scale = Math.min(1, Math.sqrt(model.max_pixels / (bitmap.width * bitmap.height)));
  const fits = scale === 1 && file.size <= model.max_bytes;
  if (fits && SENT_AS_IT_IS.includes(file.type)) return file;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.floor(bitmap.width * scale));
  canvas.height = Math.max(1, Math.floor(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
}

async function segment(file) {
  sending?.abort();
  const mine = (sending = new AbortController());
  tell("Segmenting…");
  $("result").setAttribute("aria-busy", "true");
  try {
    if (!model) await findModel();
    const picture = await prepared(file);
    const began = performance.now();
    const answer = await fetch("segment", {
      method: "POST",
      body: picture,
      headers: { Accept: "application/json" },
      signal: mine.signal,
    });
    const facts = await answer.json();
    if (!answer.ok) throw new Error(facts.error);
    const seconds = (performance.now() - began) / 1000;
    if (mine === sending) await show(picture, facts, seconds, file.name);
    if (facts.version !== model.version) await findModel(); // A newer one answers.
  } catch (error) {
    if (error.name === "AbortError") return;
    const lost = error instanceof TypeError;
    complain(lost ? "The server does not answer. Try again in a while." : error.message);
  } finally {
    if (mine === sending) $("result").removeAttribute("aria-busy");
  }
}

function blobOf(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

function urlOf(blob) {
  urls.push(URL.createObjectURL(blob));
  return urls[urls.length - 1];
}

async function numbersOf(text, width, height) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(blobOf(text), options);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  const numbers = new Uint8Array(width * height);
  for (let i = 0; i < numbers.length; i++) numbers[i] = pixels[4 * i];
  return numbers;
}

async function show(picture, facts, seconds, name) {
  const { width, height, classes } = facts;
  const numbers = await numbersOf(facts.numbers_png, width, height);
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
  shown = { width, height, classes, numbers };
  chosen = null;
  under = [width >> 1, height >> 1];
  $("picture").src = urlOf(picture);
  $("picture").width = width;
  $("picture").height = height;
  $("stage").style.setProperty("--ratio", width / height);
  $("mask").width = width;
  $("mask").height = height;
  $("marker").hidden = true;
  $("under").textContent = "Point at the picture";
  $("download").href = urlOf(blobOf(facts.mask_png));
  $("download").download = `${(name || "picture").replace(/\.[^.]*$/, "")}-mask.png`;
  $("time").textContent =
    `${facts.seconds.toFixed(2)} s on the server, ${seconds.toFixed(2)} s in all; ` +
    `${width} × ${height} pixels`;
  paint();
  explain();
  $("result").hidden = false;
  document.body.classList.add("done");
  const found = classes.filter((each) => each.share > 0).length;
  tell(`Done at ${new Date().toLocaleTimeString([], TIMES)}: ${found} classes found.`);
}

// Paints the classes; of others than the chosen one nothing is left but a shade.
function paint() {
  const { width, height, numbers, classes } = shown;
  const context = $("mask").getContext("2d");
  const image = context.createImageData(width, height);
  const table = new Uint32Array(256);
  const parts = new Uint8Array(table.buffer);
  classes.forEach(({ color }, i) => {
    const clear = chosen !== null && chosen !== i;
    parts.set(clear ? [0, 0, 0, 90] : [...color, 255], 4 * i);
  });
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < numbers.length; i++) pixels[i] = table[numbers[i]];
  context.putImageData(image, 0, 0);
}

function swatch(color) {
  const box = document.createElement("canvas");
  box.width = box.height = 16;
  const context = box.getContext("2d");
  context.fillStyle = `rgb(${color.join(" ")})`;
  context.fillRect(0, 0, 16, 16);
  return box;
}

function span(kind, text) {
  const made = document.createElement("span");
  made.className = kind;
  made.textContent = text;
  return made;
}

function percent(share) {
  return share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
}

function explain() {
  const order = [...shown.classes].sort((a, b) => b.share - a.share);
  const found = order.filter((each) => each.share > 0);
  const rows = found.map((each) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(swatch(each.color), span("name", each.name));
    button.append(span("share", percent(each.share)));
    button.setAttribute("aria-pressed", "false");
    button.title = "Show this class alone";
    button.addEventListener("click", () => choose(each.number, button));
    const row = document.createElement("li");
    row.append(button);
    return row;
  });
  $("legend").replaceChildren(...rows);
  const absent = order.filter((each) => each.share === 0).map((each) => each.name);
  $("absent").textContent = absent.length ? `Not seen: ${absent.join(", ")}` : "";
  const told = found.map((each) => `${each.name} ${percent(each.share)}`).join(", ");
  $("stage").setAttribute("aria-label", `Your picture and its classes: ${told}`);
}

function choose(number, button) {
  const before = button.getAttribute("aria-pressed") === "true";
  for (const each of $("legend").querySelectorAll("button"))
    each.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-pressed", String(!before));
  chosen = before ? null : number;
  paint();
}

function pointAt(x, y) {
  const { width, height, numbers, classes } = shown;
  under = [Math.min(width - 1, Math.max(0, x)), Math.min(height - 1, Math.max(0, y))];
  const number = numbers[under[1] * width + under[0]];
  const name = classes[number]?.name ?? "unknown";
  $("under").textContent = `${name} (class ${number}) at ${under[0]}, ${under[1]}`;
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
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const way = ways[event.key];
  if (!shown || !way) return;
  event.preventDefault();
  const longest = Math.max(shown.width, shown.height);
  const step = Math.max(1, Math.round(longest / (event.shiftKey ? 10 : 50)));
  pointAt(under[0] + way[0] * step, under[1] + way[1] * step);
  $("marker").hidden = false;
  $("marker").style.left = `${(100 * (under[0] + 0.5)) / shown.width}%`;
  $("marker").style.top = `${(100 * (under[1] + 0.5)) / shown.height}%`;
}

function setOpacity() {
  const value = $("opacity").value;
  $("mask").style.opacity = value / 100;
  $("percent").textContent = `${value} %`;
}

async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) return $("capture").click();
  $("camera").disabled = true; // A second stream would never be stopped.
  try {
    const video = { facingMode: "environment", width: { ideal: 1920 } };
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video });
  } catch {
    $("camera").disabled = false;
    return complain("There is no camera that this page may use. Choose a file instead.");
  }
  $("viewfinder").hidden = false;
  $("take").focus();
}

function closeCamera() {
  for (const track of $("video").srcObject?.getTracks() ?? []) track.stop();
  $("video").srcObject = null;
  $("viewfinder").hidden = true;
  $("camera").disabled = false;
  $("camera").focus();
}

async function takePicture() {
  const canvas = document.createElement("canvas");
  canvas.width = $("video").videoWidth;
  canvas.height = $("video").videoHeight;
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
  closeCamera();
  if (blob) segment(new File([blob], "camera.jpg", { type: blob.type }));
}

function take(files) {
  const file = [...(files ?? [])].find((each) => each.size);
  if (file) segment(file);
}

for (const id of ["file", "capture"])
  $(id).addEventListener("change", (event) => {
    take(event.target.files);
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
  take(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => take(event.clipboardData.files));
$("camera").addEventListener("click", openCamera);
$("take").addEventListener("click", takePicture);
$("cancel").addEventListener("click", closeCamera);
$("opacity").addEventListener("input", setOpacity);
$("stage").addEventListener("pointermove", onPointer);
$("stage").addEventListener("pointerdown", onPointer);
$("stage").addEventListener("keydown", onKey);
setOpacity();
findModel().catch((error) => {
  $("model").textContent = `No model yet: ${error.message}`;
});
