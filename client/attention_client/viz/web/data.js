// A view, made by view.py, as numbers: decoded head by head, when first looked at.

function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < bytes.length; index += 1) bytes[index] = binary.charCodeAt(index);
  return bytes;
}

const floatsOf = (text) => new Float32Array(bytesOf(text).buffer);

class AttentionData {
  constructor(view) {
    this.title = view.title;
    this.facts = view.facts;
    this.queries = view.queries.labels;
    this.indices = view.queries.indices;
    this.keys = view.keys.labels;
    this.heads = view.heads;
    this.encodedSights = view.sights;
    this.steps = new Map(view.steps.map((step) => [step.row, step.heads]));
    this.rowsOfHeads = view.heads.map((head) => floatsOf(head.largest));
    this.decoded = new Map();
    this.sights = new Map();
  }

  // The bytes of a head, [queries * keys].
  codes(head) {
    if (!this.decoded.has(head)) this.decoded.set(head, bytesOf(this.heads[head].weights));
    return this.decoded.get(head);
  }

  // Whether a head's cell is in sight, by the cell's place in the head.
  sight(head) {
    const index = this.heads[head].sight;
    if (!this.sights.has(index)) this.sights.set(index, bytesOf(this.encodedSights[index]));
    const bits = this.sights.get(index);
    return (place) => ((bits[place >> 3] >> (place & 7)) & 1) === 1;
  }

  weight(head, query, key) {
    return (this.codes(head)[query * this.keys.length + key] / 255) * this.rowsOfHeads[head][query];
  }

  masked(head, query, key) {
    return !this.sight(head)(query * this.keys.length + key);
  }

  strongestKey(head, query) {
    const start = query * this.keys.length;
    const row = this.codes(head).subarray(start, start + this.keys.length);
    return row.indexOf(row.reduce((a, b) => Math.max(a, b), 0));
  }

  // What the steps of a query hold for a head, as numbers; undefined where there are none.
  step(head, query) {
    const step = this.steps.get(query)?.[head];
    if (step === undefined) return undefined;
    const numbers = (name) => (name in step ? floatsOf(step[name]) : undefined);
    return {
      scores: numbers("scores"),
      weights: numbers("weights"),
      lengths: numbers("lengths"),
      shares: numbers("shares"),
      output: step.output,
    };
  }
}
