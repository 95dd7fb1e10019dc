// Asks when something changes, and shows what comes.

import { Form, at } from "/form.js";
import { Refusal, get, post, upload } from "/server.js";

const TYPING_MS = 450; // a pause in typing after which the text is looked at
const PATIENCE_MS = 250; // before this nobody needs to be told that it takes a while

const state = {
  form: null,
  following: false, // whether the pictures are following one another
  query: 0, // index of the chosen token
  answers: [], // what is shown: { ask, caption, answer }
  viewers: [],
  stop: null, // ends what is under way
};

// Asking ---------------------------------------------------------------------------------------

/** Returns the calls that the form stands for: one, or two to compare. */
function wanted() {
  const { form, query } = state;
  const ask = form.ask(query);
  if (form.comparison === "model") {
    const other = form.otherModel;
    const second = {
      ...ask,
      model: other.name,
      version: other.version,
      num_heads: other.heads ? null : Number(at("num-heads").value) || 4,
    };
    return [{ ask, caption: ask.model }, { ask: second, caption: second.model }];
  }
  if (form.comparison === "unmasked") {
    const free = { ...ask, causal: "none", window: [null, null], padding: false };
    return [{ ask, caption: "Masked" }, { ask: free, caption: "Unmasked" }];
  }
  return [{ ask, caption: "" }];
}

/** Asks, and shows the answer; until then, and where there is none, what is shown is faint. */
async function look() {
  state.stop?.();
  at("views").classList.add("stale");
  const missing = state.form.missing();
  note(missing);
  if (missing) return;
  const asked = wanted();
  const answers = await during("Asking the server", (signal) =>
    Promise.all(asked.map(async ({ ask }) => (await post("/api/attend", ask, signal)).json())),
  );
  if (!answers) return;
  showServer(true);
  state.answers = asked.map((each, index) => ({ ...each, answer: answers[index] }));
  show();
}

/** Returns what comes of work that can be cancelled; null where it was, or was refused. */
async function during(what, work) {
  const controller = new AbortController();
  const started = performance.now();
  const tick = () => {
    const seconds = (performance.now() - started) / 1000;
    at("clock").textContent = `${seconds.toFixed(1)} s`;
    at("progress").hidden = seconds * 1000 < PATIENCE_MS;
  };
  const clock = setInterval(tick, 100);
  const stop = () => {
    controller.abort();
    clearInterval(clock);
    if (state.stop !== stop) return; // something else is under way
    state.stop = null;
    at("progress").hidden = true;
  };
  state.stop = stop;
  at("progress-text").textContent = what;
  at("error").hidden = true;
  try {
    return await work(controller.signal);
  } catch (error) {
    if (!controller.signal.aborted) refuse(error);
    return null;
  } finally {
    stop();
  }
}

function refuse(error) {
  if (!(error instanceof Refusal)) throw error;
  at("error-text").textContent = error.message;
  at("error").hidden = false;
  if (error.away) showServer(false);
}

function note(text) {
  at("notice").textContent = text;
  at("notice").hidden = !text;
}

function showServer(there) {
  at("server").className = `server ${there ? "there" : "away"}`;
  at("server").textContent = `${state.form.start.server}${there ? "" : " does not answer"}`;
}

/** Reads the models, and looks at what the form says. */
async function begin() {
  const models = await during("Asking the server for its models", () => get("/api/models"));
  if (!models) return;
  showServer(true);
  state.form.showModels(models);
  await look();
}

// Showing --------------------------------------------------------------------------------------

function show() {
  const [{ answer }] = state.answers;
  state.query = answer.query;
  showTokens(answer.tokens);
  showHeadChoices(answer);
  const { heads, num_heads: all } = answer;
  const masked = answer.fully_masked_rows;
  note(
    [
      heads.length < all && !at("heads").value.trim()
        ? `So much text leaves room for ${heads.length} of ${all} heads; name others under “Shown”.`
        : "",
      masked ? `${masked} rows may attend to nothing: their weights are 0.` : "",
    ].join(" ").trim(),
  );
  mount();
  at("views").classList.remove("stale");
  at("downloads").hidden = false;
  if (!at("code-panel").hidden) showCode();
  at("done").textContent = "The picture is there.";
}

/** Returns what to draw: [caption, view] each. */
function views() {
  if (state.form.comparison !== "heads") {
    return state.answers.map(({ caption, answer }) => [caption, answer.view]);
  }
  const { view } = state.answers[0].answer;
  return ["left-head", "right-head"].map((id) => {
    const place = Number(at(id).value);
    return [view.heads[place].name, onlyHead(view, place)];
  });
}

/** Returns a view of one head alone. */
function onlyHead(view, place) {
  const steps = view.steps.map((step) => ({ ...step, heads: [step.heads[place]] }));
  return { ...view, heads: [view.heads[place]], steps };
}

function mount() {
  for (const viewer of state.viewers) viewer.destroy();
  const all = views();
  // Side by side, one scale: a colour means the same on both sides.
  const end = Math.max(...all.map(([, view]) => largestWeight(view)));
  at("views").classList.toggle("two", all.length > 1);
  at("views").classList.toggle("one-head", state.form.comparison === "heads");
  const articles = all.map(([caption]) => {
    const article = document.createElement("article");
    const title = document.createElement("h2");
    title.textContent = caption;
    title.hidden = !caption;
    article.append(title, document.createElement("div"));
    return article;
  });
  at("views").replaceChildren(...articles);
  state.viewers = articles.map((article, index) =>
    AttentionViewer.mount(article.lastChild, all[index][1], {
      end,
      compared: all.length > 1,
      heading: false,
      theme: at("theme").value || "auto",
      themeSwitch: false,
      onChange: (now) => follow(index, now),
    }),
  );
  globalThis.attentionViewers = state.viewers; // for whoever looks from the browser's console
  lock();
}

function largestWeight({ heads }) {
  const floats = (text) =>
    new Float32Array(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer);
  return Math.max(...heads.map(({ largest }) => floats(largest).reduce((a, b) => Math.max(a, b), 0)));
}

/** Locks the chosen token in every picture, in the head that is open there. */
function lock() {
  state.following = true;
  for (const viewer of state.viewers) viewer.lock(viewer.state.head, state.query);
  state.following = false;
}

/** Takes over what was chosen in a picture: its token, and its head where both show all heads. */
function follow(index, { head, locked }) {
  if (state.following || !locked) return;
  const { query, key } = locked;
  if (query === null) return;
  state.following = true;
  const together = state.form.comparison !== "heads";
  for (const [other, viewer] of state.viewers.entries()) {
    if (other !== index) viewer.lock(together ? head : viewer.state.head, query, key ?? undefined);
  }
  state.following = false;
  state.query = query;
  markToken(false);
  const known = state.answers.every(({ answer }) => answer.steps_for.includes(query));
  if (known && !at("code-panel").hidden) showCode();
}

function showTokens(tokens) {
  const buttons = tokens.map((token, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = token;
    button.setAttribute("role", "radio");
    button.setAttribute("aria-label", `${token}, token ${index}`);
    button.dataset.index = index;
    return button;
  });
  const held = at("tokens").contains(document.activeElement);
  at("tokens").replaceChildren(...buttons);
  at("strip").hidden = false;
  markToken(held);
}

function markToken(focus) {
  for (const button of at("tokens").children) {
    const chosen = Number(button.dataset.index) === state.query;
    button.setAttribute("aria-checked", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
    if (chosen && focus) button.focus();
  }
}

/** Looks from another token; asks again where its steps did not come along. */
function choose(index) {
  state.query = index;
  markToken(at("tokens").contains(document.activeElement));
  if (state.answers.every(({ answer }) => answer.steps_for.includes(index))) {
    lock();
    if (!at("code-panel").hidden) showCode();
  } else look();
}

function showHeadChoices({ view }) {
  for (const [id, otherwise] of [["left-head", 0], ["right-head", 1]]) {
    const before = at(id).value;
    at(id).replaceChildren(...view.heads.map(({ name }, place) => new Option(name, place)));
    const place = before === "" ? otherwise : Number(before);
    at(id).value = String(Math.min(place, view.heads.length - 1));
  }
}

// Downloads ------------------------------------------------------------------------------------

function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Returns what is shown, as it was asked. */
const shownAsks = () =>
  state.answers.map(({ ask, caption }) => ({ caption, ask: { ...ask, query: state.query } }));

async function saveData() {
  const asks = shownAsks();
  const contents = await during("Fetching the arrays", (signal) =>
    Promise.all(asks.map(async ({ ask }) => (await post("/api/data", ask, signal)).blob())),
  );
  for (const [index, content] of contents?.entries() ?? []) {
    const { caption } = asks[index];
    save(caption ? `attention-${caption.toLowerCase()}.npz` : "attention.npz", content);
  }
}

async function showCode() {
  const asks = shownAsks();
  const programs = await during("Writing the code", (signal) =>
    Promise.all(asks.map(async ({ ask }) => (await post("/api/code", ask, signal)).text())),
  );
  if (!programs) return;
  const titled = programs.map((program, index) => {
    const { caption } = asks[index];
    return caption ? `# ${caption}\n${program}` : program;
  });
  at("code-text").textContent = titled.join("\n\n");
  at("code-panel").hidden = false;
  at("code").setAttribute("aria-expanded", "true");
}

function toggleCode() {
  if (at("code-panel").hidden) return showCode();
  at("code-panel").hidden = true;
  at("code").setAttribute("aria-expanded", "false");
}

async function copyCode() {
  try {
    await navigator.clipboard.writeText(at("code-text").textContent);
  } catch {
    return getSelection().selectAllChildren(at("code-text")); // not allowed: Ctrl-C still is
  }
  at("copy").textContent = "Copied";
  setTimeout(() => (at("copy").textContent = "Copy"), 1500);
}

// Listening ------------------------------------------------------------------------------------

async function addFiles(files) {
  for (const file of files) {
    const added = await during(`Reading ${file.name}`, (signal) => upload(file, signal));
    if (!added) return;
    state.form.addUpload(added);
  }
  await look();
}

function listen() {
  let typing = 0;
  at("form").addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    state.form.models.length ? look() : begin(); // none where the server was away
  });
  at("form").addEventListener("input", (event) => {
    if (event.target.matches("textarea, input:not([type=file], [type=checkbox], [type=radio])")) {
      clearTimeout(typing);
      typing = setTimeout(look, TYPING_MS);
    }
  });
  at("form").addEventListener("change", async (event) => {
    const { id, name } = event.target;
    if (id === "files") return addFiles([...event.target.files]);
    if (event.target.matches("textarea, input:not([type=checkbox], [type=radio])")) return;
    if (name === "kind") state.form.showModels(state.form.models);
    state.form.arrange();
    if (id === "compare" && state.form.comparison === "unmasked") state.form.maskSomething();
    if (["left-head", "right-head"].includes(id)) return state.answers.length && mount();
    await look();
  });
  at("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("form").requestSubmit();
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    at("drop").addEventListener(kind, (event) => {
      event.preventDefault();
      at("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop") addFiles([...event.dataTransfer.files]);
    });
  }
  at("tokens").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) choose(Number(button.dataset.index));
  });
  at("tokens").addEventListener("keydown", (event) => {
    const count = at("tokens").children.length;
    const moves = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    const move = moves[event.key] ?? { Home: -state.query, End: count - 1 - state.query }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    choose((state.query + move + count) % count);
  });
  at("cancel").addEventListener("click", () => {
    state.stop?.();
    note("Cancelled: the picture is the one before.");
  });
  at("again").addEventListener("click", begin);
  at("data").addEventListener("click", saveData);
  at("code").addEventListener("click", toggleCode);
  at("copy").addEventListener("click", copyCode);
  at("save-code").addEventListener("click", () => {
    save("attention.py", new Blob([at("code-text").textContent], { type: "text/x-python" }));
  });
  at("theme").addEventListener("change", () => {
    document.documentElement.dataset.theme = at("theme").value;
    for (const viewer of state.viewers) viewer.setTheme(at("theme").value || "auto");
  });
}

async function main() {
  const start = await get("/api/start");
  state.query = start.example?.token ?? 0;
  state.form = new Form(start);
  listen();
  await begin();
}

main().catch(refuse);
