"use strict";
// Filters and sorts what is already on the page; it builds no markup from text and loads nothing.
(() => {
  const $ = (id) => document.getElementById(id);

  // Language: the page is written in English, the Chinese labels lie beside in attributes.
  const pairs = [["zh", (e, s) => { e.textContent = s; }, (e) => e.textContent]];
  for (const [key, name] of [["zhLabel", "aria-label"], ["zhPlaceholder", "placeholder"]]) {
    pairs.push([key, (e, s) => e.setAttribute(name, s), (e) => e.getAttribute(name)]);
  }
  const labels = pairs.flatMap(([key, put, get]) => {
    const attribute = "data-" + key.replace(/[A-Z]/g, (c) => "-" + c.toLowerCase());
    return [...document.querySelectorAll(`[${attribute}]`)].map((e) => (
      { put: (s) => put(e, s), en: get(e), zh: e.getAttribute(attribute) }
    ));
  });
  const speak = (language) => {
    for (const label of labels) label.put(label[language]);
    document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
    const other = language === "zh" ? "en" : "zh";
    $("language").textContent = other === "zh" ? "中文" : "English";
    $("language").lang = other === "zh" ? "zh-CN" : "en";
    $("language").onclick = () => speak(other);
  };
  speak(navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
  $("language").hidden = false;

  const list = $("list");
  if (!list) return;
  const rows = [...list.children];
  const number = (row, name) => Number(row.dataset[name]);
  const orders = {
    jieba: (a, b) => number(a, "jieba") - number(b, "jieba") || number(a, "official") - number(b, "official"),
    official: (a, b) => number(a, "official") - number(b, "official") || number(a, "jieba") - number(b, "jieba"),
    best: (a, b) => orders.jieba(b, a),
    position: () => 0,
    length: (a, b) => number(b, "length") - number(a, "length"),
    latency: (a, b) => number(b, "latency") - number(a, "latency"),
  };
  const texts = new Map();
  const text = (row) => {
    if (!texts.has(row)) {
      const parts = row.querySelectorAll(".id, .question, .prose, .error");
      texts.set(row, [...parts].map((e) => e.textContent).join("\n").toLowerCase());
    }
    return texts.get(row);
  };
  const bound = (id, otherwise) => ($(id).value === "" ? otherwise : Number($(id).value));

  const filter = () => {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [from, to] = [bound("from", 0), bound("to", 1)];
    let shown = 0;
    for (const row of rows) {
      const score = number(row, $("measure").value);
      const fits = score >= from && score <= to
        && (!$("only-bad").checked || row.hasAttribute("data-bad"))
        && words.every((word) => text(row).includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    $("count").textContent = `${shown} / ${rows.length}`;
    $("nothing").hidden = shown > 0;
  };
  const sort = () => {
    const order = orders[$("sort").value];
    rows.sort((a, b) => order(a, b) || number(a, "position") - number(b, "position"));
    list.append(...rows);
  };
  const reset = () => {
    for (const id of ["search", "only-bad", "from", "to"]) {
      $(id).value = $(id).defaultValue;
      $(id).checked = false;
    }
    $("sort").selectedIndex = $("measure").selectedIndex = 0;
    sort();
    filter();
  };
  const fold = (isOpen) => {
    for (const row of rows) if (!row.hidden) row.querySelector("details").open = isOpen;
  };
  // A point of a plot leads to its question, also when the filter hides it.
  const show = (id) => {
    const row = /^#q\d+$/.test(id) && $(id.slice(1));
    if (!row) return;
    if (row.hidden) reset();
    row.querySelector("details").open = true;
    row.scrollIntoView({ block: "center" });
  };

  for (const id of ["search", "from", "to", "measure", "only-bad"]) $(id).addEventListener("input", filter);
  $("sort").addEventListener("input", sort);
  $("reset").addEventListener("click", reset);
  $("unfold").addEventListener("click", () => fold(true));
  $("fold").addEventListener("click", () => fold(false));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("svg a");
    if (link) show(link.getAttribute("href"));
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, select, textarea")) {
      event.preventDefault();
      $("search").focus();
    }
  });
  for (const id of ["controls", "showing", "unfold", "fold"]) $(id).hidden = false;
  if (location.hash) show(location.hash);
})();
