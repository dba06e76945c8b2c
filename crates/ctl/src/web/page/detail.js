// One session in full: its id, to compare with the peer's owner, and its messages by type.

import { by, element, say } from "./element.js";
import { session as ask } from "./feed.js";
import { KINDS, bytes, duration, groups, number, share, time } from "./words.js";

export class Detail {
  // Number of the session that is shown; none once it is over, though what it was is still to be seen.
  chosen = null;
  #session = null;
  #asked = 0;
  #leave;

  constructor(leave) {
    this.#leave = leave;
    by("detail-close").addEventListener("click", () => this.close());
    by("detail").addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
  }

  async open(entry) {
    this.chosen = entry.session.id;
    this.#session = entry.session;
    this.#asked = -Infinity;
    by("detail").hidden = false;
    by("detail-body").replaceChildren(...frame(entry.session));
    say(by("detail-title"), `Session ${entry.session.id}`);
    by("detail-title").focus();
    by("detail").scrollIntoView({ block: "nearest" });
    await this.refresh(entry);
  }

  close() {
    const left = this.chosen;
    this.chosen = null;
    by("detail").hidden = true;
    this.#leave(left);
  }

  end(reason) {
    this.chosen = null;
    say(by("over"), `This session is over: ${reason}.`);
    by("over").hidden = false;
  }

  // A daemon that was started anew numbers its sessions from 1 again.
  shows(session) {
    const shown = this.#session;
    return session !== undefined && ["id", "session_id", "client", "destination"].every((key) => session[key] === shown[key]);
  }

  // Asks again at most once in two seconds: the counts by type are not in the stream.
  async refresh(entry) {
    if (this.chosen === null || !this.shows(entry?.session)) return;
    show(entry);
    const now = performance.now();
    if (now - this.#asked < 2000) return;
    this.#asked = now;
    const number = this.chosen;
    try {
      const detail = await ask(number);
      if (this.chosen !== number || !this.shows(detail?.session)) return;
      types(by("detail-types"), detail.to_client, detail.to_peer);
    } catch {
      // The stream tells that the daemon or the server is away.
    }
  }
}

// Both directions' messages, the most bytes first.
export function types(box, toClient, toPeer) {
  box.replaceChildren(...[["Received", toClient], ["Sent", toPeer]].filter(([, list]) => list.length > 0).map(([title, list]) =>
    element("div", { class: "scroll", role: "region", "aria-label": `${title} messages`, tabindex: "0" },
      element("table", { class: "plain" },
        element("caption", {}, title),
        element("thead", {}, element("tr", {}, ...["Type", "Messages", "As v1", "As v2", "Saved"].map((head, i) =>
          element("th", { scope: "col", class: i > 0 ? "number" : undefined }, head)))),
        element("tbody", {}, ...list.map(typeRow))))));
}

function typeRow({ type, messages, client_bytes: v1, peer_bytes: v2 }) {
  const cells = [number(messages), bytes(v1), bytes(v2), share(v1 - v2, v1)];
  return element("tr", {}, element("th", { scope: "row" }, type), ...cells.map((text) => element("td", { class: "number" }, text)));
}

function frame(session) {
  return [
    element("p", { id: "over", class: "notice", role: "status", hidden: true }),
    ...(session.session_id ? identity(session.session_id) : [element("p", { class: "quiet" }, session.kind === "fallback"
      ? "No session id: this is plaintext, which anybody on the path reads and alters."
      : "The session id is known to the client and the peer alone.")]),
    element("dl", { id: "detail-facts", class: "pairs" }),
    element("div", { id: "detail-types" }),
  ];
}

function identity(id) {
  const copied = element("span", { role: "status", class: "quiet" });
  const button = element("button", { type: "button" }, "Copy session id");
  button.addEventListener("click", async () => say(copied, await copy(id) ? "Copied." : "Not possible here: select it and copy."));
  const answer = element("p", { role: "status", id: "compared" });
  const input = element("input", { id: "compare", autocomplete: "off", spellcheck: "false", "aria-describedby": "compared" });
  input.addEventListener("input", () => compare(answer, id, input.value));
  return [
    element("h3", { id: "id-title" }, "Session id"),
    element("p", { class: "id code", "aria-labelledby": "id-title" }, ...groups(id).map((group) => element("span", {}, `${group} `))),
    element("p", { class: "actions" }, button, copied),
    element("p", {}, element("label", { for: "compare" }, "Compare with what the peer’s owner sees"), input),
    answer,
  ];
}

// In any grouping and case, with 0x before it, or as a line of JSON. What is no whole session id is no
// other one either, and alarms nobody.
function compare(answer, id, text) {
  const given = text.toLowerCase().replace(/[^0-9a-z]/g, "").replace(/^(sessionid)?(0x)?/, "");
  const wrong = 1 + groups(id).findIndex((group, i) => !group.startsWith(given.slice(4 * i, 4 * i + 4)));
  const [verdict, said] = given === "" ? ["", ""]
    : given === id ? ["same", "The same: nobody sits in between."]
    : /[^0-9a-f]/.test(given) || given.length > 64 ? ["none", "Not a session id, which has 64 digits, 0 to 9 and a to f."]
    : given.length === 64 ? ["other", `Another one, from group ${wrong} on. This is not the session that they see.`]
    : ["part", `${given.length} of 64 digits: ${wrong === 0 ? "the same so far" : `group ${wrong} is another`}. Part of one proves nothing.`];
  answer.dataset.verdict = verdict;
  say(answer, said);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

function show({ session, who, began }) {
  const { to_peer: up, to_client: down } = session;
  const v1 = up.client_bytes + down.client_bytes;
  const v2 = up.peer_bytes + down.peer_bytes;
  const translated = session.kind === "v2";
  const pairs = [
    ["Peer", session.destination],
    ["Peer’s agent", session.peer_agent ?? "–"],
    ["Transport", KINDS[session.kind]],
    ["Network", session.network ?? "–"],
    ["Client", `${who}, ${session.client}`],
    ["Client’s agent", session.client_agent ?? "–"],
    ["Connection", session.redirected ? "redirected" : "made to the daemon itself"],
    ["Age", duration(performance.now() - began)],
    ["Handshake", time(session.handshake)],
    ["Received", sides(down, translated)],
    ["Sent", sides(up, translated)],
    ["Saved", translated ? `${bytes(v1 - v2)}, ${share(v1 - v2, v1)}` : "–"],
    ["Last received, sent", `${down.last ?? "–"}, ${up.last ?? "–"}`],
    ["Left out", number(up.dropped + down.dropped)],
  ];
  const list = by("detail-facts");
  if (list.children.length !== pairs.length) {
    list.replaceChildren(...pairs.map(() => element("div", {}, element("dt"), element("dd"))));
  }
  pairs.forEach(([name, value], i) => {
    say(list.children[i].children[0], name);
    say(list.children[i].children[1], value);
  });
}

function sides(flow, translated) {
  const messages = `${number(flow.messages)} messages`;
  return translated ? `${bytes(flow.peer_bytes)} as v2, ${bytes(flow.client_bytes)} as v1, ${messages}` : bytes(flow.peer_bytes);
}
