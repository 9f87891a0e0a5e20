/** The page: what is chosen, what runs, and where its pictures go. */

import { Blind } from "./blind.js";
import { adding, chooser, control, field, make, option } from "./forms.js";
import { Sheet } from "./sheet.js";
import { Group, Matrix } from "./tiles.js";
import { order, read, sent, source } from "./wire.js";

const $ = (id) => document.getElementById(id);
const numbers = (text) => text.split(/[\s,;]+/).filter(Boolean).map(Number);
const STORED = "adm studio kept";
const MOST_KEPT = 100;
const REAL = ":real"; // beside a model; no model has this name
const STRONG = 4; // scale at which a classifier alone makes the class

const app = {
  known: null,
  model: null, // as the server describes the chosen one
  groups: [], // on the stage
  kept: [],
  running: new AbortController(),
};

/* What is chosen ------------------------------------------------------------------------------ */

app.settings = () => {
  const { settings } = app.model;
  const made = { seed: Number($("seed").value), scale: Number($("scale").value) };
  for (const part of $("settings").children) Object.assign(made, part.given?.(settings));
  return made;
};

const chosen = () => [...$("chips").querySelectorAll(":checked")].map((each) => each.value);

function classesAndCount() {
  const names = chosen();
  const count = Number($("images").value);
  if (!names.length) return { count };
  const each = (place) => Math.floor((count - place - 1) / names.length) + 1;
  const shares = names.map((name, place) => [name, each(place)]).filter(([, share]) => share > 0);
  return { classes: Object.fromEntries(shares) };
}

const sample = () => ({
  kind: "sample",
  model: app.model.model,
  settings: app.settings(),
  ...classesAndCount(),
});

/** An edit by the chosen model; without a class nothing guides to one. */
app.edit = (more) => {
  const { guide, scale, then, ...settings } = app.settings();
  const guides = more.classes ? { scale, ...(guide ? { guide } : {}) } : {};
  return { kind: "edit", model: app.model.model, settings: { ...settings, ...guides }, ...more };
};

app.between = (one, other) =>
  app.edit({
    pictures: [sent(one.png), sent(other.png)],
    edit: "interpolate:count=8,steps=20",
    samples: 1,
  });

/* Controls ------------------------------------------------------------------------------------ */

/** @param own settings that differ from the model's, such as those of a picture */
function drawControls(own = {}) {
  const { about, classes, labelled, settings, guided, steps, scales } = app.model;
  $("about").textContent = about;
  $("classes").hidden = !classes.length;
  const chip = (value) =>
    make("label", {}, make("input", { type: "checkbox", value }), make("span", { textContent: value }));
  $("chips").replaceChildren(...classes.map(chip));
  $("guided").hidden = !guided;
  const guides = [own.guide ?? settings.guide ?? []].flat();
  const guide = guides.find((each) => each.startsWith("classifier:"));
  const usual = guide ? Number(guide.match(/scale=([^,]+)/)[1]) : 0;
  setScale(own.scale ?? (labelled ? usual : STRONG));
  if (!labelled) check(classes.at(-1));
  $("slider").max = scales[1] ?? 10;
  $("settings").replaceChildren(...more(own));
  $("steps").value = steps.length ? steps.join(", ") : "4, 8, 16, 32";
  $("scales").value = scales.length ? "0, 1, 2, 4" : "0, 1, 2, 4, 8";
}

/** The rest of the settings: made from what the server says of the dataclasses. */
function more(own) {
  const { kind, classes, settings, steps } = app.model;
  const count = classes.length && classes.length <= 16 ? classes.length : 8;
  const images = make("input", { id: "images", type: "number", min: 1, max: 64, value: count });
  const parts = [field("Pictures", images)];
  const usual = own.steps ?? settings.grid?.match(/steps=(\d+)/)?.[1] ?? "";
  if (kind === "student") {
    const few = make("select", { id: "number" }, ...steps.map((each) => option(each)));
    few.value = usual || steps.at(-1);
    parts.push(given(field("Steps", few), () => ({ steps: Number(few.value) })));
  } else {
    const limits = { type: "number", min: 1, max: 1000 };
    const number = make("input", { ...limits, value: usual, id: "number" });
    const grid = spec("grid", own, ["steps"]);
    const { grid: kinds } = app.known.specs;
    const counted = () => number.value && "steps" in kinds[grid.spec.split(":")[0]].parameters;
    const give = () => (counted() ? { steps: Number(number.value) } : {});
    parts.push(given(field("Steps", number), give), spec("sampler", own), grid);
    parts.push(several("guide", own, "free:scale=1.5", "Another guide"));
    parts.push(several("then", own, "at:level=500,scale=0", "Another change on the way"));
    parts.push(spec("threshold", own));
  }
  const values = {};
  const shown = Object.entries(app.known.settings).filter(([name]) => name !== "seed");
  const others = shown.map(([name, about]) => {
    if (name in own) values[name] = String(own[name]);
    const described = { ...about, default: String(settings[name] ?? about.default) };
    return control(name, described, values[name], (value) => (values[name] = value || undefined));
  });
  const rest = make("div", { className: "parameters" }, ...others);
  return [...parts, given(rest, () => ({ ...values }))];
}

const given = (element, give) => Object.assign(element, { given: give });
const capital = (name) => name[0].toUpperCase() + name.slice(1);

/** A choice that is given where it differs from the model's. */
function spec(name, own, hidden = []) {
  const [kinds, usual] = [app.known.specs[name], app.model.settings[name]];
  const root = chooser(capital(name), kinds, own[name] ?? usual, hidden);
  const first = chooser("", kinds, usual, hidden).spec;
  return given(root, () => (root.spec === first ? {} : { [name]: root.spec }));
}

/** Any number of choices of a kind. The scale of a classifier is on the first screen. */
function several(name, own, fresh, title) {
  const list = make("div");
  const usual = app.model.settings[name] ?? [];
  const now = own[name] === "none" ? [] : [own[name] ?? usual].flat();
  const add = (text) => {
    const hidden = text.startsWith("classifier") ? ["scale"] : [];
    const one = chooser(capital(name), app.known.specs[name], text, hidden);
    one.append(link("Remove it", () => one.remove()));
    list.append(one);
  };
  const specs = () =>
    [...list.children].map(({ spec: text }) => {
      return text.startsWith("classifier") ? adding(text, "scale", $("scale").value) : text;
    });
  usual.forEach(add);
  const untouched = [...list.children].map((each) => each.spec).join();
  list.replaceChildren();
  now.forEach(add);
  return given(make("div", {}, list, link(title, () => add(fresh))), () => {
    const same = [...list.children].map((each) => each.spec).join() === untouched;
    return same ? {} : { [name]: list.children.length ? specs() : "none" };
  });
}

const link = (text, onclick) =>
  make("button", { type: "button", className: "plain", textContent: text, onclick });

function setScale(value) {
  $("scale").value = value;
  $("slider").value = value;
}

/* Orders on the stage ------------------------------------------------------------------------- */

/** Run orders one after another; anything that ran before is stopped. */
async function perform(what, act) {
  app.running.abort();
  const own = (app.running = new AbortController());
  $("go").textContent = "Stop";
  $("trouble").textContent = "";
  for (const each of document.querySelectorAll("[aria-invalid]")) each.removeAttribute("aria-invalid");
  Object.assign($("status"), { textContent: what, title: "" });
  $("progress").classList.add("running");
  try {
    await act(own.signal);
  } catch (error) {
    if (error.name === "AbortError") {
      if (own === app.running) $("status").textContent = "Stopped.";
    } else {
      $("trouble").textContent = error.message;
      $("status").textContent = "";
      const name = (error.field ?? "").split(".").at(-1);
      $({ scale: "scale", seed: "seed", steps: "number", count: "images" }[name] ?? "")
        ?.setAttribute("aria-invalid", "true");
    }
  } finally {
    if (own === app.running) {
      $("go").textContent = "Sample";
      $("progress").classList.remove("running");
      $("count").textContent = "";
    }
  }
}

function stage(...groups) {
  app.groups = groups;
  $("stage").replaceChildren(...groups.map((each) => each.element));
  fit();
}

const fit = () => app.groups.forEach((each) => each.fit());

function onStep(group, event) {
  const { step, steps, seconds } = event;
  group.step(event);
  $("progress").value = step;
  $("progress").max = steps;
  $("count").textContent = `step ${step} of ${steps} · ${seconds.toFixed(1)} s`;
}

const title = (label, index, seed) =>
  [label, `picture ${index}`, `seed ${seed}`].filter(Boolean).join(", ");

/** Run an order of pictures into a group that `place` puts on the stage; return what it took. */
async function into(body, signal, place) {
  let group, begun, known, spent;
  const image = ({ place: at, index, ...made }) => {
    const label = begun.labels[at] ?? "";
    const named = { label, index, title: title(label, index, body.settings?.seed ?? 0) };
    group.tiles[at].finish({ order: body, ...named, ...made, known, shape: begun.shape });
  };
  const handlers = {
    mask: ({ png }) => (known = png),
    begin: (event) => (group = place((begun = event))),
    step: (event) => onStep(group, event),
    image,
    done: ({ seconds }) => (spent = seconds),
  };
  await order(body, handlers, signal);
  return { ...begun, spent };
}

/** Say what orders took; whoever points at it reads the calls and the guides. */
function report(...taken) {
  const [count, spent] = ["count", "spent"].map((key) => taken.reduce((sum, each) => sum + each[key], 0));
  $("status").textContent = `${count} ${count === 1 ? "picture" : "pictures"} in ${spent.toFixed(1)} s`;
  const words = ({ cost, guidance }) => `${cost} each${guidance ? `, guided by ${guidance}` : ""}`;
  $("status").title = taken.map(words).join("; ");
}

const groupOf = (heading, { shape, labels, count }, compared = false) =>
  new Group(heading, shape, labels, count, (record) => sheet.open(record), compared);

const placed = (heading) => (begun) => {
  const group = groupOf(heading, begun);
  stage(group);
  return group;
};

/** Run an order of pictures, such as one of the sheet. */
app.run = (body, heading = "") =>
  perform("Sampling…", async (signal) => {
    report(await into(body, signal, placed(heading)));
  });

/** The same order by no guide at all; a model without labels then depends on no class. */
function unguided({ classes, ...own }) {
  const { scale, ...settings } = own.settings;
  const what = app.model.labelled && classes ? { classes } : { count: Number($("images").value) };
  return { ...own, ...what, settings: { ...settings, guide: "none" } };
}

function sides() {
  const own = sample();
  const beside = $("other").value;
  const blindly = $("blind").checked;
  if (blindly) stage();
  return perform("Sampling…", async (signal) => {
    let [other, name] = [unguided(own), "Without guidance"];
    if (beside === REAL) [other, name] = [{ kind: "real", of: own }, "real"];
    else if (beside) {
      let described;
      await order({ kind: "choose", model: beside }, { chosen: (event) => (described = event) }, signal);
      const { seed, scale } = own.settings;
      const [low, high] = described.scales.length ? described.scales : [-Infinity, Infinity];
      const guide = described.guided ? { scale: Math.min(high, Math.max(low, scale ?? 0)) } : {};
      other = { ...own, model: beside, settings: { seed, ...guide } };
      name = beside === own.model ? `${beside}, its own settings` : beside;
    }
    const groups = [];
    const add = (heading) => (begun) => {
      groups.push(groupOf(begun.heading ?? heading, begun, true));
      if (!blindly) stage(...groups);
      return groups.at(-1);
    };
    const towards = chosen().length ? ` to ${chosen().join(", ")}` : "";
    const guided = [own, beside ? own.model : `Guided${towards}, scale ${own.settings.scale}`];
    const both = beside ? [guided, [other, name]] : [[other, name], guided];
    const taken = [];
    for (const [body, heading] of both) taken.push(await into(body, signal, add(heading)));
    report(...taken.filter((each) => each.cost)); // real images cost nothing
    if (!blindly) return;
    stage(blind);
    const sides = both.map(([body, heading], place) => ({ body, name: heading, group: groups[place] }));
    blind.begin(beside ? sides : sides.toReversed(), () => stage(blind, ...groups));
  });
}

/** A grid of two settings, from one noise. */
function grid(kind) {
  const { classes } = app.model;
  const body = sample();
  const label = chosen()[0] ?? classes[0] ?? null;
  const names = kind === "class" && classes.length ? (chosen().length > 1 ? chosen() : classes.slice(0, 16)) : [label];
  const other = kind === "class" ? { name: "class", values: names } : { name: "steps", values: numbers($("steps").value) };
  let [rows, columns] = [{ name: "scale", values: numbers($("scales").value) }, other];
  if ($("stage").clientWidth < 600 && rows.values.length < columns.values.length) [rows, columns] = [columns, rows];
  const { scale, steps, ...settings } = body.settings;
  const rest = { ...settings, ...(kind === "steps" || steps === undefined ? {} : { steps }) };
  return perform("Sampling from one noise…", async (signal) => {
    const matrix = new Matrix(app.model.shape, rows, columns, keepCell);
    stage(matrix);
    await order(
      { kind: "grid", of: { ...body, classes: null, count: null, settings: rest }, rows, columns, label },
      {
        step: (event) => onStep(matrix, event),
        cell: ({ place, png, error, settings: own, class: name }) => {
          if (error) matrix.at(place).fail(error);
          else {
            const words = [`${rows.name} ${rows.values[place[0]]}`, `${columns.name} ${columns.values[place[1]]}`];
            matrix.at(place).finish({ png, settings: own, label: name, title: words.join(", ") });
          }
        },
      },
      signal,
    );
    $("status").textContent = "The same noise everywhere. Choose a picture to keep its settings.";
  });
}

function keepCell({ settings, label }) {
  if (settings.scale !== undefined) setScale(settings.scale);
  if (settings.steps !== undefined && $("number")) $("number").value = settings.steps;
  check(label);
  turn("pictures");
  act();
}

const view = () => document.querySelector("[name=view]:checked").value;

/** Show the controls of a view, and none of another's pictures. */
function turn(now) {
  document.querySelector(`[name=view][value=${now}]`).checked = true;
  stage();
  $("varied").hidden = now === "pictures";
  $("scales-of").hidden = now === "sides";
  $("steps-of").hidden = now !== "steps";
  $("other-of").hidden = $("blind-of").hidden = now !== "sides";
}

function act() {
  const now = view();
  if (now === "pictures") return app.run(sample());
  return now === "sides" ? sides() : grid(now);
}

/* Kept pictures, and dropped ones ------------------------------------------------------------- */

app.records = () => app.groups.flatMap((each) => each.records);

app.keep = (record) => {
  app.kept = [record.png, ...app.kept.filter((each) => each !== record.png)].slice(0, MOST_KEPT);
  drawKept();
  try {
    localStorage.setItem(STORED, JSON.stringify(app.kept));
  } catch {
    $("status").textContent = "The browser has no room to keep more beyond this page.";
  }
};

function drawKept() {
  $("hint").hidden = app.kept.length > 0;
  const thumb = (png, place) => {
    const image = make("img", { src: source(png), alt: "" });
    const button = make("button", { type: "button", onclick: () => recall(png) }, image);
    button.setAttribute("aria-label", `Kept picture ${place + 1}`);
    return button;
  };
  $("thumbs").replaceChildren(...app.kept.map(thumb));
}

/** A picture that was kept or dropped: its settings come back, or it is where to start from. */
const recall = (png) =>
  perform("Reading the picture…", async (signal) => {
    let found;
    const body = { kind: "drop", model: app.model.model, picture: sent(png) };
    await order(body, { dropped: (event) => (found = event) }, signal);
    const { order: from, png: fitted } = found;
    if (from?.model) return again(from);
    $("status").textContent = from
      ? "Its model is not offered here; start the studio with it."
      : "It does not say what made it.";
    const record = { png: fitted, order: null, index: 0, label: "", shape: app.model.shape };
    sheet.open({ ...record, title: "a picture of yours" }, "vary");
  });

async function again(from) {
  if (from.model !== app.model.model) await choose(from.model);
  drawControls(from.settings);
  $("seed").value = from.settings.seed ?? 0;
  if (from.kind === "sample") check(Object.keys(from.classes ?? {})[0]);
  turn("pictures");
  app.run(from, "Made again");
}

const check = (name) => {
  for (const chip of $("chips").querySelectorAll("input")) chip.checked = chip.value === name;
};

app.restore = ({ order: { kind, model, settings }, label, index }) =>
  again({ kind, model, settings, classes: label ? { [label]: 1 } : null, only: index });

/* The page ------------------------------------------------------------------------------------ */

async function choose(name) {
  stage();
  $("model").value = name;
  await order({ kind: "choose", model: name }, { chosen: (event) => (app.model = event) });
  drawControls();
  const { guided } = app.model;
  for (const input of document.getElementsByName("view")) {
    input.disabled = !guided && ["class", "steps"].includes(input.value);
  }
  turn(guided || (view() === "sides" && $("other").value) ? view() : "pictures");
  $("other").options[0].disabled = !guided; // no guidance
  if (!guided) $("other").value ||= REAL;
}

const sheet = new Sheet(app);
const blind = new Blind();

async function begin() {
  app.known = await (await fetch("known")).json();
  const names = app.known.models.map((each) => [option(each), option(each)]);
  $("model").replaceChildren(...names.map(([one]) => one));
  const none = option("", "no guidance");
  $("other").replaceChildren(none, option(REAL, "real images"), ...names.map(([, other]) => other));
  try {
    app.kept = JSON.parse(localStorage.getItem(STORED) ?? "[]");
  } catch {
    app.kept = [];
  }
  drawKept();
  await choose(app.known.models[0]);
  if (app.model.settings.guide.length) turn("sides");
}

/** Load, and then show the first pictures. */
async function load(what) {
  const before = app.model;
  await perform("Loading…", what);
  if (app.model !== before) act();
}

const another = () => {
  $("seed").value = Math.floor(Math.random() * 2 ** 31);
  act();
};

$("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("go").textContent === "Stop") app.running.abort();
  else act();
});
$("model").addEventListener("change", () => load(() => choose($("model").value)));
$("slider").addEventListener("input", () => ($("scale").value = $("slider").value));
$("scale").addEventListener("input", () => ($("slider").value = $("scale").value));
$("reseed").addEventListener("click", another);
$("usual").addEventListener("click", () => drawControls());
$("blind").addEventListener("change", () => ($("blind").checked ? another() : act())); // unseen ones
for (const input of document.getElementsByName("view")) {
  input.addEventListener("change", () => {
    turn(input.value);
    act();
  });
}
$("file").addEventListener("change", async () => recall(await read($("file").files[0])));
window.addEventListener("resize", fit);
window.addEventListener("keydown", (event) => {
  if (event.target.matches("input:not([type=radio]):not([type=checkbox]), select, textarea")) return;
  if ($("sheet").open || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") app.running.abort();
  if (event.key === "n") another();
  if (blind.element.isConnected && event.target.type !== "radio") blind.key(event);
});

let dragged = null;
$("stage").addEventListener("dragstart", (event) => {
  const tile = event.target.closest(".tile");
  dragged = app.groups.flatMap((each) => each.tiles).find((each) => each.element === tile)?.record;
  event.dataTransfer.setData("text/plain", dragged?.title ?? "");
});
window.addEventListener("dragend", () => (dragged = null));
window.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").hidden = dragged !== null;
});
window.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").hidden = true;
});
window.addEventListener("drop", async (event) => {
  event.preventDefault();
  $("drop").hidden = true;
  const [file] = event.dataTransfer.files;
  if (dragged) {
    const tile = event.target.closest(".tile");
    const other = app.groups.flatMap((each) => each.tiles).find((each) => each.element === tile);
    if (other?.record && other.record !== dragged) {
      app.run(app.between(dragged, other.record), `From ${dragged.title} to ${other.record.title}`);
    } else if (event.target.closest("#gallery")) app.keep(dragged);
  } else if (file) recall(await read(file));
});

load(begin);
