// Two kinds of paper with the same pens, so that what is exported is what is seen.

const FONT = 'system-ui, "Noto Sans", "Noto Sans CJK SC", "Noto Color Emoji", sans-serif';
const SVG = "http://www.w3.org/2000/svg";
const MOST_RECTS = 4096; // above, cells are an image in the SVG too
const STRIPES = 6; // pixels between two stripes of what is masked

const pen = document.createElement("canvas").getContext("2d");

function textWidth(text, size, weight = "normal") {
  pen.font = `${weight} ${size}px ${FONT}`;
  return pen.measureText(text).width;
}

// The text, or its beginning where it is wider than this.
function fitted(text, width, size) {
  if (textWidth(text, size) <= width) return text;
  const characters = Array.from(text);
  let length = characters.length;
  while (length > 1 && textWidth(`${characters.slice(0, length).join("")}…`, size) > width) length -= 1;
  return `${characters.slice(0, length).join("")}…`;
}

class CanvasPaper {
  constructor(canvas, width, height, ratio) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    this.context = canvas.getContext("2d");
    this.context.scale(ratio, ratio);
  }

  rect(x, y, width, height, { fill, stroke, line = 1, alpha = 1 }) {
    const context = this.context;
    context.globalAlpha = alpha;
    if (fill) {
      context.fillStyle = fill;
      context.fillRect(x, y, width, height);
    }
    if (stroke) {
      context.strokeStyle = stroke;
      context.lineWidth = line;
      context.strokeRect(x, y, width, height);
    }
    context.globalAlpha = 1;
  }

  stripes(x, y, width, height, { ground, stripe }) {
    const context = this.context;
    context.save();
    context.beginPath();
    context.rect(x, y, width, height);
    context.clip();
    context.fillStyle = ground;
    context.fillRect(x, y, width, height);
    context.beginPath();
    for (let start = -height; start < width; start += STRIPES) {
      context.moveTo(x + start, y + height);
      context.lineTo(x + start + height, y);
    }
    context.strokeStyle = stripe;
    context.lineWidth = 1;
    context.stroke();
    context.restore();
  }

  cells(image, x, y, width, height) {
    this.context.imageSmoothingEnabled = false; // every cell has a sharp edge
    this.context.drawImage(image, x, y, width, height);
  }

  text(text, x, y, { size, fill, align = "start", weight = "normal", turned = false }) {
    const context = this.context;
    context.save();
    context.translate(x, y);
    if (turned) context.rotate(-Math.PI / 2);
    context.font = `${weight} ${size}px ${FONT}`;
    context.fillStyle = fill;
    context.textAlign = align;
    context.textBaseline = "middle";
    context.direction = "ltr";
    context.fillText(text, 0, 0);
    context.restore();
  }

  lines(segments, { stroke, alpha = 1, line = 1 }) {
    const context = this.context;
    context.globalAlpha = alpha;
    context.strokeStyle = stroke;
    context.lineWidth = line;
    context.beginPath();
    for (const [x1, y1, x2, y2] of segments) {
      context.moveTo(x1, y1);
      context.lineTo(x2, y2);
    }
    context.stroke();
    context.globalAlpha = 1;
  }
}

class SvgPaper {
  constructor(width, height) {
    this.root = document.createElementNS(SVG, "svg");
    this.set(this.root, { width, height, viewBox: `0 0 ${width} ${height}`, "font-family": FONT });
    this.patterns = new Map();
  }

  set(element, attributes) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== undefined) element.setAttribute(name, typeof value === "number" ? +value.toFixed(2) : value);
    }
    return element;
  }

  add(name, attributes, parent = this.root) {
    const element = this.set(document.createElementNS(SVG, name), attributes);
    parent.append(element);
    return element;
  }

  rect(x, y, width, height, { fill = "none", stroke, line = 1, alpha }) {
    this.add("rect", { x, y, width, height, fill, stroke, "stroke-width": stroke && line, opacity: alpha });
  }

  stripes(x, y, width, height, { ground, stripe }) {
    const key = `${ground} ${stripe}`;
    if (!this.patterns.has(key)) {
      const id = `stripes-${this.patterns.size}`;
      this.patterns.set(key, id);
      const size = STRIPES;
      const units = "userSpaceOnUse";
      const pattern = this.add("pattern", { id, width: size, height: size, patternUnits: units });
      this.add("rect", { width: size, height: size, fill: ground }, pattern);
      const d = `M-1 1L1 -1M0 ${size}L${size} 0M${size - 1} ${size + 1}L${size + 1} ${size - 1}`;
      this.add("path", { d, stroke: stripe }, pattern);
    }
    this.add("rect", { x, y, width, height, fill: `url(#${this.patterns.get(key)})` });
  }

  cells(image, x, y, width, height) {
    const count = image.width * image.height;
    if (count > MOST_RECTS) {
      const sharp = { preserveAspectRatio: "none", "image-rendering": "pixelated" };
      this.add("image", { x, y, width, height, ...sharp, href: image.toDataURL() });
      return;
    }
    const pixels = image.getContext("2d").getImageData(0, 0, image.width, image.height).data;
    const [cellWidth, cellHeight] = [width / image.width, height / image.height];
    for (let place = 0; place < count; place += 1) {
      const [red, green, blue, alpha] = pixels.subarray(4 * place, 4 * place + 4);
      if (alpha === 0) continue; // the ground shows
      const [column, row] = [place % image.width, Math.floor(place / image.width)];
      this.add("rect", {
        x: x + column * cellWidth,
        y: y + row * cellHeight,
        width: cellWidth,
        height: cellHeight,
        fill: `rgb(${red},${green},${blue})`,
      });
    }
  }

  text(text, x, y, { size, fill, align = "start", weight, turned = false }) {
    const anchor = { start: "start", center: "middle", end: "end" }[align];
    const transform = turned ? `translate(${x.toFixed(2)} ${y.toFixed(2)}) rotate(-90)` : undefined;
    const place = turned ? { x: 0, y: 0, transform } : { x, y };
    const look = { fill, "font-size": size, "font-weight": weight, "text-anchor": anchor, dy: "0.35em" };
    this.add("text", { ...place, ...look, direction: "ltr" }).textContent = text;
  }

  lines(segments, { stroke, alpha, line = 1 }) {
    const short = (number) => +number.toFixed(1);
    const d = segments.map((ends) => {
      const [x1, y1, x2, y2] = ends.map(short);
      return `M${x1} ${y1}L${x2} ${y2}`;
    });
    this.add("path", { d: d.join(""), stroke, "stroke-width": line, opacity: alpha, fill: "none" });
  }

  toString() {
    return new XMLSerializer().serializeToString(this.root);
  }
}
