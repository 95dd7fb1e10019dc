// The viewer itself: what is chosen, what is drawn, and the hands that choose.

const PICTURES = { heads: "All heads", map: "One head", lines: "Lines", steps: "Steps" };
const MOST_VALUES = 64; // keys up to which the linear scale shows enough
const MOST_HEIGHT = 680; // pixels of a heat map
const THUMB = 96; // pixels of a small heat map
const THEMES = ["auto", "light", "dark"];

const clamp = (number, size) => Math.max(0, Math.min(size - 1, number));
const same = (a, b) => a?.query === b?.query && a?.key === b?.key && a?.head === b?.head;

class Viewer {
  constructor(element, view, options) {
    this.data = new AttentionData(view);
    this.options = options;
    this.end = options.end ?? 1; // a weight is a share of 1
    this.head = 0;
    this.picture = "map";
    this.scale = options.scale ?? (this.data.keys.length > MOST_VALUES ? "root" : "linear");
    this.theme = options.theme ?? "auto";
    this.locked = null; // { query, key }; one of them may be null
    this.hovered = null;
    this.lineHeads = new Set([0]);
    this.images = new Map();
    this.waiting = []; // heads whose small picture is still to be drawn
    this.ended = new AbortController();
    this.build(element);
    this.listen();
    this.setTheme(this.theme);
  }

  // ---- what others may ask of it

  get state() {
    const { head, picture, scale, theme, locked, hovered } = this;
    return { head, picture, scale, theme, locked, hovered };
  }

  cell(head, query, key) {
    return { weight: this.data.weight(head, query, key), masked: this.data.masked(head, query, key) };
  }

  lock(head, query, key = this.data.strongestKey(head, query)) {
    this.head = clamp(head, this.data.heads.length);
    this.choose({ query: clamp(query, this.data.queries.length), key: clamp(key, this.data.keys.length) });
  }

  unlock() {
    this.choose(null);
  }

  show(picture) {
    this.picture = picture;
    this.hovered = null;
    this.lineHeads = new Set([this.head]);
    this.redraw();
  }

  setScale(scale) {
    this.scale = scale;
    this.scaleMenu.value = scale;
    this.images.clear();
    this.redraw();
  }

  setTheme(theme) {
    this.theme = theme;
    if (theme === "auto") delete this.root.dataset.theme;
    else this.root.dataset.theme = theme;
    this.themeButton.textContent = { auto: "Light/dark: auto", light: "Light", dark: "Dark" }[theme];
    this.images.clear();
    this.redraw();
  }

  destroy() {
    this.ended.abort();
    this.sizes.disconnect();
    cancelAnimationFrame(this.frame);
    this.root.remove();
  }

  // ---- what is chosen

  choose(cell) {
    this.locked = cell;
    this.hovered = null;
    this.redraw();
    this.options.onChange?.(this.state);
  }

  openHead(head) {
    this.head = clamp(head, this.data.heads.length);
    this.lineHeads = new Set([this.head]);
    this.redraw();
    this.options.onChange?.(this.state);
  }

  openLarge(head) {
    this.picture = "map";
    this.hovered = null;
    this.openHead(head);
  }

  pressHead(head) {
    if (this.picture !== "lines") return this.openHead(head);
    if (!this.lineHeads.delete(head)) this.lineHeads.add(head);
    if (this.lineHeads.size === 0) this.lineHeads.add(head);
    this.head = head;
    return this.redraw();
  }

  get chosen() {
    return this.hovered ?? this.locked;
  }

  // The query whose steps are shown: the locked one, else the last that has some.
  get stepQuery() {
    const rows = [...this.data.steps.keys()];
    return this.data.steps.has(this.locked?.query) ? this.locked.query : rows.at(-1);
  }

  move(down, right) {
    const { queries, keys } = this.data;
    const from = this.locked ?? { query: 0, key: 0 };
    if (this.locked === null) return this.choose(from);
    const query = clamp((from.query ?? 0) + down, queries.length);
    return this.choose({ query, key: clamp((from.key ?? 0) + right, keys.length) });
  }

  listen() {
    const { signal } = this.ended;
    const on = (target, name, handle) => target.addEventListener(name, handle, { signal });
    on(this.canvas, "pointermove", (event) => this.hover(this.at(event)));
    on(this.canvas, "pointerleave", () => this.hover(null));
    on(this.canvas, "click", (event) => {
      const cell = this.at(event);
      if (this.picture === "heads" && cell) return this.openLarge(cell.head);
      return this.choose(cell && same(cell, this.locked) ? null : cell);
    });
    on(this.options.keys ?? this.root, "keydown", (event) => this.press(event));
    on(matchMedia("(prefers-color-scheme: dark)"), "change", () => this.setTheme(this.theme));
    this.sizes = new ResizeObserver(() => this.redraw());
    this.sizes.observe(this.large);
  }

  hover(cell) {
    if (same(cell, this.hovered)) return;
    this.hovered = cell;
    this.redraw();
  }

  press(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest?.("input, select, textarea")) return;
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.key in moves) this.move(...moves[event.key]);
    else if (event.key === "[" || event.key === "h") this.openHead(this.head - 1);
    else if (event.key === "]" || event.key === "l") this.openHead(this.head + 1);
    else if (event.key === "Escape") this.unlock();
    else return;
    event.preventDefault();
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    if (this.picture === "heads") return gridCellAt(this.layout, this.data, x, y);
    if (this.picture === "map") return cellAt(this.layout, this.data, x, y);
    if (this.picture === "lines") return tokenAt(this.layout, this.data, x, y);
    const key = stepKeyAt(this.layout, y);
    return key === null ? null : { query: this.stepQuery, key };
  }

  // ---- what is drawn

  build(element) {
    const { data, options } = this;
    this.pictureButtons = new Map(
      Object.entries(PICTURES)
        .filter(([name]) => (name === "steps" ? data.steps.size > 0 : name !== "heads" || data.heads.length > 1))
        .map(([name, title]) => [name, button(title, { click: () => this.show(name) })]),
    );
    this.scaleMenu = make("select", { change: () => this.setScale(this.scaleMenu.value) });
    this.scaleMenu.append(...Object.entries(SCALES).map(([value, { name }]) => make("option", { value }, name)));
    this.scaleMenu.value = this.scale;
    const nextTheme = () => this.setTheme(THEMES[(THEMES.indexOf(this.theme) + 1) % THEMES.length]);
    this.themeButton = button("", { class: "theme", click: nextTheme, title: "Light or dark" });
    this.themeButton.hidden = options.themeSwitch === false;
    const tools = make(
      "div",
      { class: "tools" },
      make("div", { class: "choice", role: "group", "aria-label": "Picture" }, ...this.pictureButtons.values()),
      make("label", { class: "scale" }, "Scale ", this.scaleMenu),
      make("span", { class: "space" }),
      button("SVG", { click: () => this.saveSvg(), "aria-label": "Save the picture as SVG" }),
      button("PNG", { click: () => this.savePng(), "aria-label": "Save the picture as PNG" }),
      this.themeButton,
    );
    this.thumbs = data.heads.map((head, index) => this.thumb(head, index));
    this.strip = make("div", { class: "heads", role: "group", "aria-label": "Heads" });
    this.strip.append(...this.thumbs.map((thumb) => thumb.button));
    this.canvas = make("canvas");
    this.frameOfPicture = make("div", { class: "picture", tabindex: 0, role: "application" }, this.canvas);
    this.readout = make("p", { class: "readout" });
    this.note = make("p", { class: "note" });
    this.legend = make("div", { class: "legend" });
    this.large = make("div", { class: "large" }, this.readout, this.frameOfPicture, this.legend, this.note);
    this.table = measures(data, (head) => this.openHead(head));
    this.root = make("section", { class: "attention-viewer", "aria-label": "Attention" });
    if (options.heading !== false) this.root.append(header(data));
    this.root.append(tools, make("div", { class: "body" }, this.strip, this.large));
    if (this.table) this.root.append(this.table);
    this.root.append(footer());
    element.append(this.root);
  }

  thumb(head, index) {
    const canvas = make("canvas", { "aria-hidden": "true" });
    sized(canvas, thumbLayout(this.data).total); // before it is drawn, so that nothing moves
    const pattern = patternOf(head);
    const swatch = make("i", { "aria-hidden": "true" });
    swatch.style.backgroundColor = headColour(index);
    const caption = make("span", {}, swatch, head.name);
    if (pattern) caption.append(make("small", {}, ` ${pattern}`));
    const face = make("button", { type: "button", class: "head", click: () => this.pressHead(index) }, canvas, caption);
    return { button: face, canvas };
  }

  get look() {
    const { share } = SCALES[this.scale];
    const dark = getComputedStyle(this.root).colorScheme.trim() === "dark";
    const colours = dark ? DARK : LIGHT;
    const shades = shadesOf(colours.ramp);
    const { end, locked, options: { compared } } = this;
    const image = (head, box) => {
      const most = { width: Math.floor(box.width * devicePixelRatio), height: Math.floor(box.height * devicePixelRatio) };
      const name = `${head} ${most.width} ${most.height}`;
      if (!this.images.has(name)) this.images.set(name, cellImage(this.data, head, most, { shades, share, end }));
      return this.images.get(name);
    };
    return { colours: { ...colours, shades }, shades, share, end, compared, image, headColour, locked: locked !== null };
  }

  redraw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    const look = this.look;
    this.drawLarge(look);
    this.drawWords(look);
    this.waiting = this.thumbs.map((_, index) => index);
    this.drawThumbs(look);
  }

  // The small pictures, some at a time, so that the page answers while many are decoded.
  drawThumbs(look) {
    const until = performance.now() + 12;
    while (this.waiting.length > 0 && performance.now() < until) {
      const head = this.waiting.shift();
      const { canvas, button: face } = this.thumbs[head];
      const layout = thumbLayout(this.data);
      const paper = new CanvasPaper(canvas, layout.total.width, layout.total.height, devicePixelRatio);
      drawCells(paper, layout, look.image(head, layout), this.chosen, look);
      const on = this.picture === "lines" ? this.lineHeads.has(head) : head === this.head;
      face.setAttribute("aria-pressed", on);
    }
    if (this.waiting.length > 0) this.frame = requestAnimationFrame(() => this.drawThumbs(look));
  }

  drawLarge(look) {
    const width = Math.max(240, this.large.clientWidth);
    this.layout = this.layoutFor(width);
    const { total } = this.layout;
    const paper = new CanvasPaper(this.canvas, total.width, total.height, devicePixelRatio);
    sized(this.canvas, total);
    this.drawOn(paper, look);
  }

  layoutFor(width) {
    const { data, picture } = this;
    if (picture === "heads") return gridLayout(data, width);
    if (picture === "map") return heatMapLayout(data, width, MOST_HEIGHT);
    if (picture === "lines") return linesLayout(data, width, this.lineHeads.size);
    return stepsLayout(data, this.head, this.stepQuery, width);
  }

  drawOn(paper, look) {
    const { data, head, layout, chosen } = this;
    this.left = false;
    if (this.picture === "heads") drawHeads(paper, data, layout, chosen, look);
    else if (this.picture === "map") drawHeatMap(paper, data, head, layout, chosen, look);
    else if (this.picture === "lines") this.left = drawLines(paper, data, [...this.lineHeads], layout, chosen, look);
    else drawSteps(paper, data, head, this.stepQuery, layout, chosen, look);
  }

  drawWords(look) {
    const { data, picture, head, chosen } = this;
    for (const [name, face] of this.pictureButtons) face.setAttribute("aria-pressed", name === picture);
    // What the pointer passes over would be too much to be read out.
    this.readout.setAttribute("aria-live", this.hovered ? "off" : "polite");
    const invite = [
      picture === "heads"
        ? "Point at a cell to read its weight, click a head to open it"
        : `${data.heads[head].name}: point at a ${picture === "map" ? "cell" : "token"} to read its weight, click to lock it`,
    ];
    this.readout.replaceChildren(...(chosen ? sentence(data, chosen.head ?? head, chosen) : invite));
    this.readout.classList.toggle("locked", this.hovered === null && this.locked !== null);
    this.root.dataset.picture = picture;
    const whose = picture === "heads" ? "" : `, ${data.heads[head].name}`;
    this.frameOfPicture.setAttribute("aria-label", `${PICTURES[picture]}${whose}`);
    for (const [index, row] of this.table?.querySelectorAll("tbody tr").entries() ?? []) {
      row.classList.toggle("open", index === head);
    }
    this.legend.replaceChildren(...(picture === "map" || picture === "heads" ? legend(this.scale, this.end, look.colours) : []));
    const few = picture === "steps" && this.locked && !data.steps.has(this.locked.query);
    if (few) this.note.textContent = `Steps are here for: ${[...data.steps.keys()].map((row) => data.indices[row]).join(", ")}`;
    else if (picture === "lines") this.note.textContent = linesNote(chosen, look, this.left);
    else this.note.textContent = "";
  }

  // ---- what is saved

  get fileName() {
    const title = this.data.title.replace(/[^\p{Letter}\p{Number}.-]+/gu, "-");
    const head = this.picture === "heads" ? "" : `${this.data.heads[this.head].name.replaceAll(" ", "-")}-`;
    return `${title || "attention"}-${head}${this.picture}`;
  }

  saveSvg() {
    const { total } = this.layout;
    const paper = new SvgPaper(total.width, total.height);
    const look = this.look;
    paper.rect(0, 0, total.width, total.height, { fill: look.colours.paper });
    this.drawOn(paper, look);
    save(new Blob([paper.toString()], { type: "image/svg+xml" }), `${this.fileName}.svg`);
  }

  savePng() {
    const { total } = this.layout;
    const canvas = document.createElement("canvas");
    const paper = new CanvasPaper(canvas, total.width, total.height, 2);
    const look = this.look;
    paper.rect(0, 0, total.width, total.height, { fill: look.colours.paper });
    this.drawOn(paper, look);
    canvas.toBlob((blob) => save(blob, `${this.fileName}.png`), "image/png");
  }
}

function sized(canvas, { width, height }) {
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
}

function thumbLayout(data) {
  const [columns, rows] = [data.keys.length, data.queries.length];
  let [cellWidth, cellHeight] = [THUMB / columns, THUMB / rows];
  cellWidth = Math.min(cellWidth, 4 * cellHeight);
  cellHeight = Math.min(cellHeight, 4 * cellWidth);
  const [width, height] = [columns * cellWidth, rows * cellHeight];
  return { x: 1, y: 1, width, height, cellWidth, cellHeight, total: { width: width + 2, height: height + 2 } };
}

function save(blob, name) {
  const href = URL.createObjectURL(blob);
  make("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

// Shows a view inside an element, and returns what can be asked of it.
//
// Options, all of them optional:
//   heading     false leaves title and facts out
//   theme       "auto", "light" or "dark"; themeSwitch: false hides the button
//   scale       "linear", "root" or "row"
//   end         the weight at the end of the scale; 1 where absent
//   compared    true where another picture stands beside it: lines keep one scale too
//   keys        where keys are listened to, document say; the viewer itself where absent
//   onChange    called with the state when a head or a cell is chosen
//
// Heads, queries and keys are counted from 0, as they stand in the view.
globalThis.AttentionViewer = {
  mount(element, view, options = {}) {
    const viewer = new Viewer(element, view, options);
    return {
      lock: (head, query, key) => viewer.lock(head, query, key),
      unlock: () => viewer.unlock(),
      show: (picture) => viewer.show(picture),
      setScale: (scale) => viewer.setScale(scale),
      setTheme: (theme) => viewer.setTheme(theme),
      cell: (head, query, key) => viewer.cell(head, query, key),
      destroy: () => viewer.destroy(),
      get state() {
        return viewer.state;
      },
    };
  },
};
