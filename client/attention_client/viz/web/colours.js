// The colours of every picture, those of colours.py.

const LIGHT = {
  ramp: ["#ffffff", "#d6e6f4", "#7fb8da", "#2f7ebc", "#123f77", "#0b1f44"],
  paper: "#ffffff",
  ink: "#22303c",
  soft: "#5d6b78",
  grid: "#e3e8ec",
  ground: "#eceff1",
  stripe: "#c3cbd2",
  mark: "#d9480f",
};
const DARK = {
  ramp: ["#181230", "#5c166e", "#bb3754", "#f98c0a", "#fcf096"],
  paper: "#12161c",
  ink: "#e6ebf0",
  soft: "#9aa7b4",
  grid: "#2a3240",
  ground: "#2b323b",
  stripe: "#4a545f",
  mark: "#4dd0e1",
};

const partsOf = (colour) => [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));

// 256 colours, from weight 0 to the end of the scale: straight lines in sRGB between the ramp's.
function shadesOf(ramp) {
  const stops = ramp.map(partsOf);
  return Array.from({ length: 256 }, (_, shade) => {
    const place = (shade / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    return stops[low].map((part, index) => Math.round(part + (place - low) * (stops[low + 1][index] - part)));
  });
}

// White or nearly black, whichever is read better; at a luminance of 0.179 both contrast alike.
function inkOn([red, green, blue]) {
  const linear = (byte) => (byte <= 10 ? byte / 3294.6 : ((byte / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  return luminance > 0.179 ? LIGHT.ink : "#ffffff";
}

// Ten colours that differ (Tableau's), then hues by the golden angle.
const HEAD_COLOURS = "#4e79a7 #f28e2b #59a14f #e15759 #76b7b2 #b07aa1 #edc948 #9c755f #ff9da7 #868686".split(" ");
const headColour = (head) => HEAD_COLOURS[head] ?? `hsl(${Math.round(head * 137.5) % 360} 60% 55%)`;

// How a weight becomes a share of the scale, 0 to 1.
const SCALES = {
  linear: { name: "linear", share: (weight, row, end) => weight / end },
  root: { name: "square root", share: (weight, row, end) => Math.sqrt(weight / end) },
  row: { name: "row by row", share: (weight, row) => weight / row },
};
