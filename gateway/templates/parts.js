// The parts of the page, each drawn from the state; `now` is the service's clock, in seconds.
const drawPhase = (state, now) => {
  const hasFailed = !state.is_ready && object(state.engine).phase === "failed";
  $("phase-card").className = `card phase ${hasFailed ? "lost" : state.phase}`;
  const title = say(hasFailed ? "cannotStart" : state.phase);
  put($("phase"), title);
  put($("since"), say("forTime", span(now - state.phase_since)));
  const { phase: enginePhase, message } = object(state.engine);
  const isTold = !state.is_ready && message && ["preparing", "starting", "exited", "failed"].includes(enginePhase);
  put($("reason"), state.is_ready ? "" : [state.reason, isTold ? message : ""].filter(Boolean).join(" · "));
  show($("reason"), !state.is_ready);
  document.title = `${title} · Evalgate`;
  drawStart(state, now);
};
const startSteps = (state, now) => {
  const engine = object(state.engine);
  const done = Object.entries(object(engine.start_phases)).filter(([, seconds]) => number(seconds) !== null);
  const expected = Object.entries(object(state.start.expected));
  const steps = done.map(([name, seconds]) => ({ name, seconds, is: "done" }));
  const sum = done.reduce((total, [, seconds]) => total + seconds, 0);
  const next = expected.map(([name]) => name).filter((name) => !done.some(([each]) => each === name));
  if (state.phase === "warming") {
    steps.push({ name: "warm-up", seconds: now - state.phase_since, is: "now" });
  } else if (state.phase !== "ready" && engine.phase === "starting" && number(engine.started_at) !== null) {
    steps.push({ name: next[0] ?? say("someStep"), seconds: Math.max(0, now - engine.started_at - sum), is: "now" });
  }
  for (const name of next) {
    if (state.phase !== "ready" && !steps.some((each) => each.name === name)) steps.push({ name, seconds: 0, is: "next" });
  }
  return steps.map((each) => ({ ...each, expected: number(object(state.start.expected)[each.name]) }));
};
let wasUnderWay = null;
const drawStart = (state, now) => {
  const steps = startSteps(state, now);
  const enginePhase = object(state.engine).phase;
  const isUnderWay = state.phase === "warming" || (!state.is_ready && enginePhase !== "failed" && enginePhase !== "stopped");
  const spent = steps.reduce((sum, each) => sum + each.seconds, 0);
  show($("start"), steps.length > 0);
  put($("start-total"), span(spent));
  const longest = Math.max(0.1, ...steps.map((each) => Math.max(each.seconds, each.expected ?? 0)));
  fill($("steps"), ...steps.map((each) => {
    const bar = make("i");
    bar.style.width = `${(each.seconds / longest) * 100}%`;
    const took = each.is === "next" ? "" : span(each.seconds);
    const usual = each.expected !== null && each.is !== "done" ? span(each.expected) : "";
    const told = usual && took ? say("usually", took, usual) : usual ? say("lastTime", usual) : took;
    return make("li", each.is, make("span", each.is, step(each.name)), make("span", "rail", bar), make("span", "took", told));
  }));
  show($("progress"), isUnderWay);
  if (isUnderWay !== wasUnderWay) $("start").open = isUnderWay;
  wasUnderWay = isUnderWay;
  if (!isUnderWay) return;
  const total = steps.reduce((sum, each) => sum + Math.max(each.expected ?? 0, each.is === "next" ? 0 : Math.min(each.seconds, each.expected ?? each.seconds)), 0);
  const isKnown = state.start.expected !== null && total > 0;
  // As far as the steps went against what they took last time; one that takes longer stands still.
  const come = steps.reduce((sum, each) => sum + (each.is === "done" ? each.expected ?? 0 : Math.min(each.seconds, each.expected ?? 0)), 0);
  const percent = isKnown ? Math.min(99, (come / total) * 100) : 0;
  const track = $("progress-track");
  track.classList.toggle("unknown", !isKnown);
  $("progress-fill").style.width = isKnown ? `${percent}%` : "";
  if (isKnown) track.setAttribute("aria-valuenow", String(Math.round(percent)));
  else track.removeAttribute("aria-valuenow");
  track.setAttribute("aria-label", say(state.phase));
  const current = steps.find((each) => each.is === "now");
  put($("progress-text"), current ? say("stepNow", step(current.name), span(current.seconds)) : object(state.engine).message ?? "");
  // The evaluator waits for the first start; a later loss is on the batch's clock.
  const budget = state.engine_losses ? 0 : state.start.budget_s;
  const left = budget - (now - state.start.began_at);
  put($("budget"), budget ? say(left >= 0 ? "budgetLeft" : "budgetOver", span(Math.abs(left)), span(budget)) : "");
  $("budget").className = left < budget * 0.15 ? "short" : "";
};

const facts = (state, now) => {
  const engine = object(state.engine);
  const memory = object(state.memory);
  const versions = Object.entries(object(engine.versions));
  const cores = memory.cores ? `, ${memory.cores} CPU` : "";
  return [
    ["engine", versions.slice(0, 3).map(([name, version]) => `${name} ${version}`).join(", ")],
    ["hardware", engine.accelerator && `${engine.accelerator}${/core/.test(engine.accelerator) ? "" : cores}`],
    ["memory", memory.total_bytes && say("memoryFree", size(memory.available_bytes ?? 0), size(memory.total_bytes))],
    ["engineMemory", memory.engine_bytes && size(memory.engine_bytes)],
    ["gatewayMemory", memory.gateway_bytes && size(memory.gateway_bytes)],
    ["context", engine.rung && engine.rung !== "as configured" ? engine.rung : ""],
    ["attempt", engine.attempt > 1 ? String(engine.attempt) : ""],
    ["losses", state.engine_losses ? say("times", state.engine_losses) : ""],
    ["served", engine.phase && engine.phase !== "external" ? "" : state.engine_url],
    ["uptime", span(now - state.started_at)],
  ].filter(([, value]) => value);
};
const drawFacts = (state, now) => {
  const engine = object(state.engine);
  const folder = String(engine.model_dir ?? "").split("/").filter(Boolean).pop();
  put($("model"), folder || String(object(state.settings.SERVED_MODEL_NAME).value ?? "Evalgate"));
  const rows = facts(state, now).map(([key, value]) => make("div", "", make("dt", "", say(key)), make("dd", "", value)));
  fill($("facts"), ...rows);
  const packages = Object.entries(object(state.packages)).map(([name, version]) => `${name} ${version}`);
  put($("versions"), `Evalgate ${state.version} · Python ${state.python} · ${packages.join(" · ")}`);
};

const KINDS = ["whole", "partial", "under_way", "failed", "waiting"];
const keys = (counts, kinds) => make("ul", "keys", ...kinds.filter((kind) => counts[kind] > 0 || kind === "whole")
  .map((kind) => make("li", `key ${kind}`, make("b", "", count(counts[kind] ?? 0)), say(kind))));
const stack = (counts, total) => {
  const track = make("div", "track");
  track.setAttribute("role", "img");
  track.setAttribute("aria-label", KINDS.filter((kind) => counts[kind] > 0).map((kind) => `${counts[kind]} ${say(kind)}`).join(", "));
  for (const kind of KINDS.filter((each) => each !== "waiting" && counts[each] > 0)) {
    const part = make("i", kind);
    part.style.width = `${(counts[kind] / Math.max(total, 1)) * 100}%`;
    track.append(part);
  }
  return track;
};
const drawFlights = (state, now) => {
  const { in_flight: flights, num_in_flight: total } = state.batches;
  if (!flights.length) return fill($("flights"), make("p", "none", say("noFlight")));
  const drawn = flights.map((flight) => {
    const left = flight.deadline_at - now;
    const asked = flight.prompts - flight.blank;
    const head = make("div", "flight-head",
      make("p", "", make("b", "", `${count(flight.whole)} / ${count(asked)}`), ` ${say("prompts")}`, flight.is_trial ? ` · ${say("trial")}` : null),
      make("p", "left", left > 0 ? say("deadline", span(left)) : say("deadlineOver")));
    const elapsed = now - flight.began_at;
    const pace = state.is_ready && flight.whole ? say("pace", span((elapsed / flight.whole) * (flight.waiting + flight.under_way))) : null;
    const note = make("p", "soft", [say("forTime", span(elapsed)), pace, say("chars", count(flight.characters)), flight.request_id].filter(Boolean).join(" · "));
    return make("div", "flight", head, stack(flight, asked), keys(flight, KINDS.concat("blank")), note);
  });
  if (total > flights.length) drawn.push(make("p", "soft", say("oneMore", total - flights.length)));
  return fill($("flights"), ...drawn);
};
const drawRates = (state) => {
  for (const kind of ["characters", "tokens"]) {
    const values = state.rates[kind];
    const current = values.slice(-3).reduce((sum, each) => sum + each, 0) / 3;
    put($(`${kind}-now`), count(current));
    const shown = recent(values);
    put($(`${kind}-peak`), say("peak", count(Math.max(0, ...shown)), span(Math.round(shown.length / 60) * 60)));
    $(`${kind}-plot`).setAttribute("class", `plot ${kind}`);
    drawRate($(`${kind}-plot`), shown, say(kind === "tokens" ? "plotTokens" : "plotCharacters", count(current)));
  }
};
let latencyOf = "prompt_s";
const drawLatency = (state) => {
  const { bounds_s: bounds, counts, sum_s: sum } = state.latency[latencyOf];
  const total = counts.reduce((all, each) => all + each, 0);
  put($("latency-text"), total
    ? say("latencyText", count(total), span(sum / total), span(quantile(bounds, counts, 0.5)), span(quantile(bounds, counts, 0.95)))
    : say("noLatency"));
  drawHistogram($("latency-plot"), bounds, counts, say("plotLatency", count(total)));
};

const drawTrouble = (state) => {
  const engine = object(state.engine);
  const rows = list(state.last_errors).map((each) => [each.time, each.level === "ERROR" ? "bad" : "warn", each.message]);
  for (const each of list(engine.ladder)) rows.push([each.at, "warn", say("rung", each.rung, each.reason)]);
  const exit = object(engine.last_exit);
  if (number(exit.at) !== null) rows.push([exit.at, "warn", say("lastExit", span(exit.lived_s), exit.reason)]);
  if (list(engine.dropped).length) rows.push([engine.started_at ?? 0, "warn", engine.dropped.join(", ")]);
  rows.sort((a, b) => b[0] - a[0]);
  if (!rows.length) return fill($("trouble"), make("p", "none", say("noTrouble")));
  const items = rows.map(([at, level, text]) => make("li", "", make("time", "", clock(at)), level === "bad" ? make("span", "chip bad", "error") : null, level === "bad" ? " " : null, text));
  const all = make("ol", "troubles", ...items);
  all.tabIndex = 0;
  all.setAttribute("aria-labelledby", "trouble-title");
  return fill($("trouble"), all);
};
const outcome = (batch) => {
  const chips = Object.entries(batch.counts).filter(([kind, n]) => n > 0 || kind === "whole").map(([kind, n]) => {
    const tone = { whole: "good", partial: "warn", failed: "bad", unfinished: "bad" }[kind] ?? "";
    return make("span", `chip ${tone}`, `${count(n)} ${say(kind)}`);
  });
  if (batch.is_cut) chips.push(make("span", "chip warn", say("cut")));
  if (batch.is_abandoned) chips.push(make("span", "chip warn", say("abandoned")));
  if (batch.is_trial) chips.push(make("span", "chip", say("trial")));
  return make("div", "chips", ...chips);
};
const table = (names, rows, label) => {
  const head = make("tr", "", ...names.map(([key, name]) => {
    const cell = make("th", name, say(key));
    cell.scope = "col";
    return cell;
  }));
  const scroll = make("div", "scroll", make("table", "", make("thead", "", head), make("tbody", "", ...rows)));
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-labelledby", label);
  return scroll;
};
const drawLast = (state) => {
  const batches = list(state.batches.last);
  if (!batches.length) return fill($("last"), make("p", "none", say("noLast")));
  const names = [["began", "time"], ["numPrompts", "number"], ["took", "number"], ["perSecond", "number"], ["outcome", "wide"], ["id", ""]];
  const rows = batches.map((each) => make("tr", "",
    make("td", "time", clock(each.began_at)),
    make("td", "number", count(each.prompts)),
    make("td", "number", span(each.seconds)),
    make("td", "number", each.seconds > 0 ? count(each.characters / each.seconds) : "–"),
    make("td", "wide", outcome(each), each.error ? make("p", "soft", each.error) : null),
    make("td", "id", make("small", "", each.request_id))));
  return fill($("last"), table(names, rows, "last-title"));
};
const drawLog = (state) => {
  const box = $("log");
  const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  const lines = list(object(state.engine).log_lines);
  const level = (line) => (/\b(ERROR|CRITICAL|Error:|Traceback)/.test(line) ? "bad" : /\bWARN(ING)?\b/.test(line) ? "warn" : "");
  if (!lines.length) fill(box, say(state.engine ? "emptyLog" : "noLog"));
  else fill(box, ...lines.flatMap((line) => [make("span", level(line), line), "\n"]));
  if (isAtEnd) box.scrollTop = box.scrollHeight;
};
const MAX_SHOWN = 600; // characters of a value: a system prompt may be a book
const drawSettings = (state) => {
  const all = Object.entries(state.settings).filter(([, each]) => !$("only-set").checked || !each.is_default);
  const text = (value) => (value === null || value === "" || (Array.isArray(value) && !value.length) ? say("empty") : typeof value === "string" ? value : JSON.stringify(value));
  const rows = all.sort((a, b) => Number(a[1].is_default) - Number(b[1].is_default)).map(([name, each]) => {
    const head = make("th", "", name);
    head.scope = "row";
    const shown = text(each.value);
    return make("tr", each.is_default ? "" : "is-set", head, make("td", "", shown.length > MAX_SHOWN ? `${shown.slice(0, MAX_SHOWN)}…` : shown));
  });
  if (rows.length) fill($("settings"), table([["setting", ""], ["value", ""]], rows, "settings-title"));
  else fill($("settings"), make("p", "none", say("noneSet")));
  $("max-tokens").placeholder = object(state.settings.MAX_NEW_TOKENS).value ?? "";
  const argv = list(object(state.engine).argv);
  show($("argv"), argv.length > 0);
  put($("argv-text"), argv.join(" "));
};
