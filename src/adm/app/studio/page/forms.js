/** Kinds of specs, as the server describes them -> controls; controls -> spec. */

/** Tag, properties, children -> element. Properties with a dash are attributes. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A control below its title. */
export function field(title, input) {
  input.setAttribute("aria-label", title);
  return make("label", { className: "field" }, title, input);
}

export const option = (value, text = value) => make("option", { value, textContent: text });

/** "name:key=value,..." -> [name, {key: value}]; bare values belong to the first key. */
function parse(spec, kinds) {
  const [, name, rest] = spec.match(/^([^:]*):?(.*)$/s);
  const first = Object.keys(kinds[name]?.parameters ?? {})[0];
  const values = {};
  for (const part of rest.split(",").filter(Boolean)) {
    const [key, value] = part.includes("=") ? part.split(/=(.*)/s) : [first, part];
    values[key] = key in values ? `${values[key]}-${value}` : value;
  }
  return [name, values];
}

/** "name:key=value" with one more value. */
export const adding = (spec, key, value) =>
  `${spec}${spec.includes(":") ? "," : ":"}${key}=${value}`;

/** What a visitor need not see, folded. */
export const advanced = (...children) =>
  make("details", {}, make("summary", { textContent: "Advanced" }), ...children);

/** A parameter -> a labelled control; its value is text, and empty where it is the default. */
export function control(name, about, value, changed) {
  let input;
  if (about.input === "switch") {
    input = make("select", {}, option(""), option("true", "yes"), option("false", "no"));
  } else if (about.input === "choice") {
    input = make("select", {}, option(""), ...about.choices.map((each) => option(each)));
  } else {
    const limits = about.input === "number" ? { type: "number", step: about.step } : {};
    for (const limit of ["min", "max"]) if (limit in about) limits[limit] = about[limit];
    input = make("input", { ...limits, placeholder: about.default });
  }
  if (input.options) input.options[0].textContent = about.default || "as it is";
  input.value = value ?? "";
  input.addEventListener("change", () => changed(input.value));
  const help = `${about.about} (${about.type})`;
  const title = name.replaceAll("_", " ");
  input.setAttribute("aria-label", title);
  input.setAttribute("aria-description", help);
  return make(
    "label",
    { className: "field small" },
    make("span", { textContent: title }),
    input,
    make("p", { className: "quiet help", textContent: help }),
  );
}

/**
 * A choice among kinds with the parameters of the chosen one.
 *
 * @param hidden parameters that another control gives.
 * @returns an element whose `spec` is the text of the choice.
 */
export function chooser(title, kinds, spec, hidden = [], changed = () => {}) {
  let [name, values] = parse(spec, kinds);
  const select = make("select", {}, ...Object.keys(kinds).map((each) => option(each)));
  select.value = name;
  const summary = make("p", { className: "quiet" });
  const parameters = make("div", { className: "parameters" });
  const root = make(
    "div",
    { className: "chooser" },
    field(title, select),
    summary,
    parameters,
  );
  const draw = () => {
    summary.textContent = kinds[name].summary;
    const shown = Object.entries(kinds[name].parameters).filter(([key]) => !hidden.includes(key));
    parameters.replaceChildren(
      ...shown.map(([key, about]) =>
        control(key, about, values[key], (value) => {
          if (value === "") delete values[key];
          else values[key] = value;
          changed();
        }),
      ),
    );
  };
  select.addEventListener("change", () => {
    [name, values] = [select.value, {}];
    draw();
    changed();
  });
  Object.defineProperty(root, "spec", {
    get: () => {
      const pairs = Object.entries(values).filter(([key]) => !hidden.includes(key));
      const text = pairs.map(([key, value]) => `${key}=${value}`).join(",");
      return text ? `${name}:${text}` : name;
    },
  });
  draw();
  return root;
}
