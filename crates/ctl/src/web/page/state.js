// What the page knows: the daemon's status, its sessions, and what grew in each of the last seconds.

const SECONDS = 300;
const SPARKS = 30;
const ENDED = 20;

export class State {
  reason = "";
  up = false;
  scope = "own";
  status = null;
  sessions = new Map();
  samples = [];
  ended = [];
  refusals = [];
  clients = {};
  rules = null;

  take(message) {
    if (message.rules !== undefined) this.rules = message.rules;
    if (message.refusals) this.refusals = message.refusals;
    if (message.feed === "up") this.#begin(message);
    else if (message.feed === "clients") this.#name(message.clients);
    else if (message.feed === "down") this.#lose(message.reason);
    else if (message.event === "opened") this.#open(message.session);
    else if (message.event === "closed") this.#end(message.session, message.reason);
    else if (message.event === "traffic") this.#flow(message.status, message.sessions);
  }

  // Bytes a second each way, over the last two samples.
  rates() {
    const [before, now] = this.samples.slice(-2);
    return now ? between(before, now) : { in: 0, out: 0 };
  }

  // One point a sample: seconds ago, and bytes a second each way.
  points() {
    const last = this.samples.at(-1);
    return this.samples.slice(1).map((now, i) => ({
      ago: (last.uptime - now.uptime) / 1000,
      ...between(this.samples[i], now),
    }));
  }

  #begin({ scope, status, sessions, history, clients }) {
    const old = this.sessions;
    Object.assign(this, { up: true, reason: "", scope, status, samples: history, clients });
    this.sessions = new Map();
    for (const session of sessions) {
      const known = old.get(session.id);
      this.#put(session, 0, known?.session.age <= session.age ? known.sparks : undefined);
    }
  }

  #lose(reason) {
    Object.assign(this, { up: false, reason });
    this.sessions.clear();
    this.samples = [];
  }

  #put(session, perSecond, sparks = []) {
    const began = performance.now() - session.age;
    const who = this.clients[session.id] ?? "–";
    this.sessions.set(session.id, { session, who, began, perSecond, sparks });
  }

  #name(clients) {
    Object.assign(this.clients, clients);
    for (const [id, who] of Object.entries(clients)) {
      const entry = this.sessions.get(Number(id));
      if (entry) entry.who = who;
    }
  }

  // The status counts it in a second; one in plaintext is to be seen at once.
  #open(session) {
    this.#put(session, 0);
    this.status.sessions[session.kind] += 1;
    this.status.served[session.kind] += 1;
    // It may have been accepted before the last status.
    const { accepted, canaries, refused, served } = this.status;
    this.status.accepted = Math.max(accepted, canaries + sum(served) + sum(refusals(refused)));
  }

  #end(session, reason) {
    const { sessions } = this.status;
    sessions[session.kind] = Math.max(0, sessions[session.kind] - 1);
    this.sessions.delete(session.id);
    delete this.clients[session.id];
    this.ended.unshift({ session, reason, at: new Date() });
    this.ended.length = Math.min(this.ended.length, ENDED);
  }

  #flow(status, changed) {
    const seconds = Math.max(0.05, (status.uptime - this.status.uptime) / 1000);
    this.status = status;
    this.samples.push(sample(status));
    this.samples.splice(0, this.samples.length - SECONDS);
    const before = new Map(changed.map(({ id }) => [id, carried(this.sessions.get(id)?.session)]));
    for (const session of changed) {
      this.#put(session, 0, this.sessions.get(session.id)?.sparks);
    }
    for (const [id, entry] of this.sessions) {
      const grown = before.has(id) ? carried(entry.session) - before.get(id) : 0;
      entry.perSecond = grown / seconds;
      entry.sparks.push(entry.perSecond);
      entry.sparks.splice(0, entry.sparks.length - SPARKS);
    }
  }
}

// Those by which a connection did not become a session: `broken` and `closed` end one that was.
export const refusals = ({ broken, closed, ...before }) => before;

export const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);

// Bytes on the peer's side, both ways.
export const carried = (session) =>
  session ? session.to_peer.peer_bytes + session.to_client.peer_bytes : 0;

function sample({ uptime, traffic }) {
  return {
    uptime,
    to_peer: traffic.v2_to_peer.peer_bytes + traffic.spliced_to_peer.peer_bytes,
    to_client: traffic.v2_to_client.peer_bytes + traffic.spliced_to_client.peer_bytes,
  };
}

function between(before, now) {
  const seconds = Math.max(0.05, (now.uptime - before.uptime) / 1000);
  return {
    in: Math.max(0, now.to_client - before.to_client) / seconds,
    out: Math.max(0, now.to_peer - before.to_peer) / seconds,
  };
}
