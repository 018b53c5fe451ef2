// Text and elements: whatever comes from outside gets in as text, never as markup.
const $ = (id) => document.getElementById(id);
const make = (tag, name = "", ...content) => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...content.filter((part) => part !== null && part !== undefined).map((part) => (part instanceof Node ? part : String(part))));
  return element;
};
const fill = (element, ...content) => element.replaceChildren(...content);
// Only on a change, so that a selection survives.
const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const show = (element, isShown) => { element.hidden = !isShown; };

const count = (value) => Math.round(value).toLocaleString("en-US");
const brief = (value) => {
  if (value >= 1e6) return `${(value / 1e6).toFixed(value >= 1e7 ? 0 : 1)}M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(0)}k`;
  if (value >= 1e3) return `${(value / 1e3).toFixed(1)}k`;
  return String(Math.round(value * 10) / 10);
};
const UNITS = { ms: "毫秒", s: "秒", min: "分", h: "小时", d: "天" };
const unit = (value, name) => `${value} ${language === "zh" ? UNITS[name] : name}`;
const two = (value, name, rest, smaller) => (rest ? `${unit(value, name)} ${unit(rest, smaller)}` : unit(value, name));
const span = (seconds) => {
  const s = Math.max(0, seconds);
  if (s < 0.9995) return unit(Math.round(s * 1000), "ms");
  if (s < 9.95) return unit(s.toFixed(1), "s");
  const whole = Math.round(s);
  if (whole < 100) return unit(whole, "s");
  const minutes = Math.floor(whole / 60);
  if (minutes < 100) return two(minutes, "min", whole % 60, "s");
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? two(hours, "h", minutes % 60, "min") : two(Math.floor(hours / 24), "d", hours % 24, "h");
};
const size = (bytes) => (bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${Math.round(bytes / 2 ** 20)} MiB`);
const clock = (time) => {
  const at = new Date(time * 1000);
  const pad = (value) => String(value).padStart(2, "0");
  const day = at.toDateString() === new Date().toDateString() ? "" : `${pad(at.getMonth() + 1)}-${pad(at.getDate())} `;
  return day + [at.getHours(), at.getMinutes(), at.getSeconds()].map(pad).join(":");
};
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
const list = (value) => (Array.isArray(value) ? value : []);
const object = (value) => (value && typeof value === "object" && !Array.isArray(value) ? value : {});
