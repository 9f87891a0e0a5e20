/** A picture -> a sheet on which it is rewound, varied, painted, compared and explained. */

import { adding, advanced, chooser, field, make, option } from "./forms.js";
import { order, sent, source } from "./wire.js";

const $ = (id) => document.getElementById(id);
const frame = $("frame");
const layer = $("layer");
const words = (text) => make("p", { className: "quiet", textContent: text });

export class Sheet {
  /** @param app what the page offers: `model`, `known`, `settings()`, `records()`, `run()`, ... */
  constructor(app) {
    this.app = app;
    this.dialog = $("sheet");
    this.asked = new AbortController();
    for (const input of document.getElementsByName("tab")) {
      input.addEventListener("change", () => this.show(input.value));
    }
    $("close").addEventListener("click", () => this.dialog.close());
    $("keep").addEventListener("click", () => this.keep());
    $("before").addEventListener("click", () => this.turn(-1));
    $("after").addEventListener("click", () => this.turn(1));
    this.dialog.addEventListener("close", () => this.asked.abort());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    this.dialog.addEventListener("keydown", (event) => {
      if (event.target.matches("input:not([type=radio]), select, textarea, canvas")) return;
      if (event.target.type === "radio" && event.key.startsWith("Arrow")) return;
      const act = { ArrowLeft: () => this.turn(-1), ArrowRight: () => this.turn(1) };
      act.k = () => this.keep();
      act[event.key]?.();
    });
    this.brushing();
  }

  open(record, tab = document.querySelector("[name=tab]:checked").value) {
    this.record = record;
    $("title").textContent = record.title;
    $("save").href = source(record.png);
    $("save").download = `${record.title.replace(/[^\w]+/g, "-")}.png`;
    $("large").alt = record.title;
    document.querySelector(`[name=tab][value=${tab}]`).checked = true;
    const [, height, width] = record.shape;
    frame.style.setProperty("--ratio", `${width} / ${height}`);
    for (const id of ["before", "after"]) $(id).hidden = this.app.records().length < 2;
    if (!this.dialog.open) this.dialog.showModal();
    $("title").focus();
    this.show(tab);
  }

  turn(by) {
    const all = this.app.records();
    const place = all.indexOf(this.record);
    if (place >= 0) this.open(all[(place + by + all.length) % all.length]);
  }

  keep() {
    this.app.keep(this.record);
    this.say("Kept.");
  }

  say(text) {
    $("news").textContent = text;
  }

  show(tab) {
    this.asked.abort();
    $("large").src = source(this.record.png);
    $("under").replaceChildren();
    layer.hidden = tab !== "paint";
    this.say("");
    $("panel").replaceChildren(...(this[tab](this.record) ?? []));
  }

  /** Ask for something about the picture; another question ends this one. */
  async ask(body, handlers) {
    this.asked.abort();
    this.asked = new AbortController();
    const progress = ({ what, done, of }) => this.say(`${what}: ${done} of ${of}`);
    try {
      await order(body, { progress, ...handlers }, this.asked.signal);
    } catch (error) {
      if (error.name !== "AbortError") this.say(error.message);
    }
  }

  /** A button that runs an order on the stage. */
  go(text, heading, body) {
    const click = () => {
      const given = body();
      this.dialog.close();
      this.app.run(given, heading());
    };
    return make("button", { type: "button", className: "main", textContent: text, onclick: click });
  }

  classes(none) {
    const { classes } = this.app.model;
    const each = classes.map((name) => option(name));
    const select = make("select", {}, option("", none), ...each);
    const root = field("Class", select);
    root.hidden = !classes.length;
    return [root, () => select.value || null];
  }

  number(title, value, limits) {
    const input = make("input", { type: "number", value, ...limits });
    return [field(title, input), () => Number(input.value)];
  }

  rewind(record) {
    if (record.order === null) return [words("It was not made here, so it has no way to rewind.")];
    this.ask({ kind: "film", of: record.order, index: record.index }, {
      film: (film) => $("panel").replaceChildren(...this.way(record, film)),
    });
    return [];
  }

  way(record, { noise, film, noisy, estimates, levels }) {
    this.say("");
    const last = levels.length;
    const slider = make("input", { type: "range", min: 0, max: last, step: 1, value: last });
    const where = make("p", { className: "quiet", id: "where" });
    const small = make("img", { alt: "what the network sees there" });
    slider.setAttribute("aria-label", "Step");
    const strips = {};
    const cut = async (strip, place) => {
      strips[strip] ??= createImageBitmap(blobOf(strip));
      const [, height, width] = record.shape;
      const canvas = make("canvas", { width, height });
      const part = [place * width, 0, width, height, 0, 0, width, height];
      canvas.getContext("2d").drawImage(await strips[strip], ...part);
      return canvas.toDataURL();
    };
    const move = async () => {
      const step = Number(slider.value);
      const level = step ? levels[step - 1] : this.app.model.levels;
      const text = step === last ? "the picture itself" : `noise level ${+level.toFixed(1)}`;
      where.textContent = `Step ${step} of ${last}: ${text}`;
      slider.setAttribute("aria-valuetext", where.textContent);
      button.disabled = step === last;
      const whole = step === last ? source(record.png) : await cut(estimates, Math.max(0, step - 1));
      const seen = step ? await cut(noisy, step - 1) : source(noise);
      if (Number(slider.value) !== step) return;
      $("large").src = whole;
      small.src = seen;
    };
    const [classes, chosen] = this.classes("the same");
    const [scale, strength] = this.number("Scale", record.order.settings.scale ?? "", {
      step: "any",
      placeholder: "the same",
    });
    const button = this.go(
      "Go on from here",
      () => `From step ${slider.value} on`,
      () => {
        const level = Number(slider.value) ? levels[slider.value - 1] : this.app.model.levels;
        const name = chosen();
        const changes = [`level=${level}`];
        if (name) changes.push(`classes=${safe(name, this.app.model.classes)}`);
        if (scale.querySelector("input").value !== "") changes.push(`scale=${strength()}`);
        const { kind, settings } = record.order;
        const then = [...(settings.then ?? []), `at:${changes.join(",")}`];
        const classes = record.label ? { [record.label]: 1 } : null;
        const alone = kind === "sample" ? { classes, only: record.index } : {};
        return { ...record.order, ...alone, settings: { ...settings, then } };
      },
    );
    slider.addEventListener("input", move);
    $("under").replaceChildren(slider, where);
    move();
    const address = `data:image/webp;base64,${film}`;
    const shots = make(
      "div",
      { className: "shots" },
      figure(small, "what the network sees"),
      figure(make("img", { src: source(noise), alt: "its noise" }), "its noise"),
      figure(
        make("img", { src: address, alt: "its way from noise, animated" }),
        make("a", { href: address, download: "way.webp", textContent: "its way from noise" }),
      ),
    );
    return [shots, make("h3", { textContent: "From this step on" }), classes, scale, button];
  }

  vary(record) {
    const { specs } = this.app.known;
    const { interpolate, ...kinds } = specs.edit;
    const how = chooser("Way", kinds, "noise", ["strength"]);
    const range = { type: "range", min: 0.05, max: 1, step: 0.05, value: 0.5 };
    const strength = make("input", range);
    const [classes, chosen] = this.classes("none");
    const [count, number] = this.number("Pictures", 4, { min: 1, max: 64 });
    const order = (more) => this.app.edit({ classes: chosen(), ...more });
    const start = this.go(
      "Start from it",
      () => `From ${record.title}`,
      () => {
        const edit = adding(how.spec, "strength", strength.value);
        return order({ pictures: [sent(record.png)], edit, samples: number() });
      },
    );
    const own = [field("How much changes", strength), classes, count, advanced(how), start];
    const others = this.app.records().filter((each) => each !== record);
    if (!others.length) return own;
    const other = make("select", {}, ...others.map((each, place) => option(place, each.title)));
    const between = this.go(
      "Interpolate",
      () => `From ${record.title} to ${others[other.value].title}`,
      () => this.app.between(record, others[other.value]),
    );
    const title = make("h3", { textContent: "Between it and another" });
    const label = field("The other", other);
    const note = words("Or drag one picture onto another on the page.");
    return [...own, title, label, between, note];
  }

  paint(record) {
    [, layer.height, layer.width] = record.shape;
    this.cursor = [layer.width >> 1, layer.height >> 1];
    layer.setAttribute("role", "application");
    layer.setAttribute(
      "aria-label",
      "Mask: paint what is to be filled. Arrows move the brush, space paints, x clears.",
    );
    layer.tabIndex = 0;
    const size = make("input", { type: "range", min: 1, max: layer.width >> 1, value: this.size });
    size.addEventListener("input", () => (this.size = Number(size.value)));
    const method = chooser("Method", this.app.known.specs.method, "mmps");
    const [classes, chosen] = this.classes("none");
    const [count, number] = this.number("Pictures", 4, { min: 1, max: 64 });
    const fill = this.go(
      "Fill it",
      () => `Filled in ${record.title}`,
      () =>
        this.app.edit({
          kind: "fill",
          picture: sent(record.png),
          mask: sent(this.mask()),
          method: method.spec,
          classes: chosen(),
          samples: number(),
        }),
    );
    const clear = () => layer.getContext("2d").clearRect(0, 0, layer.width, layer.height);
    $("under").replaceChildren(
      field("Brush", size),
      make("button", { type: "button", textContent: "Clear", onclick: clear }),
    );
    return [words("Paint on the picture what is to be filled."), classes, count, advanced(method), fill];
  }

  brushing() {
    this.size = 6;
    const dot = ([x, y]) => {
      const pen = layer.getContext("2d");
      pen.fillStyle = getComputedStyle(frame).getPropertyValue("--accent");
      const reach = this.size / 2;
      for (let row = 0; row < layer.height; row++) {
        for (let column = 0; column < layer.width; column++) {
          const far = Math.hypot(column + 0.5 - x, row + 0.5 - y);
          if (far <= reach) pen.fillRect(column, row, 1, 1);
        }
      }
    };
    const place = (event) => {
      const { left, top, width, height } = layer.getBoundingClientRect();
      const across = ((event.clientX - left) / width) * layer.width;
      return [across, ((event.clientY - top) / height) * layer.height];
    };
    layer.addEventListener("pointerdown", (event) => {
      layer.setPointerCapture(event.pointerId);
      this.cursor = place(event);
      dot(this.cursor);
    });
    layer.addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      const [from, to] = [this.cursor, place(event)];
      const parts = Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1])) || 1;
      for (let part = 1; part <= parts; part++) {
        dot(from.map((start, axis) => start + ((to[axis] - start) * part) / parts));
      }
      this.cursor = to;
    });
    layer.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      const step = steps[event.key];
      if (step) this.cursor = this.cursor.map((value, axis) => value + step[axis]);
      else if (event.key === " ") dot(this.cursor);
      else if (event.key === "x") layer.width = layer.width;
      else return;
      event.preventDefault();
      this.say(`Brush at ${this.cursor.map(Math.round).join(", ")}`);
    });
  }

  /** The mask as a PNG in base64: white where it is painted. */
  mask() {
    const canvas = make("canvas", { width: layer.width, height: layer.height });
    const pen = canvas.getContext("2d");
    pen.drawImage(layer, 0, 0);
    pen.globalCompositeOperation = "source-in";
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.globalCompositeOperation = "destination-over";
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    return canvas.toDataURL().split(",")[1];
  }

  nearest(record) {
    this.say("Looking…");
    this.ask({ kind: "nearest", model: this.app.model.model, picture: sent(record.png) }, {
      nearest: ({ data, images, features, near, copy, threshold, nearest }) => {
        const rule = `Nearer than ${threshold.toPrecision(3)}, as 1% of new images are, is a likely copy.`;
        const what = copy ? "A training image, pixel for pixel." : near ? "A likely copy." : "No copy.";
        this.say(`${what} ${rule}`);
        const shots = nearest.map((each) => {
          const text = `${each.class} ${each.distance.toPrecision(3)}`;
          return figure(make("img", { src: source(each.png), alt: each.class }), text);
        });
        const note = `The nearest of ${images.toLocaleString("en")} in ${data}, by ${features}.`;
        $("panel").replaceChildren(make("div", { className: "shots" }, ...shots), words(note));
      },
    });
  }

  code(record) {
    if (!record.command) return [words("It was not made here.")];
    const parts = [];
    const texts = { "On the command line": record.command, "In Python": record.python };
    for (const [title, textContent] of Object.entries(texts)) {
      if (!textContent) continue;
      const text = make("pre", { tabIndex: 0, textContent });
      const onclick = async () => {
        getSelection().selectAllChildren(text);
        await navigator.clipboard?.writeText(textContent); // not on a page of another machine
        this.say(navigator.clipboard ? "Copied." : "Selected.");
      };
      const copy = make("button", { type: "button", textContent: "Copy", onclick });
      copy.setAttribute("aria-label", `Copy: ${title}`);
      parts.push(make("h3", {}, title, copy), text);
    }
    const { pictures = [], picture, mask } = record.order ?? {};
    const files = picture ? { "picture.png": picture, "mask.png": record.known } : {};
    pictures.forEach((each, place) => {
      files[pictures.length > 1 ? `pair/${place}.png` : "picture.png"] = each;
    });
    for (const [name, content] of Object.entries(files)) {
      const href = source(content.replaceAll("-", "+").replaceAll("_", "/"));
      parts.push(make("p", {}, make("a", { href, download: name, textContent: name })));
    }
    if (record.order?.kind === "sample") {
      const restore = () => {
        this.dialog.close();
        this.app.restore(record);
      };
      parts.push(
        make("button", { type: "button", textContent: "Bring its settings back", onclick: restore }),
      );
    }
    return parts;
  }
}

/** Base64 of a PNG -> Blob. */
function blobOf(png) {
  const bytes = Uint8Array.from(atob(png), (each) => each.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

const figure = (image, caption) =>
  make("figure", {}, image, make("figcaption", {}, caption));

/** A class as a spec has it: by number if its name has a sign of the grammar. */
const safe = (name, classes) => (/[,:=+]/.test(name) ? classes.indexOf(name) : name);
