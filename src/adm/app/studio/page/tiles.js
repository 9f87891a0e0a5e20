/** Events of an order -> pictures on the stage: live on a canvas, then as the PNG itself. */

import { make } from "./forms.js";
import { source } from "./wire.js";

const GAP = 10;
const LEAST = 90; // pixels of a side
const CAPTION = 26;
const MARGIN = 24; // below

/** One picture: what is known of it is its `record`. */
export class Tile {
  constructor(shape, name, open) {
    [, this.height, this.width] = shape;
    this.canvas = make("canvas", { width: this.width, height: this.height });
    this.caption = make("span", { textContent: name });
    this.element = make(
      "button",
      { type: "button", className: "tile live", disabled: true },
      this.canvas,
      this.caption,
    );
    this.element.setAttribute("aria-label", `${name || "picture"}, not finished`);
    this.element.addEventListener("click", () => open(this.record));
    this.record = null;
  }

  draw(picture, place) {
    if (this.record) return;
    const from = [place * this.width, 0, this.width, this.height];
    this.canvas.getContext("2d").drawImage(picture, ...from, 0, 0, this.width, this.height);
  }

  finish(record) {
    this.record = record;
    const image = make("img", { src: source(record.png), alt: "", draggable: false });
    this.element.firstChild.replaceWith(image);
    this.element.classList.remove("live");
    this.element.disabled = false;
    this.element.draggable = true;
    this.element.setAttribute("aria-label", record.title);
  }

  fail(message) {
    this.caption.textContent = "refused";
    this.element.title = message;
    this.element.setAttribute("aria-label", message);
    this.element.classList.replace("live", "refused");
  }
}

/** Draw a strip of pictures side by side, one on each tile. */
export function drawStrip(png, tiles) {
  const picture = new Image();
  picture.onload = () => tiles.forEach((tile, place) => tile?.draw(picture, place));
  picture.src = source(png);
}

/**
 * Columns and side of `count` square tiles that are largest in a space, with few places empty.
 *
 * Where they would be too small to see, they fill the width, and the page is scrolled.
 */
export function layout(count, width, height, caption, least = LEAST) {
  const most = Math.max(1, Math.min(count, Math.floor((width + GAP) / (least + GAP))));
  const full = (columns) => (width - (columns - 1) * GAP) / columns;
  let best = [0, most, full(most)];
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const side = Math.min(full(columns), (height - (rows - 1) * GAP) / rows - caption);
    const worth = (side * count) / (rows * columns);
    if (side >= least && worth > best[0]) best = [worth, columns, side];
  }
  return best.slice(1);
}

/** Pictures in rows, as large as the window allows. */
export class Group {
  /** @param compared whether another group is shown with it, of which each picture has its place. */
  constructor(heading, shape, labels, count, open, compared) {
    this.compared = compared;
    this.heading = heading;
    this.captioned = new Set(labels).size > 1; // one class is named beside them
    const name = (place) => (this.captioned ? labels[place] : "");
    this.tiles = Array.from({ length: count }, (_, place) => new Tile(shape, name(place), open));
    this.list = make("div", { className: "tiles" }, ...this.tiles.map((tile) => tile.element));
    const title = heading ? [make("h2", { textContent: heading })] : [];
    this.element = make("section", { className: "group" }, ...title, this.list);
  }

  fit() {
    const top = this.list.getBoundingClientRect().top + window.scrollY;
    const width = this.list.clientWidth;
    const height = this.compared ? 0 : window.innerHeight - top - MARGIN;
    const least = this.compared ? Math.min(LEAST, width / 5 - GAP) : LEAST; // few rows on a phone
    const caption = this.captioned ? CAPTION : 0;
    const [columns, side] = layout(this.tiles.length, width, height, caption, least);
    this.list.style.setProperty("--columns", columns);
    this.list.style.setProperty("--side", `${Math.floor(side)}px`);
  }

  step({ places, strip }) {
    drawStrip(strip, places.map((place) => this.tiles[place]));
  }

  get records() {
    return this.tiles.map((tile) => tile.record).filter(Boolean);
  }
}

/** Pictures whose rows and columns are values of two settings, each {name, values}. */
export class Matrix {
  constructor(shape, rows, columns, open) {
    this.tiles = rows.values.map(() => columns.values.map(() => new Tile(shape, "", open)));
    const over = { colSpan: columns.values.length, className: "axis" };
    const names = make("tr", {}, make("td"), heading(columns.name, "colgroup", over));
    const corner = heading(rows.name, "col", { className: "axis" });
    const head = make("tr", {}, corner, ...columns.values.map((each) => heading(each, "col")));
    const body = rows.values.map((each, row) =>
      make(
        "tr",
        {},
        heading(each, "row"),
        ...this.tiles[row].map((tile) => make("td", {}, tile.element)),
      ),
    );
    this.element = make("div", { className: "wide" }, make("table", {}, names, head, ...body));
    this.element.style.setProperty("--columns", columns.values.length);
  }

  fit() {}

  at([row, column]) {
    return this.tiles[row][column];
  }

  step({ places, strip }) {
    drawStrip(strip, places.map((place) => this.at(place)));
  }

  get records() {
    return [];
  }
}

const heading = (text, scope, more = {}) => make("th", { scope, textContent: text, ...more });
