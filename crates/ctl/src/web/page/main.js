// Puts what comes from the server on the page.

import { draw } from "./chart.js";
import { Detail, types } from "./detail.js";
import { by, element, say } from "./element.js";
import { follow } from "./feed.js";
import { Table } from "./sessions.js";
import { State, refusals, sum } from "./state.js";
import { bytes, duration, number, plural, rate, share, time } from "./words.js";

const state = new State();
const table = new Table(choose);
const detail = new Detail(leave);
table.state = state;

follow(take, (reason) => take({ feed: "down", reason }));
setInterval(() => table.redraw(), 1000);
addEventListener("resize", () => chart());

function take(message) {
  state.take(message);
  if (message.event === "closed" && message.session.id === detail.chosen) detail.end(message.reason);
  if (message.feed && detail.chosen !== null && !detail.shows(state.sessions.get(detail.chosen)?.session)) detail.end("it is gone");
  show();
}

function choose(number) {
  const entry = state.sessions.get(number);
  if (!entry) return;
  if (detail.chosen === number) return detail.close();
  detail.open(entry);
  show();
}

function leave(number) {
  show();
  table.focus(number);
}

function show() {
  verdict();
  by("notice").hidden = state.up;
  say(by("notice"), state.reason);
  document.body.classList.toggle("stale", !state.up);
  table.chosen = detail.chosen;
  table.redraw();
  ended();
  if (state.status) {
    facts(state.status);
    reasons(state.refusals);
    types(by("types"), state.status.traffic.types_to_client, state.status.traffic.types_to_peer);
    by("no-types").hidden = by("types").children.length > 0;
  }
  chart();
  detail.refresh(state.sessions.get(detail.chosen));
}

const RULES = { alive: "alive:", broken: "BROKEN:", unknown: "cannot tell from this user:" };

// The one thing to see at a glance.
function verdict() {
  const { v2 = 0, passthrough = 0, fallback = 0 } = state.status?.sessions ?? {};
  const encrypted = v2 + passthrough;
  let [kind, text] = ["none", "No connections now"];
  if (!state.up) [kind, text] = ["unknown", "Not known: no daemon to ask"];
  else if (state.rules?.state === "broken") [kind, text] = ["bad", "The rules do not lead to the daemon"];
  else if (fallback > 0) [kind, text] = ["bad", `${plural(fallback, "connection is", "connections are")} in PLAINTEXT`];
  else if (encrypted === 1) [kind, text] = ["good", "The one connection is encrypted"];
  else if (encrypted > 1) [kind, text] = ["good", `All ${number(encrypted)} connections are encrypted`];
  // Read out where it turns, not for each session.
  if (by("verdict").dataset.state !== kind) say(by("announced"), text);
  by("verdict").dataset.state = kind;
  say(by("verdict"), text);
  if (document.title !== `${text} · bip324-proxy`) document.title = `${text} · bip324-proxy`;
  say(by("rules"), state.rules ? `Rules: ${RULES[state.rules.state]} ${state.rules.said}` : "");
  say(by("scope"), state.up && state.scope === "own" ? "The totals are of all users; the sessions listed are those of the user who runs this page." : "");
}

function facts({ version, uptime, fallback, sessions, served, accepted, canaries, refused, handshakes, traffic, memory, limits }) {
  const policy = fallback === "v1" ? "falls back to v1" : "refuses v1 peers";
  say(by("daemon"), `${version}, up ${duration(uptime)}, ${policy}, ${bytes(memory)} of ${bytes(limits.max_memory)} in use`);
  say(by("now"), number(sum(sessions)));
  say(by("kinds"), `${number(sessions.v2)} v2, ${number(sessions.passthrough)} passthrough, ${number(sessions.fallback)} plaintext; ${number(sum(served))} since the start`);
  const v1 = traffic.v2_to_peer.client_bytes + traffic.v2_to_client.client_bytes;
  const v2 = traffic.v2_to_peer.peer_bytes + traffic.v2_to_client.peer_bytes;
  say(by("saved-by"), v1 < v2 ? "v2 cost so far" : "Saved by v2");
  say(by("saved"), v1 > 0 ? `${bytes(Math.abs(v1 - v2))}, ${share(Math.abs(v1 - v2), v1)}` : "–");
  say(by("sides"), `${bytes(v1)} as v1 with clients, ${bytes(v2)} as v2 with peers`);
  say(by("handshakes"), handshakes.count > 0 ? `half within ${time(handshakes.p50)}` : "–");
  say(by("slowest"), handshakes.count > 0 ? `99 of 100 within ${time(handshakes.p99)}, of ${number(handshakes.count)}` : "none yet");
  say(by("refused"), number(sum(refusals(refused))));
  say(by("accepted"), `of ${plural(accepted, "connection", "connections")} accepted, ${plural(canaries, "canary", "canaries")} among them`);
}

function reasons(rows) {
  by("no-refusals").hidden = rows.length > 0;
  by("refusals").hidden = rows.length === 0;
  by("refusals").tBodies[0].replaceChildren(...rows.map(([reason, times]) =>
    element("tr", {}, element("th", { scope: "row" }, reason), element("td", { class: "number" }, number(times)))));
}

function ended() {
  const list = by("ended");
  if (list.firstChild?.dataset.key === key(state.ended[0])) return;
  by("none-ended").hidden = state.ended.length > 0;
  list.replaceChildren(...state.ended.map((end) => {
    const { session, reason, at } = end;
    const text = ` session ${session.id} with ${session.destination}, after ${duration(session.age)}: ${reason}`;
    return element("li", { "data-key": key(end) }, element("time", {}, at.toLocaleTimeString("en-GB")), text);
  }));
}

const key = (end) => (end ? `${end.at.getTime()} ${end.session.id}` : undefined);

function chart() {
  const rates = state.rates();
  say(by("rate-in"), rate(rates.in));
  say(by("rate-out"), rate(rates.out));
  draw(by("chart"), state.points(), rates);
}
