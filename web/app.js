// The page: photos and the camera go in, boxes, counts and files come out. The networks run in worker.js.

import { Camera } from "./camera.js";
import { draw } from "./drawing.js";
import { check } from "./photos.js";
import { jsonLine } from "./records.js";

const MAX_CANVAS_PIXELS = 16e6; // phones show no more; a larger photo is shown, and saved, scaled down
const JPEG_QUALITY = 0.95;
const ANNOUNCE_EVERY_MS = 3000; // to screen readers, while the camera runs
const SIMD_PROGRAM = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
]; // the shortest WebAssembly that needs SIMD, from GoogleChromeLabs/wasm-feature-detect

const element = (id) => document.getElementById(id);
const context = element("view").getContext("2d", { alpha: false });
const camera = new Camera(element("video"));

let settings;
let call; // a job for the worker; gives its result
let shown; // what the canvas shows: an image's name, size and faces
let records = []; // of the photos that were chosen together, in their order
let files = []; // these photos
let announced = 0; // when, in milliseconds

// --- start ---

async function start() {
  if (!hasWhatItTakes()) {
    report("This browser lacks WebAssembly SIMD or offscreen canvases: open the page in a current one.");
    tell("The networks cannot run here.");
    return;
  }
  settings = await (await fetch("settings.json")).json();
  call = openWorker(new Worker("worker.js"));
  const began = performance.now();
  await call("load");
  element("times").textContent = `Loaded in ${((performance.now() - began) / 1000).toFixed(1)} s.`;
  element("files").disabled = element("camera").disabled = false;
  tell("Ready.");
  element("version").textContent = settings.version;
  element("litert-version").textContent = settings.liteRt.version;
  // Last, so that no file is fetched twice at a time. Private windows deny it, and are not used offline.
  await navigator.serviceWorker?.register("sw.js").catch(() => {});
}

async function showLicense() {
  element("license").textContent = await (await fetch("licenses/apache-2.0.txt")).text();
}

function hasWhatItTakes() {
  const hasSimd = globalThis.WebAssembly?.validate(new Uint8Array(SIMD_PROGRAM));
  return Boolean(hasSimd && globalThis.OffscreenCanvas && globalThis.createImageBitmap);
}

/** A function that gives jobs to a worker and waits for what comes of them. */
function openWorker(worker) {
  const waiting = new Map();
  let jobs = 0;
  worker.onmessage = ({ data: { id, result, fault } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (fault !== undefined) reject(new Error(fault));
    else resolve(result);
  };
  worker.onerror = ({ message }) => {
    waiting.forEach(({ reject }) => reject(new Error(message ?? "the worker cannot run")));
    waiting.clear();
  };
  return (job, details = {}, transferred = []) =>
    new Promise((resolve, reject) => {
      waiting.set(++jobs, { resolve, reject });
      worker.postMessage({ id: jobs, job, ...details }, transferred);
    });
}

// --- photos ---

/** Look at photos one after the other; one that fails is named, and the rest is done. */
async function look(chosen) {
  if (!chosen.length || !call) return;
  stopCamera();
  report("");
  [files, records] = [chosen, []];
  for (const [i, file] of chosen.entries()) {
    tell(`Looking at ${file.name} …`);
    const found = await guarded(() => lookAt(file));
    if (files !== chosen) return; // others have been chosen meanwhile
    if (found) records[i] = jsonLine(found);
  }
  listPhotos();
}

async function lookAt(file) {
  await check(file);
  const result = await call("photo", { file, isTwoStage: isTwoStage() });
  show({ ...result, name: file.name });
  listFaces();
  tell(`${file.name}: ${sentence(shown.faces)}`);
  return shown;
}

/** A button for each photo, where there are several. */
function listPhotos() {
  element("photos").hidden = files.length < 2;
  element("photos").replaceChildren(
    ...files.map((file, i) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: file.name });
      button.disabled = records[i] === undefined;
      button.setAttribute("aria-current", String(file.name === shown?.name));
      button.addEventListener("click", () => guarded(() => lookAt(file).then(listPhotos)));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
}

// --- camera ---

async function toggleCamera() {
  if (camera.isOn) {
    stopCamera();
    return;
  }
  report("");
  await guarded(run);
  nameButton();
}

async function run() {
  tell("Starting the camera …");
  await camera.start(element("facing").value);
  nameButton();
  [files, records] = [[], []];
  element("photos").hidden = element("faces").hidden = true;
  await call("restart");
  for await (const { bitmap, time } of camera.frames()) {
    const result = await call("frame", { bitmap, time, isTwoStage: isTwoStage() }, [bitmap]);
    if (!camera.isOn) continue; // it was stopped meanwhile
    const { width, height } = result.bitmap;
    show({ ...result, name: "camera", width, height });
    if (performance.now() - announced > ANNOUNCE_EVERY_MS) tell(sentence(shown.faces));
  }
}

function stopCamera() {
  if (camera.isOn) tell("The camera is off.");
  camera.stop();
  nameButton();
}

function nameButton() {
  element("camera").textContent = camera.isOn ? "Stop camera" : "Start camera";
}

// --- what is shown ---

/** Show an image with its faces and counts. */
function show({ bitmap, times, heapBytes, ...image }) {
  shown?.bitmap.close();
  shown = { ...image, bitmap };
  const { canvas } = context;
  const [width, height] = canvasSize(image);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.hidden = element("downloads").hidden = false;
  element("hint").hidden = true;
  draw(context, bitmap, image.faces, settings.drawing, canvas.width / canvas.clientWidth);
  canvas.setAttribute("aria-label", `${image.name}: ${sentence(image.faces)}`);
  element("counts").replaceChildren(...counts(image.faces).map(countItem));
  const [detector, classifier, heap] = [times.detector, times.classifier, heapBytes / 2 ** 20].map(Math.round);
  element("times").textContent = `Detector ${detector} ms, classifier ${classifier} ms, memory ${heap} MiB.`;
}

/** The image's own size, or a smaller one that any canvas takes. */
function canvasSize({ width, height }) {
  const scale = Math.min(1, Math.sqrt(MAX_CANVAS_PIXELS / (width * height)));
  return [width, height].map((side) => Math.max(1, Math.floor(side * scale)));
}

/** How many faces there are of each class, and how many are uncertain. */
function counts(faces) {
  const of = (chosen) => faces.filter(chosen).length;
  const classes = Object.entries(settings.drawing.classes).map(([name, look]) => ({
    text: look.shown,
    count: of((face) => face.label === name),
    color: look.color,
    isDashed: look.is_dashed,
  }));
  const uncertain = { text: "uncertain", count: of((face) => face.isUncertain), color: settings.drawing.uncertain };
  return [...classes, uncertain].filter(({ count }) => count);
}

function countItem({ text, count, color, isDashed = false }) {
  const item = Object.assign(document.createElement("li"), { textContent: `${count} ${text}` });
  item.classList.toggle("is-dashed", isDashed);
  item.style.setProperty("--class-color", color);
  return item;
}

function sentence(faces) {
  const number = faces.length === 1 ? "1 face" : `${faces.length || "no"} faces`;
  const parts = counts(faces).map(({ count, text }) => `${count} ${text}`);
  return parts.length ? `${number}: ${parts.join(", ")}` : number;
}

function listFaces() {
  const rows = shown.faces.map(({ label, probability, isUncertain, box }) => {
    const row = document.createElement("tr");
    const percent = `${Math.round(100 * probability)} %${isUncertain ? ", uncertain" : ""}`;
    for (const text of [settings.drawing.classes[label].shown, percent, box.join(", ")]) {
      row.append(Object.assign(document.createElement("td"), { textContent: text }));
    }
    return row;
  });
  element("faces").tBodies[0].replaceChildren(...rows);
  element("faces").hidden = !rows.length;
}

/** Say what is going on, also to screen readers. */
function tell(text) {
  announced = performance.now();
  if (element("status").textContent !== text) element("status").textContent = text;
}

/** Say what went wrong, below what went wrong before; an empty text clears all. */
function report(text) {
  const before = element("fault").textContent;
  element("fault").textContent = text && before ? `${before}\n${text}` : text;
  element("fault").hidden = !text;
}

/** Do something that may fail: then the page says so and goes on. */
async function guarded(work) {
  try {
    return await work();
  } catch (error) {
    report(error.message);
    tell("Ready.");
    return undefined;
  }
}

// --- downloads ---

async function saveImage() {
  const { name, bitmap, faces } = shown;
  const canvas = new OffscreenCanvas(...canvasSize(shown));
  draw(canvas.getContext("2d", { alpha: false }), bitmap, faces, settings.drawing);
  const image = await canvas.convertToBlob({ type: "image/jpeg", quality: JPEG_QUALITY });
  save(image, `${name.replace(/\.[^.]*$/, "")}_faces.jpg`);
}

function saveJson() {
  const lines = records.filter(Boolean);
  save(new Blob(lines.length ? lines : [jsonLine(shown)], { type: "application/jsonl" }), "faces.jsonl");
}

function save(data, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(data), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // when the browser has surely read it
}

// --- controls ---

function isTwoStage() {
  return element("controls").elements.stages.value === "two";
}

element("files").addEventListener("change", ({ target }) => {
  look([...target.files]);
  target.value = ""; // so that the same photo can be chosen again
});
element("camera").addEventListener("click", toggleCamera);
element("facing").addEventListener("change", async () => {
  if (!camera.isOn) return;
  stopCamera();
  await toggleCamera();
});
element("controls").addEventListener("change", ({ target }) => {
  if (target.name === "stages" && !camera.isOn) look([...files]);
});
element("about").addEventListener("toggle", () => guarded(showLicense), { once: true });
element("save-image").addEventListener("click", saveImage);
element("save-json").addEventListener("click", saveJson);
document.addEventListener("paste", ({ clipboardData }) => look([...clipboardData.files]));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  element("stage").classList.add("is-target");
});
document.addEventListener("dragleave", () => element("stage").classList.remove("is-target"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  element("stage").classList.remove("is-target");
  look([...event.dataTransfer.files]);
});

start().catch((error) => {
  report(`The networks could not be loaded (${error.message}): reload the page.`);
  tell("Not ready.");
});
