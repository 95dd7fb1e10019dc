// The form: what it shows, and what it asks for.

export const at = (id) => document.getElementById(id);

const value = (id) => at(id).value;
const numbers = (text) => (text.trim() ? text.split(",").map(Number) : null);
const number = (id) => (value(id).trim() === "" ? null : Number(value(id)));

export class Form {
  constructor(start) {
    this.start = start;
    this.models = [];
    this.arrays = []; // { label, shape, wanted: { upload, name } }
    if (start.example) at("text").value = start.example.text;
    if (start.text) {
      at("text-note").textContent = `${start.text.width} wide: ${start.text.note}.`;
    } else {
      const [text, arrays] = document.querySelectorAll('[name="kind"]');
      text.disabled = true;
      arrays.checked = true;
      arrays.closest("fieldset").title = "Texts need a tokenizer: --text DIRECTORY";
    }
    this.arrange();
  }

  get isText() {
    return document.querySelector('[name="kind"]:checked').value === "text";
  }

  get model() {
    return this.models[Number(value("model"))];
  }

  get otherModel() {
    return this.models[Number(value("other-model"))];
  }

  get comparison() {
    return value("compare");
  }

  /** Fills both lists of models; those that fit the text's width come first. */
  showModels(models) {
    const chosen = this.model;
    const other = this.otherModel;
    this.models = models;
    for (const [id, before] of [["model", chosen], ["other-model", other]]) {
      at(id).replaceChildren(...this.#modelOptions());
      const same = models.findIndex(
        (model) => model.name === before?.name && model.version === before?.version,
      );
      at(id).value = String(same >= 0 ? same : this.#firstChoice(id === "other-model" ? 1 : 0));
    }
    this.arrange();
  }

  #fits(model) {
    return !this.isText || model.width === 0 || model.width === this.start.text.width;
  }

  #firstChoice(place) {
    const order = this.models
      .map((model, index) => ({ model, index }))
      .sort((a, b) => this.#rank(a.model) - this.#rank(b.model));
    return order[Math.min(place, order.length - 1)]?.index ?? 0;
  }

  #rank(model) {
    return (this.#fits(model) ? 0 : 2) + (model.width ? 0 : 1);
  }

  #modelOptions() {
    const several = new Set(this.models.map((model) => model.name)).size < this.models.length;
    const option = (model, index) =>
      new Option(several ? `${model.name}, version ${model.version}` : model.name, index);
    const others = document.createElement("optgroup");
    others.label = `Other widths than the text's ${this.start.text?.width}`;
    const options = [];
    for (const [index, model] of this.models.entries()) {
      if (this.#fits(model)) options.push(option(model, index));
      else others.append(option(model, index));
    }
    return others.childElementCount ? [...options, others] : options;
  }

  /** Adds the arrays of an uploaded file, and takes them for what their names say. */
  addUpload({ upload, file, arrays }) {
    const fresh = this.arrays.length;
    for (const { name, shape, dtype } of arrays) {
      const label = `${name ? `${file}: ${name}` : file} [${shape.join(", ")}] ${dtype}`;
      this.arrays.push({ label, name: name || file.replace(/\.npy$/, ""), shape, wanted: { upload, name } });
    }
    for (const [id, otherwise] of [["query", fresh], ["key", ""], ["value", ""]]) {
      const before = value(id);
      const options = this.arrays.map(({ label }, index) => new Option(label, index));
      if (id !== "query") options.unshift(new Option(`the ${id === "key" ? "query" : "key"}`, ""));
      at(id).replaceChildren(...options);
      const named = this.arrays.findLastIndex(({ name }) => name === id || name === id[0]);
      at(id).value = named >= fresh ? String(named) : before === "" ? String(otherwise) : before;
    }
    this.arrange();
  }

  /** Shows the fields that matter to what is chosen, and hides the others. */
  arrange() {
    const { isText, model } = this;
    at("text-input").hidden = !isText;
    at("array-input").hidden = isText;
    at("second-input").hidden = value("role") === "none";
    at("window-input").hidden = value("window") !== "some";
    at("compare-model").hidden = this.comparison !== "model";
    at("compare-heads").hidden = this.comparison !== "heads";
    this.#arrangeBatch();
    const heads = at("num-heads");
    heads.disabled = Boolean(model?.heads);
    if (heads.disabled) heads.value = model.heads;
    else if (!heads.value) heads.value = 4;
    at("model-facts").textContent = model ? facts(model) : "";
  }

  #arrangeBatch() {
    const query = this.arrays[Number(value("query"))];
    const arrayBatch = query?.shape.length === 3 ? query.shape[0] : 1;
    const batch = this.isText ? (value("role") === "batch" ? 2 : 1) : arrayBatch;
    at("batch-input").hidden = batch < 2 && !(this.isText === false && value("kv-lengths"));
    const before = Number(value("sequence"));
    at("sequence").replaceChildren(
      ...Array.from({ length: batch }, (_, index) => new Option(`${index} of 0 to ${batch - 1}`, index)),
    );
    at("sequence").value = String(before < batch ? before : 0);
  }

  /** Masks something, so that there is a difference to look at; returns whether it had to. */
  maskSomething() {
    const own = !value("causal") && this.model?.causal !== "none";
    const window = value("window") === "some" || (!value("window") && this.model?.window);
    const padding = !at("batch-input").hidden && at("padding").checked;
    const causal = own || ["lower_right", "upper_left"].includes(value("causal"));
    if (causal || window || padding) return false;
    at("causal").value = "lower_right";
    return true;
  }

  /** Returns why nothing can be asked yet; empty where it can. */
  missing() {
    if (!this.model) return "no model";
    if (!at("form").checkValidity()) return "a number in the form is none";
    if (!this.isText) return this.arrays.length ? "" : "Choose a file with embeddings.";
    const needed = value("role") === "none" ? ["text"] : ["text", "second"];
    return needed.every((id) => value(id).trim()) ? "" : "Type a text to look at.";
  }

  /** Returns what to ask. */
  ask(query) {
    const { model } = this;
    return {
      model: model.name,
      version: model.version,
      input: this.#input(),
      sequence: Number(value("sequence")),
      query,
      heads: numbers(value("heads")),
      num_heads: model.heads ? null : number("num-heads"),
      causal: value("causal") || null,
      window: this.#window(),
      padding: at("padding").checked,
    };
  }

  #input() {
    if (this.isText) return { text: value("text"), second: value("second"), role: value("role") };
    const wanted = (id) => (value(id) === "" ? null : this.arrays[Number(value(id))].wanted);
    return {
      query: wanted("query"),
      key: wanted("key"),
      value: wanted("value"),
      kv_lengths: numbers(value("kv-lengths")),
    };
  }

  #window() {
    if (!value("window")) return null;
    return value("window") === "none" ? [null, null] : [number("left"), number("right")];
  }
}

function facts(model) {
  const words = [model.width ? `${model.width} wide` : "any width"];
  if (model.heads) words.push(`${model.heads} heads`);
  if (model.causal !== "none") words.push("causal");
  if (model.window) words.push(`a window of ${model.window.map((side) => side ?? "all").join(" and ")}`);
  if (model.family) words.push([model.family, model.layer && `layer ${model.layer}`].filter(Boolean).join(", "));
  const deeper = /\d/.test(model.layer) && !/^\D*0\b/.test(model.layer);
  const caution = deeper
    ? " In the whole model this layer reads what the layers below it made; here it reads the embeddings themselves."
    : "";
  return `${words.join(" · ")}.${caution}`;
}
