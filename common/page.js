"use strict";
/* Everything can be read without this: it adds keys, counts what the filters leave, wipes masks, and shows one class of a t-SNE. */

const find = (selector, within = document) => [...within.querySelectorAll(selector)];

/* Keys: Escape closes an item, the arrows open the one before or after it. */
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.target.closest("input, button, summary")) return;
  const link = { Escape: ".back", ArrowLeft: ".previous", ArrowRight: ".next" }[event.key];
  const target = link && document.querySelector(`.item:target > nav ${link}`);
  if (target) {
    event.preventDefault();
    target.click();
  }
});

/* Filters: the style hides what does not fit; a report without a tile left loses its heading too. */
function count() {
  const shown = (element) => getComputedStyle(element).display !== "none";
  const groups = find(".group").map((group) => [group, find(".tile", group).filter(shown).length]);
  for (const [group, left] of groups) group.hidden = left === 0;
  const report = find("[name=report]").findIndex((input) => input.checked);
  const left = groups.reduce((sum, [, tiles], place) => sum + (report === 0 || report === place + 1 ? tiles : 0), 0);
  document.getElementById("count").textContent = left ? `${left} of ${find(".tile").length} items shown.` : "No item fits these filters.";
}
document.querySelector(".filters").addEventListener("change", count);
count();

/* Masks: the slider, or the pointer on a picture, moves the line between mask and photograph. */
for (const wipe of find(".wipe")) {
  const range = wipe.querySelector("[type=range]");
  const tiles = wipe.querySelector(".tiles");
  const show = () => tiles.style.setProperty("--at", `${range.value}%`);
  range.addEventListener("input", show);
  for (const frame of find(".frame", tiles)) {
    frame.addEventListener("pointermove", (event) => {
      const box = frame.getBoundingClientRect();
      range.value = (100 * (event.clientX - box.left)) / box.width;
      show();
    });
  }
  const stages = find("[type=radio]", wipe);
  const choose = () => tiles.style.setProperty("--stage", stages.find((input) => input.checked).value);
  for (const input of stages) input.addEventListener("change", choose);
  choose();
  wipe.hidden = false;
}

/* t-SNE: the colours and markers of figures.class_styles. */
const HUES = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"];
const MARKERS = [
  (draw, x, y, r) => draw.arc(x, y, r, 0, 7),
  (draw, x, y, r) => draw.rect(x - r, y - r, 2 * r, 2 * r),
  (draw, x, y, r) => polygon(draw, x, y, [0, -r, r, r, -r, r]),
  (draw, x, y, r) => polygon(draw, x, y, [0, -1.3 * r, 1.3 * r, 0, 0, 1.3 * r, -1.3 * r, 0]),
  (draw, x, y, r) => polygon(draw, x, y, [0, r, r, -r, -r, -r]),
];
function polygon(draw, x, y, by) {
  draw.moveTo(x + by[0], y + by[1]);
  for (let i = 2; i < by.length; i += 2) draw.lineTo(x + by[i], y + by[i + 1]);
  draw.closePath();
}

function paint(canvas, panel, target, chosen) {
  const draw = canvas.getContext("2d");
  draw.clearRect(0, 0, canvas.width, canvas.height);
  target.forEach((label, i) => {
    const one = label === chosen;
    draw.globalAlpha = chosen === null ? 0.75 : one ? 1 : 0.07;
    draw.fillStyle = HUES[label % 10];
    draw.beginPath();
    MARKERS[Math.floor(label / 10) % 5](draw, 10 + 0.7 * panel.x[i], 10 + 0.7 * panel.y[i], one ? 6 : 4);
    draw.fill();
  });
}

function build(points) {
  const { panels, target } = JSON.parse(points.querySelector("script").textContent);
  const make = (name, parent, fields = {}) => parent.appendChild(Object.assign(document.createElement(name), fields));
  const classes = make("div", points, { className: "classes" });
  const row = make("div", points, { className: "panels" });
  const canvases = panels.map((panel) => {
    const figure = make("figure", row);
    const canvas = make("canvas", figure, { width: 720, height: 720 });
    make("figcaption", figure, { textContent: panel.title });
    return canvas;
  });
  let pinned = null;
  const show = (label) => canvases.forEach((canvas, i) => paint(canvas, panels[i], target, label));
  for (const label of [...new Set(target)].sort((a, b) => a - b)) {
    const button = make("button", classes, { type: "button", textContent: label, ariaPressed: "false" });
    button.setAttribute("aria-label", `class ${label}`);
    button.style.setProperty("--of", HUES[label % 10]);
    for (const name of ["pointerenter", "focus"]) button.addEventListener(name, () => show(label));
    for (const name of ["pointerleave", "blur"]) button.addEventListener(name, () => show(pinned));
    button.addEventListener("click", () => {
      pinned = pinned === label ? null : label;
      for (const other of find("button", classes)) other.ariaPressed = String(pinned !== null && other === button);
      show(pinned);
    });
  }
  show(null);
  points.hidden = false;
}
find(".points").forEach(build);
