/** The page: what is chosen, what runs, and where its pictures go. */

import { chooser, control, field, make, option } from "./forms.js";
import { Sheet } from "./sheet.js";
import { Group, Matrix } from "./tiles.js";
import { order, read, sent, source } from "./wire.js";

const $ = (id) => document.getElementById(id);
const numbers = (text) => text.split(/[\s,;]+/).filter(Boolean).map(Number);
const STORED = "adm studio kept";
const MOST_KEPT = 100;

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
  const { about, classes, settings, guided, steps, scales } = app.model;
  $("about").textContent = about;
  $("classes").hidden = !classes.length;
  const chip = (value) =>
    make("label", {}, make("input", { type: "checkbox", value }), make("span", { textContent: value }));
  $("chips").replaceChildren(...classes.map(chip));
  $("guided").hidden = !guided;
  const guides = [own.guide ?? settings.guide ?? []].flat();
  const guide = guides.find((each) => each.startsWith("classifier:"));
  setScale(own.scale ?? (guide ? Number(guide.match(/scale=([^,]+)/)[1]) : 0));
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
      if (text.split(":")[0] !== "classifier") return text;
      return `${text}${text.includes(":") ? "," : ":"}scale=${$("scale").value}`;
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
  $("status").textContent = what;
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
  $("stage").classList.toggle("sides", groups.length > 1);
  fit();
}

const fit = () => app.groups.forEach((each) => each.fit());

function onStep(group, event) {
  const { step, steps, seconds, network, classifier } = event;
  group.step(event);
  $("progress").value = step;
  $("progress").max = steps;
  const calls = classifier ? `${network} + ${classifier} calls` : `${network} calls`;
  $("count").textContent = `step ${step} of ${steps} · ${seconds.toFixed(1)} s · ${calls}`;
}

const title = (label, index, seed) =>
  [label, `picture ${index}`, `seed ${seed}`].filter(Boolean).join(", ");

/** Run an order of pictures into a group that `place` puts on the stage; say what it took. */
async function into(body, signal, place) {
  let group, begun, known, spent;
  const image = ({ place: at, index, ...made }) => {
    const label = begun.labels[at] ?? "";
    const named = { label, index, title: title(label, index, body.settings.seed ?? 0) };
    group.tiles[at].finish({ ...made, ...named, known, shape: begun.shape, order: body });
  };
  const handlers = {
    mask: ({ png }) => (known = png),
    begin: (event) => (group = place((begun = event))),
    step: (event) => onStep(group, event),
    image,
    done: ({ seconds }) => (spent = seconds),
  };
  await order(body, handlers, signal);
  const { count, cost, guidance } = begun;
  const what = `${count} ${count === 1 ? "picture" : "pictures"} in ${spent.toFixed(1)} s`;
  return `${what}: ${cost} each${guidance ? `, guided by ${guidance}` : ""}.`;
}

const groupOf = (heading, { shape, labels, count }) =>
  new Group(heading, shape, labels, count, (record) => sheet.open(record));

const placed = (heading) => (begun) => {
  const group = groupOf(heading, begun);
  stage(group);
  return group;
};

/** Run an order of pictures, such as one of the sheet. */
app.run = (body, heading = "") =>
  perform("Sampling…", async (signal) => {
    $("status").textContent = await into(body, signal, placed(heading));
  });

/** Show the chosen model: its student's pictures at once, if it has one, then its own. */
function first() {
  const body = sample();
  const { student } = app.model;
  return perform("Sampling…", async (signal) => {
    let group = null;
    if (student) {
      const settings = { seed: body.settings.seed };
      $("status").textContent = `A draft by ${student}…`;
      await into({ ...body, model: student, settings }, signal, (begun) => {
        group = placed("")(begun);
        return group;
      });
      $("status").textContent = "Sampling…";
      group.tiles.forEach((tile) => tile.again());
    }
    $("status").textContent = await into(body, signal, (begun) => group ?? placed("")(begun));
  });
}

function sides() {
  const own = sample();
  const beside = $("other").value;
  return perform("Sampling…", async (signal) => {
    let other = { ...own, settings: { ...own.settings, scale: 0 } };
    let name = "without guidance";
    if (beside) {
      let described;
      await order({ kind: "choose", model: beside }, { chosen: (event) => (described = event) }, signal);
      const { seed, scale } = own.settings;
      const [low, high] = described.scales.length ? described.scales : [-Infinity, Infinity];
      const guide = described.guided ? { scale: Math.min(high, Math.max(low, scale ?? 0)) } : {};
      other = { ...own, model: beside, settings: { seed, ...guide } };
      name = beside;
    }
    const groups = [];
    const add = (heading) => (begun) => {
      groups.push(groupOf(heading, begun));
      stage(...groups);
      return groups.at(-1);
    };
    const lines = [await into(own, signal, add(beside ? own.model : `scale ${own.settings.scale}`))];
    lines.push(await into(other, signal, add(name)));
    $("status").textContent = lines.join(" ");
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
    const matrix = new Matrix(app.model.shape, rows.values, columns.values, keepCell);
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
    $("status").textContent = "One noise. Choose a picture to keep its settings.";
  });
}

function keepCell({ settings, label }) {
  if (settings.scale !== undefined) setScale(settings.scale);
  if (settings.steps !== undefined && $("number")) $("number").value = settings.steps;
  check(label);
  document.querySelector("[name=view][value=pictures]").checked = true;
  onView();
  act();
}

const view = () => document.querySelector("[name=view]:checked").value;

function onView() {
  const now = view();
  $("varied").hidden = now === "pictures";
  $("scales-of").hidden = now === "sides";
  $("steps-of").hidden = now !== "steps";
  $("other-of").hidden = now !== "sides";
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
  app.run(from, "Made again");
}

const check = (name) => {
  for (const chip of $("chips").querySelectorAll("input")) chip.checked = chip.value === name;
};

app.restore = ({ order: { kind, model, settings }, label, index }) =>
  again({ kind, model, settings, classes: label ? { [label]: 1 } : null, only: index });

/* The page ------------------------------------------------------------------------------------ */

async function choose(name) {
  $("model").value = name;
  await order({ kind: "choose", model: name }, { chosen: (event) => (app.model = event) });
  drawControls();
  onView();
}

const sheet = new Sheet(app);

async function begin() {
  app.known = await (await fetch("known")).json();
  const names = app.known.models.map((each) => [option(each), option(each)]);
  $("model").replaceChildren(...names.map(([one]) => one));
  $("other").replaceChildren(option("", "without guidance"), ...names.map(([, other]) => other));
  try {
    app.kept = JSON.parse(localStorage.getItem(STORED) ?? "[]");
  } catch {
    app.kept = [];
  }
  drawKept();
  await choose(app.known.models[0]);
}

/** Load, and then show the first pictures. */
async function load(act) {
  const before = app.model;
  await perform("Loading…", act);
  if (app.model !== before) first();
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
for (const input of document.getElementsByName("view")) input.addEventListener("change", onView);
$("file").addEventListener("change", async () => recall(await read($("file").files[0])));
window.addEventListener("resize", fit);
window.addEventListener("keydown", (event) => {
  if (event.target.matches("input:not([type=radio]):not([type=checkbox]), select, textarea")) return;
  if ($("sheet").open || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") app.running.abort();
  if (event.key === "n") another();
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
