// The three steps of one query: scores, softmax, weighted values.

const STEP_ROW = 22; // pixels
const MOST_STEP_ROWS = 64; // keys; the strongest where there are more

function stepsLayout(data, head, query, width) {
  const step = data.step(head, query);
  let keys = [...data.keys.keys()];
  if (keys.length > MOST_STEP_ROWS) {
    keys.sort((a, b) => step.weights[b] - step.weights[a]);
    keys = keys.slice(0, MOST_STEP_ROWS).sort((a, b) => a - b);
  }
  const columns = [];
  if (step.scores) {
    const most = Math.max(...keys.map((key) => Math.abs(step.scores[key])), 1e-30);
    const signed = keys.some((key) => step.scores[key] < 0);
    columns.push({ title: "1  score", values: step.scores, most, signed, beforeMask: true, digits: 2 });
  }
  columns.push({ title: `${columns.length + 1}  softmax: weight`, values: step.weights, most: Math.max(...step.weights), digits: 3 });
  if (step.lengths) {
    const most = Math.max(...step.lengths);
    columns.push({ title: `${columns.length + 1}  weight × value: length`, values: step.lengths, most, digits: 3, shares: step.shares });
  }
  const left = widest(keys.map((key) => data.keys[key])) + 18;
  const total = { width: Math.min(width, 860), height: 62 + keys.length * STEP_ROW + 34 };
  const each = (total.width - left) / columns.length;
  return { step, keys, columns, left, top: 62, each, total };
}

function stepKeyAt(layout, y) {
  return layout.keys[Math.floor((y - layout.top) / STEP_ROW)] ?? null;
}

function drawSteps(paper, data, head, query, layout, chosen, look) {
  const { colours } = look;
  const { step, keys, columns, left, top, each, total } = layout;
  const bar = look.headColour(head);
  paper.text(`${data.heads[head].name} · query ${data.indices[query]} ${data.queries[query]}`, 4, 12, { size: 14, fill: colours.ink, weight: "bold" });
  columns.forEach((column, index) => {
    const title = fitted(column.title, each - 8, LABEL);
    paper.text(title, left + index * each, 42, { size: LABEL, fill: colours.ink, weight: "bold" });
  });
  keys.forEach((key, line) => {
    const y = top + (line + 0.5) * STEP_ROW;
    const marked = key === chosen?.key;
    if (marked) paper.rect(0, y - STEP_ROW / 2, total.width, STEP_ROW, { fill: colours.mark, alpha: 0.14 });
    const fill = marked ? colours.mark : colours.ink;
    paper.text(fitted(data.keys[key], MOST_LABEL, LABEL), left - 8, y, { size: LABEL, fill, align: "end", weight: marked ? "bold" : "normal" });
    const masked = data.masked(head, query, key);
    columns.forEach((column, index) => {
      drawBar(paper, column, key, left + index * each, y, each - 10, { bar, colours, masked });
    });
  });
  const sums = ["weights add up to 1"];
  if (step.lengths) sums.push(`weighted values add up to the head's output, of length ${step.output.toPrecision(3)}`);
  if (keys.length < data.keys.length) sums.push(`the ${keys.length} largest weights of ${data.keys.length}`);
  paper.text(fitted(sums.join(" · "), total.width - 8, 11), 4, total.height - 14, { size: 11, fill: colours.soft });
}

function drawBar(paper, column, key, x, y, width, { bar, colours, masked }) {
  const value = column.values[key];
  const room = width - (column.shares ? 98 : 52);
  const middle = column.signed ? x + room / 2 : x;
  const length = column.most > 0 ? (value / column.most) * (column.signed ? room / 2 : room) : 0;
  const hidden = masked && !column.beforeMask;
  if (hidden) paper.stripes(x, y - 6, room, 12, colours);
  const alpha = masked ? 0.35 : 1;
  paper.rect(Math.min(middle, middle + length), y - 6, Math.abs(length), 12, { fill: bar, alpha });
  if (column.signed) paper.lines([[middle, y - STEP_ROW / 2, middle, y + STEP_ROW / 2]], { stroke: colours.grid });
  const text = hidden ? "masked" : value.toFixed(column.digits);
  paper.text(text, x + room + 6, y, { size: 11, fill: masked ? colours.soft : colours.ink });
  if (column.shares && !masked) {
    paper.text(`${(100 * column.shares[key]).toFixed(1)} %`, x + width - 2, y, { size: 11, fill: colours.soft, align: "end" });
  }
}
