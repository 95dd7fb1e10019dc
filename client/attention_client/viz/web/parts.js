// The parts of the page around the pictures, each an element.

const CAVEAT =
  "Attention is not explanation: a weight says where a head looks, not why the model answers as it does";
const REFERENCES = [
  ["Jain & Wallace 2019", "https://arxiv.org/abs/1902.10186"],
  ["Wiegreffe & Pinter 2019", "https://arxiv.org/abs/1908.04626"],
];
const KEYS = [
  [["←", "↑", "→", "↓"], "move the locked cell"],
  [["[", "]"], "or"],
  [["h", "l"], "change the head"],
  [["Esc"], "unlocks"],
];
const PRECISION =
  "Weights are kept in 8 bits, each row against its own largest: what is shown is within 1/510 of that largest.";

// Makes an element. Its children are elements or text: nothing here ever becomes markup.
function make(name, options = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

const button = (label, options) => make("button", { type: "button", ...options }, label);

function header(data) {
  return make(
    "header",
    {},
    make("h1", {}, make("bdi", {}, data.title)),
    make("p", { class: "facts" }, data.facts.join(" · ")),
  );
}

function footer() {
  const keys = KEYS.flatMap(([names, what]) => [...names.map((name) => make("kbd", {}, name)), ` ${what} `]);
  const links = REFERENCES.map(([name, href]) => make("a", { href, rel: "noreferrer", target: "_blank" }, name));
  return make(
    "footer",
    {},
    make("p", { class: "keys" }, ...keys),
    make("p", { class: "caveat" }, `${CAVEAT} (`, links[0], "; ", links[1], ")."),
    make("p", {}, PRECISION),
  );
}

// What a head mostly does; undefined where nothing stands out, or nothing is known.
function patternOf({ measures: found }) {
  return found && (found.relation || (found.pattern === "none" ? undefined : found.pattern));
}

// The colours of the scale, from 0 to its end, and what is masked.
function legend(scale, end, colours) {
  const ends = {
    linear: ["0", `${Number(end.toPrecision(2))}`],
    root: ["0", `${Number(end.toPrecision(2))}, square root`],
    row: ["0", "largest of the row"],
  }[scale];
  const ramp = make("canvas", { class: "ramp", "aria-hidden": "true" });
  const paper = new CanvasPaper(ramp, 160, 12, 2);
  colours.shades.forEach((shade, index) => {
    paper.rect((index * 160) / 256, 0, 1, 12, { fill: `rgb(${shade.join()})` });
  });
  const swatch = make("canvas", { class: "swatch", "aria-hidden": "true" });
  new CanvasPaper(swatch, 24, 12, 2).stripes(0, 0, 24, 12, colours);
  return [
    make("span", {}, "weight ", ends[0]),
    ramp,
    make("span", {}, ends[1]),
    swatch,
    make("span", {}, "masked: may not be attended to"),
  ];
}

// One sentence on a cell, in words.
function sentence(data, head, { query, key }) {
  const name = data.heads[head].name;
  const ofQuery = query === null ? [] : [`query ${data.indices[query]} `, make("bdi", {}, data.queries[query])];
  const ofKey = key === null ? [] : [`key ${key} `, make("bdi", {}, data.keys[key])];
  if (key === null) return [`${name}: `, ...ofQuery, " and all keys"];
  if (query === null) return [`${name}: `, ...ofKey, " and all queries"];
  if (data.masked(head, query, key)) return [`${name}: `, ...ofQuery, " may not attend to ", ...ofKey, ": masked"];
  const weight = data.weight(head, query, key);
  const strongest = data.strongestKey(head, query);
  const rest =
    strongest === key ? [", the most of all keys"] : [", most on ", `key ${strongest} `, make("bdi", {}, data.keys[strongest])];
  return [
    `${name}: `,
    ...ofQuery,
    " looks at ",
    ...ofKey,
    " with weight ",
    make("strong", {}, weight.toPrecision(3)),
    ...rest,
  ];
}

const COLUMNS = [
  ["entropy", "entropy", "nats"],
  ["max_weight", "largest", "mean of each row's largest weight"],
  ["mean_distance", "distance", "mean distance of what is looked at"],
  ["self_share", "self", "weight on the query's own place"],
  ["previous_share", "previous", "weight on the place before"],
  ["next_share", "next", "weight on the place after"],
  ["first_share", "first", "weight on the first key"],
  ["local_share", "local", "weight within two places"],
];

// The table of what each head does, a row a head; undefined where that is not known.
function measures(data, open) {
  if (!data.heads.some((head) => head.measures)) return undefined;
  const head = make("tr", {}, make("th", { scope: "col" }, "head"), make("th", { scope: "col" }, "pattern"));
  head.append(...COLUMNS.map(([, title, help]) => make("th", { scope: "col", title: help }, title)));
  const rows = data.heads.map(({ name, measures: found }, index) => {
    const cells = COLUMNS.map(([measure]) => {
      const cell = make("td", {}, found[measure]?.toFixed(2) ?? "–");
      // Shares lie between 0 and 1, and are drawn.
      if (/share|max/.test(measure)) cell.style.setProperty("--share", found[measure] ?? 0);
      return cell;
    });
    const opener = make("th", { scope: "row" }, button(name, { click: () => open(index) }));
    return make("tr", {}, opener, make("td", {}, patternOf(data.heads[index]) ?? "–"), ...cells);
  });
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
  return make("details", { class: "measures", open: true }, make("summary", {}, "What each head does"), make("div", { class: "scroll" }, table));
}
