/** Two groups of pictures -> pairs, from which a person chooses -> CSV, and a bound of the share. */

import { make } from "./forms.js";
import { source } from "./wire.js";

const Z_95 = 1.959964; // standard deviations that hold 95% of a normal distribution
const COLUMNS = [
  "number", "question", "model", "settings", "beside", "seed", "index", "class",
  "left", "right", "choice", "chosen", "milliseconds",
];

/** Wilson's interval (1927) of a proportion, [low, high]; see `adm.metrics.accuracy`. */
export function wilson(successes, count) {
  const [share, spread] = [successes / count, Z_95 ** 2 / count];
  const centre = (share + spread / 2) / (1 + spread);
  const half = Math.sqrt(share * (1 - share) * spread + spread ** 2 / 4) / (1 + spread);
  return [Math.max(0, Math.min(share, centre - half)), Math.min(1, Math.max(share, centre + half))];
}

/** One pair at a time on the stage. The choices are kept until the page is left. */
export class Blind {
  constructor() {
    this.choices = [];
    this.tiles = []; // none that opens, or is dragged
    this.records = [];
    this.title = make("h2", { tabIndex: -1 });
    this.tally = make("p", { role: "status" });
    const csv = { download: "choices.csv", textContent: "CSV", title: "Download all choices" };
    this.csv = make("a", { className: "button", hidden: true, ...csv });
    this.buttons = [0, 1].map((place) => {
      const button = make("button", { type: "button", className: "tile" });
      button.append(make("img", { alt: "", draggable: false }), make("span"));
      button.addEventListener("click", () => this.press(place));
      return button;
    });
    this.two = make("div", { className: "two" }, ...this.buttons);
    const how = "Click a picture, or press ← or →, to choose; again to go on.";
    this.hint = make("p", { className: "quiet", textContent: how });
    const bar = make("div", { className: "pair" }, this.tally, this.csv);
    this.element = make("section", { className: "blind" }, this.title, bar, this.two, this.hint);
  }

  fit() {}

  /**
   * Ask for every pair that has not been judged.
   *
   * @param sides {body, name, group} of both: the order, the maker, and the pictures; the second may
   *   be real ones.
   * @param end called after the last pair, or if there is none.
   */
  async begin(sides, end) {
    const [one, other] = sides;
    [this.sides, this.end, this.real] = [sides, end, other.body.kind === "real"];
    const seedless = ({ settings: { seed, ...rest } = {} }) => JSON.stringify(rest);
    this.asked = {
      question: this.real ? "Which one is real?" : "Which one is better?",
      model: one.body.model,
      settings: seedless(one.body),
      beside: seedless(other.body),
      seed: one.body.settings.seed,
    };
    const { seed, ...kept } = this.asked;
    this.about = JSON.stringify([kept, one.name, other.name]); // pairs of one tally
    const judged = new Set(this.choices.map((each) => each.pair));
    const pairs = one.group.records.map(({ index, label }, place) => {
      return { place, pair: JSON.stringify([this.about, seed, index, label]) };
    });
    this.left = pairs.filter(({ pair }) => !judged.has(pair));
    const [, height, width] = one.group.records[0].shape;
    this.two.style.setProperty("--ratio", width / height);
    const drawn = this.next();
    this.title.focus();
    await drawn;
    this.element.scrollIntoView({ block: "nearest" });
  }

  /** A click on a picture, or its arrow. */
  press(place) {
    if (this.chosen !== null) this.next();
    else if (this.seen !== null) this.choose(place);
  }

  /** A key, of a page that this is on. */
  key(event) {
    const place = ["ArrowLeft", "ArrowRight"].indexOf(event.key);
    const enter = event.key === "Enter" && !event.target.closest("button, a, summary");
    if (this.two.hidden || event.repeat) return;
    if (place >= 0) this.press(place);
    else if (enter && this.chosen !== null) this.next();
    else return;
    event.preventDefault();
  }

  async next() {
    this.pair = this.left.shift();
    this.two.hidden = this.hint.hidden = !this.pair;
    this.tally.textContent = this.bound();
    if (!this.pair) {
      this.title.textContent = "No pair is left; another seed (n) brings more.";
      this.end();
      return this.title.focus();
    }
    const left = make("span", { className: "quiet", textContent: ` ${this.left.length + 1} left` });
    this.title.replaceChildren(this.asked.question, left);
    this.shown = Math.random() < 0.5 ? [0, 1] : [1, 0]; // the side at each place
    this.chosen = this.seen = null;
    this.two.setAttribute("aria-busy", true);
    this.buttons.forEach((button, place) => {
      const { png } = this.sides[this.shown[place]].group.records[this.pair.place];
      button.firstChild.src = source(png);
      this.caption(place, ["← left", "right →"][place], "");
    });
    await Promise.allSettled(this.buttons.map((button) => button.firstChild.decode()));
    this.seen = performance.now();
    this.two.setAttribute("aria-busy", false);
  }

  caption(place, text, more) {
    const button = this.buttons[place];
    button.lastChild.textContent = text;
    button.setAttribute("aria-label", `${["Left", "Right"][place]} picture${more}`);
    button.classList.toggle("chosen", place === this.chosen);
  }

  choose(place) {
    const milliseconds = Math.round(performance.now() - this.seen);
    this.chosen = place;
    const [one, other] = this.sides.map(({ group }) => group.records[this.pair.place]);
    const [left, right] = this.shown.map((side) => this.sides[side].name);
    const [won, choice] = [this.shown[place] === Number(this.real), ["left", "right"][place]];
    this.choices.push({
      ...this.asked,
      ...(this.real ? { beside: other.title } : {}),
      ...{ number: this.choices.length + 1, index: one.index, class: one.label },
      ...{ left, right, choice, chosen: [left, right][place], milliseconds },
      ...{ about: this.about, pair: this.pair.pair, won },
    });
    this.shown.forEach((side, at) => {
      const heading = this.sides[side].group.heading;
      this.caption(at, heading, `: ${heading}${at === place ? ", chosen" : ""}`);
    });
    const answer = this.real ? `${won ? "Yes" : "No"}, the ${left === "real" ? "left" : "right"} one.` : "";
    this.tally.textContent = `${answer} ${this.bound()}`;
    this.csv.href = `data:text/csv;charset=utf-8,${encodeURIComponent(written(this.choices))}`;
    this.csv.hidden = false;
  }

  /** The share of the real ones that were recognised, or of the first side, and its interval. */
  bound() {
    const made = this.choices.filter(({ about }) => about === this.about);
    if (!made.length) return "";
    const won = made.filter((each) => each.won).length;
    const [low, high] = wilson(won, made.length);
    const percent = (share) => Math.round(100 * share);
    const of = `${won} of ${made.length}`;
    const what = this.real ? `${of} recognised` : `${this.sides[0].name} preferred in ${of}`;
    const interval = `95% interval ${percent(low)} to ${percent(high)}%`;
    const sure = low > 0.5 || high < 0.5 ? ", which excludes 50%" : "";
    return `${what}: ${percent(won / made.length)}%, ${interval}${sure}.`;
  }
}

const written = (rows) =>
  [COLUMNS, ...rows.map((row) => COLUMNS.map((column) => row[column]))]
    .map((cells) => cells.map((cell) => `"${String(cell).replaceAll('"', '""')}"`).join(","))
    .join("\n");
