// The box to try a prompt in, or a list of prompts.
const MAX_RESULTS = 50;
let trial = null; // what stops the one under way
const promptsOf = (text, isList) => {
  if (/^\s*\[/.test(text)) {
    try {
      const parsed = JSON.parse(text);
      if (Array.isArray(parsed) && parsed.every((each) => typeof each === "string")) return parsed;
    } catch { /* not a JSON list: a prompt that begins with a bracket */ }
  }
  return isList ? text.split("\n").map((line) => line.trim()).filter(Boolean) : text.trim();
};
const note = (text, isBad = false) => {
  put($("try-note"), text);
  $("try-note").classList.toggle("bad", isBad);
};
const chips = (answer, exchange) => {
  const rate = exchange.completion_tokens && exchange.seconds ? exchange.completion_tokens / exchange.seconds : null;
  return make("div", "chips", ...[
    span(exchange.seconds),
    exchange.first_text_s !== null && say("firstText", span(exchange.first_text_s)),
    exchange.queued_s >= 0.01 && say("queued", span(exchange.queued_s)),
    say("chars", count([...answer].length)),
    exchange.prompt_tokens && say("tokensIn", count(exchange.prompt_tokens)),
    exchange.completion_tokens && say("tokensOut", count(exchange.completion_tokens)),
    rate && say("speed", count(rate)),
    exchange.finish_reason,
  ].filter(Boolean).map((text) => make("span", "chip", text)));
};
const drawResult = (prompt, { answer, exchange }) => {
  const text = make("div", answer ? "answer" : "answer none", answer || say("noAnswer"));
  text.dir = "auto";
  text.tabIndex = 0;
  const item = make("li", "result", make("p", "asked", prompt), text);
  if (!exchange) return item;
  item.append(chips(answer, exchange));
  const raw = make("pre", "log wrapped", exchange.raw ?? say("rawUnknown"));
  raw.tabIndex = 0;
  item.append(make("details", "", make("summary", "", say("rawText")), raw));
  return item;
};
const ask = async (prompt) => {
  const body = { prompt };
  if ($("max-tokens").value) body.max_new_tokens = Number($("max-tokens").value);
  const response = await fetch("status/try", { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal: trial.signal });
  const told = await response.json();
  if (!response.ok) throw new Error(`${response.status} ${told.error.type}: ${told.error.message}`);
  return told;
};
const attempt = async () => {
  const prompt = promptsOf($("prompt").value, $("is-list").checked);
  if (!prompt.length) return note(say("nothingAsked"), true);
  const asked = [].concat(prompt);
  const began = Date.now();
  const tick = () => note(say("asking", span((Date.now() - began) / 1000)));
  trial = new AbortController();
  $("ask").disabled = true;
  show($("stop"), true);
  const timer = setInterval(tick, 1000);
  tick();
  try {
    const told = await ask(prompt);
    fill($("results"), ...told.answers.slice(0, MAX_RESULTS).map((each, index) => drawResult(asked[index], each)));
    const more = asked.length > MAX_RESULTS ? ` · ${say("moreAnswers", MAX_RESULTS)}` : "";
    note(say("answered", count(asked.length), span(told.seconds)) + more);
  } catch (error) {
    fill($("results"));
    note(error.name === "AbortError" ? say("stopped") : error.message, error.name !== "AbortError");
  } finally {
    clearInterval(timer);
    $("ask").disabled = false;
    show($("stop"), false);
  }
  return undefined;
};
$("try").addEventListener("submit", (event) => { event.preventDefault(); attempt(); });
$("stop").addEventListener("click", () => trial.abort());
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !$("ask").disabled) { event.preventDefault(); attempt(); }
});
