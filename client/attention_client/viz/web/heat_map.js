// Heat maps: where the cells lie, and how they are drawn.

const MOST_CELL = 44; // pixels
const LABEL = 12; // pixels, the size of a label
const MOST_LABEL = 110; // pixels

// The cells of one head as an image of so many pixels at most, one a cell; what is masked stays
// transparent. Where there are more cells, a pixel is the largest of its cells: none is averaged away.
function cellImage(data, head, most, { shades, share, end }) {
  const [columns, rows] = [data.keys.length, data.queries.length];
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.min(columns, most.width));
  canvas.height = Math.max(1, Math.min(rows, most.height));
  const [across, down] = [canvas.width / columns, canvas.height / rows];
  const columnOf = Uint16Array.from({ length: columns }, (_, column) => Math.floor((column + 0.5) * across));
  const found = new Int16Array(canvas.width * canvas.height).fill(-1); // shades; -1 where all is masked
  const [codes, seen] = [data.codes(head), data.sight(head)];
  for (let row = 0, place = 0; row < rows; row += 1) {
    const largest = data.rowsOfHeads[head][row];
    const shadeOf = Uint8Array.from({ length: 256 }, (_, code) =>
      largest === 0 ? 0 : Math.round(255 * Math.min(1, share((code / 255) * largest, largest, end))),
    );
    const start = Math.floor((row + 0.5) * down) * canvas.width;
    for (let column = 0; column < columns; column += 1, place += 1) {
      const [target, shade] = [start + columnOf[column], shadeOf[codes[place]]];
      if (shade > found[target] && seen(place)) found[target] = shade;
    }
  }
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const colours = new Uint32Array(image.data.buffer); // alpha, blue, green, red
  const table = shades.map(([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0);
  found.forEach((shade, place) => {
    if (shade >= 0) colours[place] = table[shade];
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

// Pixels of the widest label.
const widest = (labels) =>
  Math.ceil(Math.min(MOST_LABEL, labels.reduce((most, text) => Math.max(most, textWidth(text, LABEL)), 0)));

// The cells of a map that fits in a box: squares where it is square, and never thin stripes.
function cellsIn(data, width, height) {
  const [columns, rows] = [data.keys.length, data.queries.length];
  let [cellWidth, cellHeight] = [Math.min(MOST_CELL, width / columns), Math.min(MOST_CELL, height / rows)];
  if (columns === rows) cellWidth = cellHeight = Math.min(cellWidth, cellHeight);
  cellWidth = Math.min(cellWidth, 4 * cellHeight);
  cellHeight = Math.min(cellHeight, 4 * cellWidth);
  return { cellWidth, cellHeight, width: columns * cellWidth, height: rows * cellHeight };
}

// Where everything lies on a picture of this size at most.
function heatMapLayout(data, width, height) {
  const [x, keyWidth] = [widest(data.queries) + 28, widest(data.keys)];
  const turned = keyWidth > Math.min(MOST_CELL, (width - x - 8) / data.keys.length) - 3;
  const y = (turned ? keyWidth : LABEL) + 30;
  const cells = cellsIn(data, width - x - 8, height - y - 8);
  const total = { width: Math.max(x + cells.width + 8, Math.min(width, 260)), height: y + cells.height + 8 };
  return { ...cells, x, y, turned, total };
}

// Where the maps of all heads lie: in rows, each with its name above, labels where they fit.
function gridLayout(data, width) {
  const across = Math.max(1, Math.min(data.heads.length, Math.floor(width / 230)));
  const each = Math.min(340, Math.floor(width / across));
  const [sideOfQueries, sideOfKeys] = [widest(data.queries), widest(data.keys)];
  const small = cellsIn(data, each - sideOfQueries - 30, each - sideOfKeys - 50);
  const labelled = Math.min(small.cellWidth, small.cellHeight) >= LABEL + 1;
  const turned = sideOfKeys > small.cellWidth - 3;
  const left = labelled ? sideOfQueries + 12 : 2;
  const top = 26 + (labelled ? (turned ? sideOfKeys : LABEL) + 8 : 0);
  const cells = labelled ? small : cellsIn(data, each - 18, each - 18);
  const [stepX, stepY] = [Math.max(left + cells.width + 16, 90), top + cells.height + 18];
  const boxes = data.heads.map((_, head) => {
    const [x, y] = [(head % across) * stepX + left, Math.floor(head / across) * stepY + top];
    return { ...cells, x, y, turned };
  });
  const total = { width: across * stepX, height: Math.ceil(data.heads.length / across) * stepY };
  return { boxes, left, top, labelled, total };
}

// The cell under a point, of whichever head lies there.
function gridCellAt(layout, data, x, y) {
  for (const [head, box] of layout.boxes.entries()) {
    const cell = cellAt(box, data, x, y);
    if (cell) return { head, ...cell };
  }
  return null;
}

function drawHeads(paper, data, layout, chosen, look) {
  for (const [head, box] of layout.boxes.entries()) {
    drawCells(paper, box, look.image(head, box), chosen, look);
    const title = [data.heads[head].name, patternOf(data.heads[head])].filter(Boolean).join(" · ");
    const [x, y] = [box.x - layout.left + 2, box.y - layout.top + 12];
    paper.text(fitted(title, layout.left + box.width, LABEL), x, y, { size: LABEL, fill: look.colours.ink, weight: "bold" });
    if (!layout.labelled) continue;
    drawLabels(paper, data.queries, box, chosen?.query ?? null, look.colours, false);
    drawLabels(paper, data.keys, box, chosen?.key ?? null, look.colours, true);
  }
}

function cellAt(layout, data, x, y) {
  const key = Math.floor((x - layout.x) / layout.cellWidth);
  const query = Math.floor((y - layout.y) / layout.cellHeight);
  const inside = key >= 0 && query >= 0 && key < data.keys.length && query < data.queries.length;
  return inside ? { query, key } : null;
}

// The cells and the marks, without words: all of a small picture.
function drawCells(paper, layout, image, chosen, look) {
  const { x, y, width, height, cellWidth, cellHeight } = layout;
  paper.stripes(x, y, width, height, look.colours);
  paper.cells(image, x, y, width, height);
  if (Math.min(cellWidth, cellHeight) >= 8) drawGrid(paper, layout, image, look.colours);
  paper.rect(x, y, width, height, { stroke: look.colours.grid });
  if (chosen) drawMarks(paper, layout, chosen, look);
}

// The row of the query, the column of the key, and their cell.
function drawMarks(paper, { x, y, width, height, cellWidth, cellHeight }, chosen, look) {
  const { mark } = look.colours;
  const [column, row] = [x + chosen.key * cellWidth, y + chosen.query * cellHeight];
  const band = { stroke: mark, line: look.locked ? 1.5 : 1 };
  const fine = { stroke: mark, alpha: 0.7 };
  if (chosen.query !== null && cellHeight >= 5) paper.rect(x, row, width, cellHeight, band);
  else if (chosen.query !== null) paper.lines([[x, row + cellHeight / 2, x + width, row + cellHeight / 2]], fine);
  if (chosen.key !== null && cellWidth >= 5) paper.rect(column, y, cellWidth, height, band);
  else if (chosen.key !== null) paper.lines([[column + cellWidth / 2, y, column + cellWidth / 2, y + height]], fine);
  if (chosen.query === null || chosen.key === null) return;
  // A cell of a pixel would not be found.
  const [wide, high] = [Math.max(cellWidth, 7), Math.max(cellHeight, 7)];
  const [dx, dy] = [(wide - cellWidth) / 2, (high - cellHeight) / 2];
  paper.rect(column - dx, row - dy, wide, high, { stroke: mark, line: look.locked ? 2.5 : 1.5 });
}

function drawGrid(paper, { x, y, width, height, cellWidth, cellHeight }, image, { grid }) {
  const lines = [];
  for (let column = 1; column < image.width; column += 1) {
    lines.push([x + column * cellWidth, y, x + column * cellWidth, y + height]);
  }
  for (let row = 1; row < image.height; row += 1) {
    lines.push([x, y + row * cellHeight, x + width, y + row * cellHeight]);
  }
  paper.lines(lines, { stroke: grid, line: 0.6 });
}

// One head large: cells, labels, and values where they fit.
function drawHeatMap(paper, data, head, layout, chosen, look) {
  const { colours } = look;
  drawCells(paper, layout, look.image(head, layout), chosen, look);
  if (Math.min(layout.cellWidth, layout.cellHeight) >= 30) drawValues(paper, data, head, layout, look);
  drawLabels(paper, data.queries, layout, chosen?.query ?? null, colours, false);
  drawLabels(paper, data.keys, layout, chosen?.key ?? null, colours, true);
  const title = { size: 11, fill: colours.soft };
  paper.text("key", layout.x + layout.width / 2, 8, { ...title, align: "center" });
  paper.text("query", 8, layout.y + layout.height / 2, { ...title, align: "center", turned: true });
}

function drawValues(paper, data, head, layout, look) {
  for (let query = 0; query < data.queries.length; query += 1) {
    for (let key = 0; key < data.keys.length; key += 1) {
      if (data.masked(head, query, key)) continue;
      const weight = data.weight(head, query, key);
      const shade = Math.round(255 * Math.min(1, look.share(weight, data.rowsOfHeads[head][query], look.end)));
      const x = layout.x + (key + 0.5) * layout.cellWidth;
      const y = layout.y + (query + 0.5) * layout.cellHeight;
      const fill = inkOn(look.shades[Number.isNaN(shade) ? 0 : shade]);
      paper.text(weight.toFixed(2).replace(/^0/, ""), x, y, { size: 10.5, fill, align: "center" });
    }
  }
}

// Tokens along one side: as many as can be read, and always the one that is looked at.
function drawLabels(paper, labels, layout, chosen, colours, ofKeys) {
  const cell = ofKeys ? layout.cellWidth : layout.cellHeight;
  const turned = ofKeys && layout.turned;
  const room = ofKeys && !turned ? layout.cellWidth * Math.max(1, Math.ceil((LABEL + 2) / cell)) : MOST_LABEL;
  const every = Math.max(1, Math.ceil((LABEL + 2) / cell));
  const put = (index, fill, weight) => {
    const text = fitted(labels[index], room, LABEL);
    const middle = (index + 0.5) * cell;
    const style = { size: LABEL, fill, weight, turned };
    if (!ofKeys) paper.text(text, layout.x - 6, layout.y + middle, { ...style, align: "end" });
    else if (turned) paper.text(text, layout.x + middle, layout.y - 6, style);
    else paper.text(text, layout.x + middle, layout.y - 6 - LABEL / 2, { ...style, align: "center" });
  };
  for (let index = 0; index < labels.length; index += every) {
    const near = chosen !== null && Math.abs(index - chosen) * cell < LABEL + 2;
    if (!near) put(index, colours.ink);
  }
  if (chosen !== null) put(chosen, colours.mark, "bold");
}
