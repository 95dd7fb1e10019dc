// Lines: queries on the left, keys on the right, a line as strong as the weight (Vig 2019, BertViz).

const MOST_LINES = 20000; // drawn at once; the strongest
const SHARE = 9; // pixels of the square that shows a head's weight beside a key
const STRENGTHS = 32; // steps of opacity, each drawn in one stroke

function linesLayout(data, width, heads) {
  const longest = Math.max(data.keys.length, data.queries.length);
  const step = Math.max(3, Math.min(26, 760 / longest));
  const total = { width: Math.min(width, 620), height: 40 + longest * step };
  const left = Math.max(widest(data.queries), 34) + 14; // room for the word query
  const right = total.width - Math.max(widest(data.keys), 24) - 14 - heads * SHARE;
  return { step, top: 32, left, right, total };
}

function tokenAt(layout, data, x, y) {
  const index = Math.floor((y - layout.top) / layout.step);
  if (index < 0) return null;
  if (x < (layout.left + layout.right) / 2) return index < data.queries.length ? { query: index, key: null } : null;
  return index < data.keys.length ? { query: null, key: index } : null;
}

// The lines of a head by strength, each [x1, y1, x2, y2]; of the query or key that is looked at.
function strengthsOf(data, head, layout, chosen, look) {
  const buckets = Array.from({ length: STRENGTHS + 1 }, () => []);
  const { top, step, left, right } = layout;
  const only = chosen?.query ?? null;
  const rows = only === null ? data.queries.keys() : [only];
  const [codes, count] = [data.codes(head), data.keys.length];
  for (const query of rows) {
    const largest = data.rowsOfHeads[head][query];
    if (largest === 0) continue;
    for (let key = 0; key < count; key += 1) {
      if (only === null && (chosen?.key ?? key) !== key) continue;
      const weight = (codes[query * count + key] / 255) * largest;
      const strength = Math.ceil(Math.min(1, look.share(weight, largest, look.end)) * STRENGTHS - 0.25);
      if (strength > 0) buckets[strength].push([left, top + (query + 0.5) * step, right, top + (key + 0.5) * step]);
    }
  }
  return buckets;
}

// The weight of an opaque line: side by side that of all pictures; else of a chosen query its largest,
// for a row of many keys would be too pale to see.
function endOfLines(data, heads, chosen, { end, compared }) {
  const query = chosen?.query ?? null;
  if (compared || query === null) return end;
  return Math.max(...heads.map((head) => data.rowsOfHeads[head][query])) || end;
}

function drawLines(paper, data, heads, layout, chosen, given) {
  const look = { ...given, end: endOfLines(data, heads, chosen, given) };
  const { colours } = look;
  const all = heads.map((head) => strengthsOf(data, head, layout, chosen, look));
  let room = MOST_LINES;
  let weakest = STRENGTHS;
  const amount = (strength) => all.reduce((sum, buckets) => sum + buckets[strength].length, 0);
  while (weakest > 1 && amount(weakest) + amount(weakest - 1) <= room) {
    room -= amount(weakest);
    weakest -= 1;
  }
  for (let strength = weakest; strength <= STRENGTHS; strength += 1) {
    all.forEach((buckets, index) => {
      const pen = { stroke: look.headColour(heads[index]), alpha: strength / STRENGTHS, line: chosen ? 2 : 1.4 };
      if (buckets[strength].length > 0) paper.lines(buckets[strength], pen);
    });
  }
  if ((chosen?.query ?? null) !== null) drawShares(paper, data, heads, layout, chosen.query, look);
  const titles = { size: 11, fill: colours.soft };
  const [left, right] = [layout.left - 8, layout.right + 8 + heads.length * SHARE];
  paper.text("query", left, 12, { ...titles, align: "end" });
  paper.text("key", right, 12, titles);
  drawTokens(paper, data.queries, left, layout, chosen?.query ?? null, colours, "end");
  drawTokens(paper, data.keys, right, layout, chosen?.key ?? null, colours, "start");
  return weakest > 1 && amount(weakest - 1) > 0;
}

// What stands below the lines.
function linesNote(chosen, { compared }, areLeft) {
  const own = !compared && (chosen?.query ?? null) !== null;
  const weakest = areLeft ? " The weakest lines are left out: point at a token to see all of its own." : "";
  const opacity = `Opacity is the weight${own ? ", against the largest of this query" : ""}.`;
  return `${opacity} Click a head to add or remove it.${weakest}`;
}

// Beside each key a square of each head, as strong as the weight that the query gives it.
function drawShares(paper, data, heads, layout, query, look) {
  const size = Math.min(SHARE - 1, layout.step - 1);
  heads.forEach((head, index) => {
    for (let key = 0; key < data.keys.length; key += 1) {
      const [weight, row] = [data.weight(head, query, key), data.rowsOfHeads[head][query]];
      if (weight === 0) continue;
      const y = layout.top + (key + 0.5) * layout.step - size / 2;
      const alpha = Math.min(1, look.share(weight, row, look.end));
      paper.rect(layout.right + 3 + index * SHARE, y, SHARE - 1, size, { fill: look.headColour(head), alpha });
    }
  });
}

function drawTokens(paper, labels, x, layout, chosen, colours, align) {
  const every = Math.max(1, Math.ceil((LABEL + 2) / layout.step));
  const put = (index, fill, weight) => {
    const y = layout.top + (index + 0.5) * layout.step;
    const text = fitted(labels[index], MOST_LABEL, LABEL);
    paper.text(text, x, y, { size: LABEL, fill, weight, align });
  };
  for (let index = 0; index < labels.length; index += every) {
    const near = chosen !== null && Math.abs(index - chosen) * layout.step < LABEL + 2;
    if (!near) put(index, colours.ink);
  }
  if (chosen !== null) put(chosen, colours.mark, "bold");
}
