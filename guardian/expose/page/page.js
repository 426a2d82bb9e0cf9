// The status page: asks guardian for what it shows, and shows it. It changes nothing and asks nobody else.
"use strict";

const CALM_MS = 2000; // between two looks while the level is ok
const BUSY_MS = 1000;
const OLD_MS = 6000; // without an answer for this long, what is shown is old
const PATIENCE_MS = 10000; // for one answer
const HISTORY_ROWS = 100;
const MOST_NAMES = 12; // in one sentence
const MOST_LINES = 12; // of what comes next
const LEVEL_MARKS = { ok: "●", soft: "▲", hard: "■", unknown: "?" };
const STATE_MARKS = { running: "●", unhealthy: "✚", shed: "▼", quarantined: "⊘", completed: "✓", stopped: "○", missing: "–" };
const ACTION_MARKS = { shed: "▼", restore: "▲" };

const $ = (id) => document.getElementById(id);
const calm = { lastAnswer: Date.now(), timer: 0 };
const trace = { names: [], phases: [], points: [] };
let shown = null; // the newest status
let rows = []; // of history, newest first
let charts = null;

// --- words -----------------------------------------------------------------------------------------------------------

const known = (value) => value !== null && value !== undefined;

function bytes(value) {
  if (!known(value)) return "unknown";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = Math.abs(value), unit = 0;
  while (size >= 1024 && unit < units.length - 1) { size /= 1024; unit += 1; }
  return `${value < 0 ? "−" : ""}${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

const cores = (value) => known(value) ? `${value.toFixed(2)} cores` : "unknown";
const percent = (value) => known(value) ? `${(value * 100).toFixed(value < 0.1 ? 1 : 0)}%` : "unknown";
const clock = (wall_s) => new Date(wall_s * 1000).toLocaleTimeString([], { hour12: false });

function when(wall_s) {
  const at = new Date(wall_s * 1000);
  return at.toDateString() === new Date().toDateString() ? clock(wall_s) : `${at.toLocaleDateString()} ${clock(wall_s)}`;
}

function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${Math.round(seconds / 86400)} days`;
}

const bare = (service) => service.includes("/") ? service.slice(service.indexOf("/") + 1) : service;

// Names in a row; of hundreds, how many there are besides.
function listed(services) {
  const names = services.map(bare);
  return names.length <= MOST_NAMES ? names.join(", ") : `${names.slice(0, MOST_NAMES).join(", ")} and ${names.length - MOST_NAMES} more`;
}

// --- elements: made once, then only what changed is written -------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...children);
  return element;
}

function set(element, name, value) {
  if (name === "text") { if (element.textContent !== value) element.textContent = value; return; }
  if (value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

// Keeps `parent`'s children as `keys` says, in that order; `build(key)` makes one that is missing.
function keep(parent, keys, build) {
  const there = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  keys.forEach((key, index) => {
    let child = there.get(key);
    if (child === undefined) { child = build(key); child.dataset.key = key; }
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] || null);
    there.delete(key);
  });
  for (const left of there.values()) left.remove();
  return [...parent.children];
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const phaseColor = (index) => color(`--p${(index % 6) + 1}`);

// --- head ------------------------------------------------------------------------------------------------------------

function showHead(status) {
  const engine = status.engine;
  set($("host"), "text", engine.name ? `on ${engine.name}` : "");
  set($("level"), "data-level", status.level);
  set($("level"), "text", `${LEVEL_MARKS[status.level]} level ${status.level}`);
  set($("mode"), "data-mode", status.mode);
  set($("mode"), "text", status.mode === "observe" ? "👁 observe: nothing is stopped or started" : "enforce");
  set($("at"), "text", `as of ${clock(status.at_wall_s)}`);
  set($("version"), "text", `Guardian ${status.version}${engine.version ? `, Docker ${engine.version}` : ""}`);
  document.title = `${LEVEL_MARKS[status.level]} ${status.level}${status.shed.length ? `, ${status.shed.length} shed` : ""} · Guardian`;
}

function noticesOf(status) {
  const out = [];
  if (!status.engine.up) out.push(["bad", "The engine does not answer: nothing is started, and only hard memory is acted on."]);
  if (status.exhausted) out.push(["bad", "Exhausted: memory is hard, and nothing is left that may be shed."]);
  if (status.emergency) out.push(["bad", "Emergency: phases that are protected as phases are shed too."]);
  if (status.standby.active) {
    const until = status.standby.until_wall_s;
    out.push(["warn", `Standby: nothing is stopped or started ${known(until) ? `until ${when(until)}` : "until told otherwise"}${status.standby.by ? `, by ${status.standby.by}` : ""}.`]);
  }
  if (status.holds.length) out.push(["warn", `Hold: nothing is started (${status.holds.join(", ")})${status.hold_by ? `, by ${status.hold_by}` : ""}.`]);
  for (const signal of status.ineffective) out.push(["warn", `Shedding for ${signal} pauses: the last sheds brought next to nothing.`]);
  if (status.quarantined.length) out.push(["warn", `In quarantine until an operator restores them: ${listed(status.quarantined)}.`]);
  if (status.disk_level !== "ok") out.push([status.disk_level === "hard" ? "bad" : "warn", `The engine's disk is ${status.disk_level === "hard" ? "nearly full: nothing is started" : "filling"}.`]);
  if (status.config_pending.length) out.push(["", `Edits wait for “guardian reload”: ${status.config_pending.join("; ")}.`]);
  if (status.unmanaged.length) out.push(["", `In no phase, so never stopped: ${listed(status.unmanaged)}.`]);
  return out;
}

function showNotices(list) {
  const children = keep($("notices"), list.map(([, text]) => text), (text) => make("p", { class: "notice", text }));
  list.forEach(([kind], index) => set(children[index], "class", `notice ${kind}`));
}

// --- signals -----------------------------------------------------------------------------------------------------------

function showSignals(status) {
  const of = new Map(status.signals.map((one) => [one.signal, one]));
  const children = keep($("signals"), [...of.keys()], () => make("div", { class: "signal" },
    make("div", { class: "row" }, make("strong"), make("span")),
    make("div", { class: "meter", "aria-hidden": "true" }, make("i"),
      make("b", { "data-mark": "r" }), make("b", { "data-mark": "s" }), make("b", { "data-mark": "h" })),
    make("div", { class: "quiet" })));
  for (const child of children) {
    const one = of.get(child.dataset.key);
    const [head, meter, foot] = child.children;
    set(head.firstChild, "text", one.signal.replace("_", " "));
    const level = known(one.value_ratio) ? one.level : "unknown";
    head.lastChild.replaceChildren(`${percent(one.value_ratio)} `,
      make("span", { class: "word", "data-level": one.level, text: `${LEVEL_MARKS[level]} ${one.level}` }));
    const [fill, recover, soft, hard] = meter.children;
    fill.style.width = `${Math.min(100, (one.value_ratio ?? 0) * 100)}%`;
    set(fill, "data-level", one.level);
    for (const [mark, at] of [[recover, one.recover_ratio], [soft, one.soft_ratio], [hard, one.hard_ratio]]) {
      mark.hidden = !known(at);
      if (known(at)) mark.style.left = `${Math.min(100, at * 100)}%`;
    }
    set(foot, "text", `recover ${percent(one.recover_ratio)}, soft ${percent(one.soft_ratio)}`
      + `${known(one.hard_ratio) ? `, hard ${percent(one.hard_ratio)}` : ""}; ${one.level} for ${span(one.level_for_s)}`);
  }
}

// --- what comes next -----------------------------------------------------------------------------------------------------

function nextOf(status) {
  const out = [];
  for (const one of status.in_flight.slice(0, MOST_LINES / 2)) out.push(`under way: ${one}`);
  if (status.in_flight.length > MOST_LINES / 2) out.push(`under way: ${status.in_flight.length - MOST_LINES / 2} more`);
  for (const one of status.deficits) {
    const amount = known(one.open_bytes) ? bytes(one.open_bytes) : cores(one.open_cores);
    const pending = one.pending_bytes ? `, ${bytes(one.pending_bytes)} on their way back` : "";
    out.push(`${one.signal.replace("_", " ")} is ${one.level}: ${amount} must still be given back${pending}`);
  }
  if (known(status.memory_full_in_s)) out.push(`memory fills at ${bytes(status.memory_fill_bytes_per_s)}/s, and would be full in ${span(status.memory_full_in_s)}`);
  const shed = status.next.shed;
  if (shed) {
    const others = shed.group.filter((one) => one !== shed.service);
    const relief = known(shed.relief_bytes) ? `, for ${bytes(shed.relief_bytes)}` : "";
    out.push(`next to shed, if it must be: ${bare(shed.service)}${others.length ? ` with ${listed(others)}` : ""}${relief}`);
  }
  if (status.next.restore) out.push(`next to restore: ${bare(status.next.restore)}`);
  const held = new Map();
  for (const one of status.held) {
    const why = `${one.action}, ${one.reason.replaceAll("_", " ")}${one.detail ? `: ${one.detail}` : ""}`;
    held.set(why, [...(held.get(why) ?? []), ...(one.service ? [one.service] : [])]);
  }
  for (const [why, services] of held) out.push(`held back (${why})${services.length ? `: ${listed(services)}` : ""}`);
  if (out.length > MOST_LINES) out.splice(MOST_LINES, Infinity, `and ${out.length - MOST_LINES} more`);
  return out.length ? out : ["nothing: all is well"];
}

function showNext(status) {
  keep($("next"), nextOf(status), (text) => make("li", { text }));
}

// --- services ------------------------------------------------------------------------------------------------------------

const COLUMNS = ["service", "state", "memory", "of its limit", "limit", "cpu", "health", "notes"];

function buildPhase() {
  const head = make("tr", {}, ...COLUMNS.map((name) => make("th", { scope: "col", text: name })));
  return make("details", { open: "" },
    make("summary", {}, make("span", { class: "swatch" }), make("h3"), make("span", { class: "quiet" }), make("span", { class: "over" })),
    make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody"))));
}

function buildService() {
  const meter = make("meter", { min: 0, low: 0.8, high: 0.95, optimum: 0, max: 1 });
  return make("tr", {}, make("td"), make("td"), make("td", { "data-name": "memory" }), make("td", { class: "bar" }, meter),
    make("td", { "data-name": "limit" }), make("td", { "data-name": "cpu" }), make("td"), make("td"));
}

function notesOf(one, entry, status) {
  const out = [];
  if (entry) {
    out.push(`shed since ${when(entry.since_wall_s)}, for ${entry.reason.replaceAll("_", " ")}${entry.by ? ` by ${entry.by}` : ""}`);
    if (known(entry.expected_bytes)) out.push(`needs ${bytes(entry.expected_bytes)} to come back`);
  }
  if (one.protected) out.push("protected");
  if (one.pinned) out.push("pinned");
  if (!one.enforced) out.push("observed only");
  if (status.next.restore === one.service) out.push("next to restore");
  if (one.oom_kills) out.push(`${one.oom_kills} OOM kills`);
  if (one.restarts) out.push(`${one.restarts} restarts`);
  return out.join(" · ");
}

function showServices(status) {
  const entries = new Map(status.shed.map((entry) => [entry.service, entry]));
  const children = keep($("phases"), status.phases.map((phase) => String(phase.phase)), buildPhase);
  status.phases.forEach((phase, index) => {
    const [summary, scroll] = children[index].children;
    const [swatch, title, words, over] = summary.children;
    swatch.style.background = phaseColor(index);
    set(title, "text", `Phase ${phase.phase}${phase.name ? `: ${phase.name}` : ""}`);
    const counts = Object.entries(phase.services).filter(([, count]) => count).map(([state, count]) => `${count} ${state}`).join(", ");
    const against = (use, budget, unit) => known(budget) ? `${unit(use)} of ${unit(budget)}` : unit(use);
    set(words, "text", `${counts || "no service"} — with all below it: ${against(phase.memory_bytes, phase.memory_budget_bytes, bytes)}, ${against(phase.cpu_cores, phase.cpu_budget_cores, cores)}`);
    set(over, "text", phase.over.length ? `▲ over budget: ${phase.over.join(", ")}` : "");
    const mine = status.services.filter((one) => one.phase === phase.phase);
    const lines = keep(scroll.querySelector("tbody"), mine.map((one) => one.service), buildService);
    mine.forEach((one, line) => showService(lines[line], one, entries.get(one.service), status));
  });
  filter();
}

function showService(row, one, entry, status) {
  const [name, state, memory, bar, limit, cpu, health, notes] = row.children;
  set(name, "text", bare(one.service));
  set(name, "title", one.containers.join(", "));
  set(state, "text", `${STATE_MARKS[one.state] ?? ""} ${one.state}`);
  const runs = one.running > 0;
  set(memory, "text", runs ? bytes(one.working_set_bytes) : "");
  const share = runs && known(one.memory_limit_bytes) && known(one.working_set_bytes) ? one.working_set_bytes / one.memory_limit_bytes : null;
  const meter = bar.firstChild;
  meter.hidden = share === null;
  if (share !== null) { meter.value = share; set(meter, "title", percent(share)); set(meter, "aria-label", `${percent(share)} of its limit`); }
  set(limit, "text", known(one.memory_limit_bytes) ? bytes(one.memory_limit_bytes) : "");
  set(cpu, "text", runs ? cores(one.cpu_cores) : "");
  set(health, "text", one.healthy === null ? "" : one.healthy ? "healthy" : "✚ unhealthy");
  set(notes, "text", notesOf(one, entry, status));
}

function filter() {
  const wanted = $("find").value.trim().toLowerCase();
  for (const row of document.querySelectorAll("#phases tbody tr")) {
    row.hidden = wanted !== "" && !row.textContent.toLowerCase().includes(wanted);
  }
}

// --- history ---------------------------------------------------------------------------------------------------------------

function showHistory() {
  const body = $("history").tBodies[0];
  const key = (row) => `${row.id ?? ""} ${row.at_wall_s} ${row.action} ${row.service ?? ""}`;
  const of = new Map(rows.map((row) => [key(row), row]));
  const children = keep(body, [...of.keys()], () => make("tr", {}, ...[0, 1, 2, 3, 4].map(() => make("td")), make("td", { class: "number", "data-name": "brought" })));
  for (const child of children) {
    const row = of.get(child.dataset.key);
    const [at, what, service, why, result, brought] = child.children;
    set(at, "text", when(row.at_wall_s));
    set(what, "text", `${ACTION_MARKS[row.action] ?? "·"} ${row.action.replaceAll("_", " ")}`);
    set(service, "text", row.service ? bare(row.service) : "");
    const value = known(row.value_ratio) ? ` at ${percent(row.value_ratio)}${known(row.threshold_ratio) ? ` (mark ${percent(row.threshold_ratio)})` : ""}` : "";
    set(why, "text", `${row.reason.replaceAll("_", " ")}${value}${row.by ? `, by ${row.by}` : ""}${row.detail ? `: ${row.detail}` : ""}`);
    set(result, "text", row.result.replaceAll("_", " "));
    const relief = row.measured_relief_bytes ?? row.expected_relief_bytes;
    set(brought, "text", row.action === "shed" && known(relief) ? `${bytes(relief)}${known(row.measured_relief_bytes) ? "" : " expected"}` : "");
  }
}

// --- charts ------------------------------------------------------------------------------------------------------------------

// A point of the trace is [at_wall_s, memory used by the host, cores used by the host, then memory and cores of phases 1..n each with all below].
function buildChart(id, resource) {
  const target = $(id);
  const count = trace.phases.length;
  const series = [{}];
  for (let index = count - 1; index >= 0; index -= 1) {
    series.push({ label: `phase ${trace.phases[index]}`, stroke: phaseColor(index), fill: phaseColor(index), width: 1, points: { show: false } });
  }
  series.push({ label: "host", stroke: color("--ink"), width: 2, dash: [2, 4], points: { show: false } });
  const unit = resource === "memory" ? bytes : (value) => value.toFixed(1);
  const steps = resource === "memory" ? { incrs: Array.from({ length: 24 }, (_, power) => 2 ** (20 + power)) } : {};
  const axis = { stroke: color("--quiet"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
  return new uPlot({
    width: target.clientWidth, height: target.clientHeight, legend: { show: false }, cursor: { show: false }, series,
    scales: { x: { time: true }, y: { range: () => [0, topOf(resource)] } },
    axes: [{ ...axis, values: (_, at) => at.map(clock), space: 90 }, { ...axis, ...steps, size: 72, values: (_, at) => at.map(unit) }],
    hooks: { draw: [(chart) => drawMarks(chart, resource)] },
  }, dataOf(resource), target);
}

function topOf(resource) {
  const host = shown?.host;
  if (resource === "memory") return host?.memory_total_bytes || 1;
  return host?.cores || 1;
}

function dataOf(resource) {
  const count = trace.phases.length, offset = resource === "memory" ? 0 : 1;
  const column = (index) => trace.points.map((point) => point[index]);
  const data = [column(0)];
  for (let index = count - 1; index >= 0; index -= 1) data.push(column(3 + 2 * index + offset));
  data.push(column(1 + offset));
  return data;
}

function drawMarks(chart, resource) {
  const { ctx, bbox } = chart, ratio = devicePixelRatio || 1;
  ctx.save();
  ctx.textBaseline = "bottom";
  ctx.font = `${11 * ratio}px system-ui, sans-serif`;
  const y = (value) => chart.valToPos(value, "y", true);
  const line = (value, text, dash, ink, left) => {
    ctx.strokeStyle = ctx.fillStyle = ink; ctx.lineWidth = 1.5 * ratio; ctx.setLineDash(dash.map((one) => one * ratio));
    ctx.beginPath(); ctx.moveTo(left ? bbox.left : bbox.left + bbox.width * 0.82, y(value)); ctx.lineTo(bbox.left + bbox.width, y(value)); ctx.stroke();
    ctx.textAlign = left ? "left" : "right";
    const x = left ? bbox.left + 4 * ratio : bbox.left + bbox.width - 4 * ratio;
    ctx.setLineDash([]); ctx.strokeStyle = color("--card"); ctx.lineWidth = 3 * ratio; // so that it can be read on any phase
    ctx.strokeText(text, x, y(value) - ratio);
    ctx.fillText(text, x, y(value) - ratio);
  };
  const signal = shown?.signals.find((one) => one.signal === resource);
  if (signal) {
    line(signal.soft_ratio * topOf(resource), "soft", [6, 4], color("--soft"), true);
    if (known(signal.hard_ratio)) line(signal.hard_ratio * topOf(resource), "hard", [6, 4], color("--hard"), true);
  }
  for (const phase of shown?.phases ?? []) {
    const budget = resource === "memory" ? phase.memory_budget_bytes : phase.cpu_budget_cores;
    if (known(budget) && budget <= topOf(resource)) line(budget, `budget 1–${phase.phase}`, [3, 3], color("--ink"), false);
  }
  ctx.setLineDash([]);
  const { min, max } = chart.scales.x;
  for (const row of rows) {
    const mark = ACTION_MARKS[row.action];
    if (mark === undefined || row.result === "observed" || row.at_wall_s < min || row.at_wall_s > max) continue;
    const x = chart.valToPos(row.at_wall_s, "x", true);
    ctx.strokeStyle = ctx.fillStyle = color("--mark"); ctx.lineWidth = ratio;
    ctx.globalAlpha = 0.4; // many of them must not hide the curves
    ctx.beginPath(); ctx.moveTo(x, bbox.top + 12 * ratio); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
    ctx.globalAlpha = 1;
    ctx.textAlign = "center"; ctx.fillText(mark, x, bbox.top + 12 * ratio);
  }
  ctx.restore();
}

function showCharts() {
  if (trace.points.length < 2 || shown === null) return;
  if (charts === null) charts = { memory: buildChart("memory-chart", "memory"), cpu: buildChart("cpu-chart", "cpu") };
  for (const resource of ["memory", "cpu"]) charts[resource].setData(dataOf(resource));
  const unit = { memory: bytes, cpu: cores };
  const last = trace.points.at(-1);
  for (const [offset, resource] of ["memory", "cpu"].entries()) {
    const parts = trace.phases.map((phase, index) => {
      const below = index ? last[3 + 2 * (index - 1) + offset] : 0, all = last[3 + 2 * index + offset];
      return `phase ${phase}: ${known(all) && known(below) ? unit[resource](all - below) : "unknown"}`;
    });
    set($(`${resource}-words`), "text", `${parts.join(" · ")} · host: ${unit[resource](last[1 + offset])} of ${unit[resource](topOf(resource))}`);
  }
}

function redraw() {
  if (charts === null) return;
  for (const chart of Object.values(charts)) chart.destroy();
  charts = null;
  showCharts();
  if (shown) showServices(shown);
}

// --- asking ------------------------------------------------------------------------------------------------------------------

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer.json();
}

async function askTrace() {
  const since = trace.points.length ? trace.points.at(-1)[0] : 0;
  const news = await ask(`api/v1/trace?since=${since}`);
  const same = news.phases.join() === trace.phases.join();
  if (!same) { trace.phases = news.phases; trace.points = []; redraw(); }
  if (!same && since) return askTrace();
  trace.points = trace.points.concat(news.points).slice(-news.keeps);
}

async function look() {
  clearTimeout(calm.timer);
  if (!document.hidden) {
    try {
      const [status, history] = await Promise.all([ask("api/v1/status"), ask(`api/v1/history?limit=${HISTORY_ROWS}`), askTrace()]);
      shown = status;
      rows = history.history;
      calm.lastAnswer = Date.now();
      document.body.classList.remove("old");
      showHead(status);
      showNotices(noticesOf(status));
      showSignals(status);
      showNext(status);
      showServices(status);
      showHistory();
      showCharts();
    } catch (error) {
      if (Date.now() - calm.lastAnswer > OLD_MS) {
        document.body.classList.add("old");
        showNotices([["bad", `Guardian has not answered since ${clock(calm.lastAnswer / 1000)}: what is shown below is old.`]]);
        $("level").dataset.level = "unknown";
        set($("level"), "text", "? no answer");
      }
    }
  }
  calm.timer = setTimeout(look, shown?.level === "ok" ? CALM_MS : BUSY_MS);
}

$("find").addEventListener("input", filter);
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
new ResizeObserver(() => {
  for (const [name, chart] of Object.entries(charts ?? {})) {
    const { clientWidth: width, clientHeight: height } = $(`${name}-chart`);
    if (width && (width !== chart.width || height !== chart.height)) chart.setSize({ width, height });
  }
}).observe($("memory-chart"));
look();
