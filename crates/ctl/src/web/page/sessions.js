// The table of sessions: a row each, changed in place, sorted and filtered.

import { spark } from "./chart.js";
import { by, element, say } from "./element.js";
import { SHORT_KINDS, bytes, duration, groups, number, plural, rate } from "./words.js";

const peer = ({ session }) => session.destination;
const agent = ({ session }) => session.peer_agent ?? "";
const saved = ({ session }) => {
  const { to_peer: up, to_client: down } = session;
  return up.client_bytes + down.client_bytes - up.peer_bytes - down.peer_bytes;
};

// Title, what to sort by, what to show, and its class. Narrow screens leave out those with `more`.
const COLUMNS = [
  { title: "Nr.", key: (entry) => entry.session.id, text: (entry) => `${entry.session.id}`, class: "number more" },
  { title: "Peer", key: peer, class: "peer" },
  { title: "Transport", key: ({ session }) => session.kind, class: "kind" },
  { title: "Client", key: (entry) => entry.who, text: (entry) => entry.who, class: "more" },
  { title: "Network", key: network, text: network, class: "more" },
  { title: "Age", key: (entry) => -entry.began, text: (entry) => duration(performance.now() - entry.began), class: "number more some" },
  { title: "Received", key: ({ session }) => session.to_client.peer_bytes, text: ({ session }) => bytes(session.to_client.peer_bytes), class: "number mid" },
  { title: "Sent", key: ({ session }) => session.to_peer.peer_bytes, text: ({ session }) => bytes(session.to_peer.peer_bytes), class: "number more" },
  { title: "Saved", key: saved, text: (entry) => (entry.session.kind === "v2" ? bytes(saved(entry)) : "–"), class: "number more" },
  { title: "Rate", key: (entry) => entry.perSecond, class: "number rate" },
  { title: "Last", key: last, text: last, class: "more most" },
  { title: "Session id", key: id, text: (entry) => groups(id(entry)).slice(0, 2).join(" "), class: "code more most" },
];

function network({ session }) {
  return session.network ?? "–";
}

function last({ session }) {
  return session.to_client.last ?? session.to_peer.last ?? "–";
}

function id({ session }) {
  return session.session_id ?? "";
}

export class Table {
  #rows = new Map();
  #sorted = { column: 0, down: false };
  #choose;

  constructor(choose) {
    this.#choose = choose;
    COLUMNS.forEach((column, i) => {
      const button = element("button", { type: "button", class: "sort" }, column.title);
      button.addEventListener("click", () => this.#sortBy(i));
      by("table").tHead.rows[0].append(element("th", { scope: "col", class: column.class }, button));
    });
    by("filter").addEventListener("input", () => this.redraw());
  }

  state = null;
  chosen = null;

  redraw() {
    const { sessions, up } = this.state;
    const wanted = by("filter").value.trim().toLowerCase();
    const shown = [...sessions.values()].filter((entry) => text(entry).includes(wanted));
    const { column, down } = this.#sorted;
    const { key } = COLUMNS[column];
    shown.sort((a, b) => (down ? -1 : 1) * compare(key(a), key(b)) || a.session.id - b.session.id);
    for (const [number, row] of this.#rows) {
      if (!sessions.has(number)) this.#forget(number, row);
    }
    place(by("table").tBodies[0], shown.map((entry) => this.#row(entry)));
    for (const [i, head] of [...by("table").tHead.rows[0].cells].entries()) {
      if (i === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    by("table").hidden = shown.length === 0;
    by("empty").hidden = shown.length > 0;
    say(by("empty"), !up ? "Nothing is known while the daemon is away." : sessions.size > 0 ? "No session matches the filter." : this.state.scope === "own" ? "No sessions of this user; root sees everybody’s. A client is started with: bip324-run CLIENT" : "No sessions. A client is started with: bip324-run CLIENT");
    say(by("shown"), wanted ? `${number(shown.length)} of ${plural(sessions.size, "session", "sessions")}` : "");
  }

  focus(number) {
    (this.#rows.get(number)?.querySelector("button") ?? by("sessions")).focus();
  }

  #sortBy(i) {
    const same = this.#sorted.column === i;
    this.#sorted = { column: i, down: same ? !this.#sorted.down : i > 5 };
    this.redraw();
  }

  // Focus does not vanish with its row.
  #forget(number, row) {
    if (row.contains(document.activeElement)) by("sessions").focus({ preventScroll: true });
    row.remove();
    this.#rows.delete(number);
  }

  #row(entry) {
    const { session } = entry;
    let row = this.#rows.get(session.id);
    if (!row) {
      row = this.#fresh(session.id);
      this.#rows.set(session.id, row);
    }
    const chosen = this.chosen === session.id;
    row.classList.toggle("chosen", chosen);
    row.querySelector("button").setAttribute("aria-expanded", `${chosen}`);
    COLUMNS.forEach((column, i) => {
      if (column.text) say(row.cells[i], column.text(entry));
    });
    say(row.querySelector("button"), session.destination);
    say(row.querySelector(".agent"), agent(entry));
    const badge = row.querySelector(".badge");
    badge.dataset.kind = session.kind;
    say(badge, SHORT_KINDS[session.kind]);
    const now = row.querySelector(".rate");
    say(now.firstChild, rate(entry.perSecond));
    const before = now.querySelector("svg");
    const line = spark(entry.sparks);
    if (!before || before.firstChild.getAttribute("points") !== line.firstChild.getAttribute("points")) {
      before?.remove();
      now.append(line);
    }
    return row;
  }

  #fresh(number) {
    const cells = COLUMNS.map((column, i) => element(i === 1 ? "th" : "td", { class: column.class, scope: i === 1 ? "row" : undefined }));
    const button = element("button", { type: "button", class: "plain", "aria-controls": "detail" });
    button.addEventListener("click", () => this.#choose(number));
    cells[1].append(button, element("span", { class: "agent quiet" }));
    cells[2].append(element("span", { class: "badge" }));
    cells[9].append(element("span"));
    return element("tr", {}, ...cells);
  }
}

function text(entry) {
  const { session } = entry;
  return [session.id, session.destination, agent(entry), entry.who, session.client, session.client_agent, network(entry), SHORT_KINDS[session.kind], id(entry)]
    .join(" ").toLowerCase();
}

const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);

// Moves only what is elsewhere: focus and selection stay.
function place(body, rows) {
  rows.forEach((row, i) => {
    if (body.rows[i] !== row) body.insertBefore(row, body.rows[i] ?? null);
  });
  while (body.rows.length > rows.length) body.lastElementChild.remove();
}

