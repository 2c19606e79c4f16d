"use strict";
// The chat page: sends one message at a time to the streaming endpoint and shows what the turn does as it does it.

const log = document.getElementById("log");
const welcome = document.getElementById("welcome");
const form = document.getElementById("composer");
const field = document.getElementById("text");
const send = document.getElementById("send");
const policy = document.getElementById("policy");
const sidebar = document.getElementById("sidebar");
const menu = document.getElementById("menu");

const KEY = "hone-key";
const keyForm = document.getElementById("key-form"); // only where the server needs a key

let thread = newThread();
let busy = false;

// What each request carries: the key, kept for this tab alone, where one was given.
function headers(more = {}) {
  const key = keyForm ? sessionStorage.getItem(KEY) : null;
  return key ? { ...more, authorization: `Bearer ${key}` } : more;
}

async function useKey(key) {
  const state = document.getElementById("key-state");
  sessionStorage.setItem(KEY, key);
  const response = await fetch("/v1/whoami", { headers: headers() });
  if (response.ok) {
    const who = await response.json();
    state.textContent = `You are ${who.user ?? "known"} (${who.role}) of ${who.tenant}.`;
    const tools = await fetch("/tools", { headers: headers() });
    if (tools.ok) document.getElementById("tools").innerHTML = await tools.text(); // rendered and escaped by this server
  } else {
    if (response.status === 401) sessionStorage.removeItem(KEY);
    state.textContent = await whyNot(response);
  }
}

// A trace is shown in a tab of its own; where a key is needed, a plain link could not carry it.
async function openTrace(event, id) {
  if (!keyForm) return;
  event.preventDefault();
  const tab = window.open("", "_blank");
  const response = await fetch("/v1/traces/" + encodeURIComponent(id), { headers: headers() });
  const text = response.ok ? JSON.stringify(await response.json(), null, 2) : await whyNot(response);
  if (tab) tab.document.body.append(Object.assign(tab.document.createElement("pre"), { textContent: text }));
}

function newThread() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return "web-" + Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function scrollToEnd() {
  log.scrollTop = log.scrollHeight;
}

function showMine(text) {
  welcome.hidden = true;
  const row = element("div", "mine");
  row.append(element("p", "", text));
  log.append(row);
}

// One turn of the assistant: calls above, the reply below them, and what answered underneath.
function openTurn() {
  const row = element("article", "theirs");
  const steps = element("div", "steps");
  const bubble = element("p", "bubble");
  const foot = element("div", "foot");
  const thinking = element("div", "thinking");
  thinking.setAttribute("aria-label", "working");
  thinking.append(element("i"), element("i"), element("i"));
  row.append(steps, bubble, thinking, foot);
  log.append(row);
  return { row, steps, bubble, foot, thinking, shown: new Map() };
}

function showStep(turn, step, waits = false) {
  const box = element("div", "steps");
  for (const call of step.calls || []) box.append(callCard(call, waits));
  if (step.violations) box.append(element("p", "note", step.violations.join("; ")));
  if (step.error) box.append(element("p", "note", "Unreadable output: " + step.error));
  const before = turn.shown.get(step.index);
  if (before) before.replaceWith(box);
  else turn.steps.append(box);
  turn.shown.set(step.index, box);
  scrollToEnd();
}

function callCard(call, waits) {
  const card = element("details", "call");
  const head = element("summary");
  const known = call.status !== null && call.status !== undefined;
  const good = call.status === "ok";
  const state = known ? (good ? `ok · ${Math.round(call.latency_ms)} ms` : call.status.replaceAll("_", " ")) : waits ? "waits for you" : "running";
  head.append(
    element("span", "badge badge-execute", "execute"),
    element("span", "name", call.tool),
    element("span", "state" + (known ? (good ? " state-ok" : " state-bad") : ""), state),
  );
  card.append(head, element("pre", "", JSON.stringify(call.arguments, null, 2)));
  if (call.result !== null && call.result !== undefined) card.append(element("pre", "", pretty(call.result)));
  return card;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function closeTurn(turn, hone) {
  for (const step of hone.steps || []) showStep(turn, step, Boolean(hone.approval));
  if (hone.approval) offerAnswer(turn, hone.approval);
  const badge = element("span", `badge badge-${hone.decision}`, hone.decision);
  if (hone.confidence !== undefined) badge.title = `${Math.round(100 * hone.confidence)} % sure`;
  turn.foot.append(badge);
  if (hone.missing && hone.missing.length)
    turn.foot.append(element("span", "", "missing: " + hone.missing.map((m) => m.parameter).join(", ")));
  if (hone.missing?.length === 1 && hone.missing[0].choices) offerChoices(turn, hone.missing[0].choices);
  if (hone.can_do?.length) turn.foot.append(element("span", "can-do", "can: " + hone.can_do.map((o) => o.tool).join(", ")));
  if (hone.citations?.length) markCitations(turn.bubble, hone.citations);
  if (hone.unsupported?.length)
    turn.foot.append(element("span", "unsupported", "not in any result: " + hone.unsupported.join(", ")));
  if (hone.category) turn.foot.append(element("span", "", hone.category.replaceAll("_", " ")));
  if (hone.stopped) turn.foot.append(element("span", "", hone.stopped.replaceAll("_", " ")));
  const name = hone.policy === "<base>" ? "base" : hone.policy;
  turn.foot.append(element("span", "", name));
  const link = element("a", "", "trace");
  link.href = "/v1/traces/" + encodeURIComponent(hone.trace);
  link.target = "_blank";
  link.rel = "noopener";
  link.addEventListener("click", (event) => openTrace(event, hone.trace));
  turn.foot.append(link);
  policy.textContent = name;
}

// What the answer has from a tool is marked, with where it comes from. Places are counted in characters, not in UTF-16 units.
function markCitations(bubble, citations) {
  const characters = Array.from(bubble.textContent);
  const parts = [];
  let at = 0;
  for (const { start, end, tool, path } of citations) {
    const cited = element("mark", "", characters.slice(start, end).join(""));
    cited.title = `${tool} ${path}`;
    parts.push(characters.slice(at, start).join(""), cited);
    at = end;
  }
  bubble.replaceChildren(...parts, characters.slice(at).join(""));
}

// One button for each value that may be chosen; a click says it.
function offerChoices(turn, choices) {
  const box = element("div", "answer");
  for (const choice of choices.slice(0, 12)) {
    const label = String(choice);
    const button = element("button", "choice", label);
    button.type = "button";
    button.addEventListener("click", () => {
      if (busy) return;
      for (const each of box.children) each.disabled = true;
      converse(label, (next) => run(label, next));
    });
    box.append(button);
  }
  turn.row.insertBefore(box, turn.foot);
}

// The buttons under a question for approval; the words "approve" and "decline" do the same.
function offerAnswer(turn, approval) {
  const box = element("div", "answer");
  for (const [verdict, label] of [["approve", "Approve"], ["decline", "Decline"]]) {
    const button = element("button", verdict, label);
    button.type = "button";
    button.addEventListener("click", () => {
      if (busy) return;
      for (const each of box.children) each.disabled = true;
      converse(label, (next) => sendAnswer(approval, verdict, next));
    });
    box.append(button);
  }
  turn.row.insertBefore(box, turn.foot);
}

async function sendAnswer(approval, verdict, turn) {
  const response = await fetch(`/v1/approvals/${encodeURIComponent(approval.id)}/${verdict}`, {
    method: "POST",
    headers: headers({ "content-type": "application/json" }),
    body: JSON.stringify({ thread }),
  });
  if (!response.ok) throw new Error(await whyNot(response));
  const { completion } = await response.json();
  const { message } = completion.choices[0];
  turn.bubble.textContent = message.content || message.refusal || "";
  closeTurn(turn, completion.hone);
}

async function whyNot(response) {
  const failure = await response.json().catch(() => null);
  return failure?.error?.message || `the server answered ${response.status}`;
}

function failTurn(turn, message) {
  turn.bubble.textContent = message;
  turn.bubble.classList.add("failed");
}

// Yields the data of each server-sent event as an object.
async function* events(body) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

async function run(text, turn) {
  const response = await fetch("/v1/chat/completions", {
    method: "POST",
    headers: headers({ "content-type": "application/json" }),
    body: JSON.stringify({ model: "hone", stream: true, metadata: { thread }, messages: [{ role: "user", content: text }] }),
  });
  if (!response.ok) throw new Error(await whyNot(response));
  for await (const event of events(response.body)) {
    if (event.error) throw new Error(event.error.message);
    const delta = event.choices?.[0]?.delta || {};
    turn.bubble.textContent += delta.content || delta.refusal || "";
    if (event.hone?.step) showStep(turn, event.hone.step);
    if (event.hone?.decision) closeTurn(turn, event.hone);
    scrollToEnd();
  }
}

async function submit() {
  const text = field.value.trim();
  if (!text || busy) return;
  field.value = "";
  fitField();
  await converse(text, (turn) => run(text, turn));
}

// What the person said, and the turn that it sets off.
async function converse(text, work) {
  setBusy(true);
  showMine(text);
  const turn = openTurn();
  scrollToEnd();
  try {
    await work(turn);
  } catch (error) {
    failTurn(turn, error.message);
  } finally {
    turn.thinking.remove();
    setBusy(false);
    scrollToEnd();
    field.focus();
  }
}

function setBusy(value) {
  busy = value;
  send.disabled = value;
}

function fitField() {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

function startAfresh() {
  if (busy) return;
  thread = newThread();
  for (const row of [...log.children]) if (row !== welcome) row.remove();
  welcome.hidden = false;
  field.focus();
}

function toggleMenu(open) {
  sidebar.classList.toggle("open", open);
  menu.setAttribute("aria-expanded", String(sidebar.classList.contains("open")));
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
field.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submit();
  }
});
field.addEventListener("input", fitField);
document.getElementById("fresh").addEventListener("click", startAfresh);
menu.addEventListener("click", () => toggleMenu(!sidebar.classList.contains("open")));
log.addEventListener("click", () => toggleMenu(false));
if (keyForm) {
  const input = document.getElementById("key");
  if (sessionStorage.getItem(KEY)) useKey(sessionStorage.getItem(KEY));
  keyForm.addEventListener("submit", (event) => {
    event.preventDefault();
    const key = input.value.trim();
    input.value = "";
    if (key) useKey(key);
  });
}
