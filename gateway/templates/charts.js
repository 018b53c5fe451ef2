// Charts, drawn by hand: an area over time, a histogram.
const svg = (tag, attributes, text) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
};
// The least of 1, 2, 5 times a power of ten that holds a value.
const roof = (value) => {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= value) ?? 10 * power;
};
const LEFT = 40;
// As wide as its place: labels keep their size on a phone.
const sized = (plot, height) => {
  const width = Math.max(plot.clientWidth, 200);
  plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
  return width;
};
// The last minutes that hold all there is to see; a short batch is no sliver at the edge.
const recent = (values) => {
  const first = values.findIndex((value) => value > 0);
  const length = first < 0 ? 60 : values.length - first + 5;
  return values.slice(-([60, 120, 240].find((each) => each >= length) ?? values.length));
};
const drawRate = (plot, values, label) => {
  const [width, height] = [sized(plot, 150), 126];
  const top = roof(Math.max(10, ...values));
  const x = (index) => LEFT + (index / Math.max(values.length - 1, 1)) * (width - LEFT);
  const y = (value) => height - (value / top) * (height - 8);
  const points = values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`);
  const parts = [0, 0.5, 1].flatMap((share) => [
    svg("line", { class: share ? "grid" : "axis", x1: LEFT, x2: width, y1: y(share * top), y2: y(share * top) }),
    svg("text", { x: LEFT - 6, y: y(share * top) + 4, "text-anchor": "end" }, brief(share * top)),
  ]);
  if (points.length) {
    parts.push(svg("polygon", { class: "area", points: `${LEFT},${height} ${points.join(" ")} ${width},${height}` }),
      svg("polyline", { class: "line", points: points.join(" ") }));
  }
  const every = values.length <= 60 ? 20 : values.length <= 120 ? 30 : 60;
  for (let seconds = every; seconds < values.length - every / 4; seconds += every) {
    parts.push(svg("text", { x: x(values.length - 1 - seconds), y: 145, "text-anchor": "middle" }, say("ago", span(seconds))));
  }
  parts.push(svg("text", { x: width, y: 145, "text-anchor": "end" }, say("now")));
  plot.setAttribute("aria-label", label);
  fill(plot, ...parts);
};
const bound = (seconds) => (seconds < 1 ? `${seconds * 1000}ms` : `${seconds}s`);
const drawHistogram = (plot, bounds, counts, label) => {
  const [width, height] = [sized(plot, 164), 140];
  const top = Math.max(1, ...counts);
  const step = (width - LEFT) / counts.length;
  const parts = [0, 1].flatMap((share) => [
    svg("line", { class: share ? "grid" : "axis", x1: LEFT, x2: width, y1: height - share * 128, y2: height - share * 128 }),
    svg("text", { x: LEFT - 6, y: height - share * 128 + 4, "text-anchor": "end" }, brief(share * top)),
  ]);
  counts.forEach((value, index) => {
    const tall = value ? Math.max(2, (value / top) * 128) : 0;
    parts.push(svg("rect", { class: "bar", x: LEFT + index * step + 2, y: height - tall, width: step - 4, height: tall, rx: 1.5 }));
    if (index < bounds.length && index % (step < 24 ? 3 : 2) === 0) {
      parts.push(svg("text", { x: LEFT + (index + 1) * step, y: height + 17, "text-anchor": "middle" }, bound(bounds[index])));
    }
  });
  plot.setAttribute("aria-label", label);
  fill(plot, ...parts);
};
// Where a share of the counts lies, between the bounds of its bucket.
const quantile = (bounds, counts, share) => {
  const wanted = counts.reduce((sum, each) => sum + each, 0) * share;
  let before = 0;
  for (let index = 0; index < counts.length; index += 1) {
    if (before + counts[index] >= wanted && counts[index]) {
      const low = index ? bounds[index - 1] : 0;
      const high = index < bounds.length ? bounds[index] : low;
      return low + (high - low) * ((wanted - before) / counts[index]);
    }
    before += counts[index];
  }
  return 0;
};
