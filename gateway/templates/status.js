// The state, how it is kept up to date, and what is drawn when.
const POLL_MS = 3000;
const AGAIN_MS = 10000;
const state = {};
let offset = 0; // of the service's clock against this one, in seconds
const now = () => Date.now() / 1000 + offset;
// What each part is drawn from, besides the time.
const PARTS = [
  [drawPhase, ["phase", "phase_since", "reason", "engine", "start"], true],
  [drawFacts, ["engine", "memory", "settings", "packages", "engine_losses"], true],
  [drawFlights, ["batches"], true],
  [drawRates, ["rates"], false],
  [drawLatency, ["latency"], false],
  [drawTrouble, ["last_errors", "engine"], false],
  [drawLast, ["batches"], false],
  [drawLog, ["engine"], false],
  [drawSettings, ["settings", "engine"], false],
];
const draw = (changed) => {
  if (!state.version) return;
  for (const [part, names] of PARTS) {
    if (!changed || names.some((name) => changed.includes(name))) part(state, now());
  }
};
const take = (told) => {
  Object.assign(state, told);
  if (told.time) offset = told.time - Date.now() / 1000;
  draw(Object.keys(told));
};
const tell = (name) => {
  $("link").className = `link-state ${name}`;
  $("link").dataset.state = name;
  put($("link"), say(name));
};

let source = null;
let poller = 0;
let again = 0;
const poll = async () => {
  try {
    const response = await fetch("info", { cache: "no-store" });
    take(await response.json());
    tell("polling");
  } catch {
    tell("gone");
  }
};
const stopPolling = () => { clearInterval(poller); clearTimeout(again); poller = 0; };
const startPolling = () => {
  if (poller) return;
  poll();
  poller = setInterval(poll, POLL_MS);
};
const listen = () => {
  source?.close();
  source = new EventSource("status/events");
  source.onmessage = (event) => {
    stopPolling();
    tell("live");
    take(JSON.parse(event.data));
  };
  source.onerror = () => {
    startPolling();
    // Refused for good (too many look on, or the service went): the browser gives up, we do not.
    if (source.readyState === EventSource.CLOSED) { clearTimeout(again); again = setTimeout(listen, AGAIN_MS); }
  };
};
// A page that nobody sees asks for nothing.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { source?.close(); stopPolling(); } else { listen(); }
});
setInterval(() => {
  if (!document.hidden && state.version) for (const [part, , isTimed] of PARTS) if (isTimed) part(state, now());
}, 1000);

const redraw = () => { draw(); tell($("link").dataset.state); };
$("language").addEventListener("click", () => { speak(language === "zh" ? "en" : "zh"); redraw(); });
for (const [id, name] of [["of-prompts", "prompt_s"], ["of-requests", "predict_s"]]) {
  $(id).addEventListener("click", () => {
    latencyOf = name;
    $("of-prompts").setAttribute("aria-pressed", String(name === "prompt_s"));
    $("of-requests").setAttribute("aria-pressed", String(name === "predict_s"));
    draw(["latency"]);
  });
}
addEventListener("resize", () => draw(["rates", "latency"]));
$("only-set").addEventListener("change", () => draw(["settings"]));
$("wrap").addEventListener("change", () => $("log").classList.toggle("wrapped", $("wrap").checked));
speak(language);
tell("connecting");
listen();
