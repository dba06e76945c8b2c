// The stream of the server: a JSON object a line, for as long as the page is open.

const KEY = "token";

// From the address, where the server's word has put it; then kept for reloads, and out of sight.
function token() {
  const given = location.hash.slice(1);
  if (/^[0-9a-f]{32}$/.test(given)) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(KEY) ?? "";
}

const ask = (path, options = {}) =>
  fetch(path, { ...options, headers: { Authorization: `Bearer ${token()}` }, cache: "no-store" });

// Calls `message` with each line, and `broken` with why there are no more for now. Never ends, but
// where the token is not the server's.
export async function follow(message, broken) {
  for (let pause = 500; ; pause = Math.min(2 * pause, 8000)) {
    try {
      const response = await ask("/feed");
      if (response.status === 401) {
        broken("This page is not admitted. Open the address that bip324ctl web has printed, with all that follows the #.");
        await newToken();
        pause = 250;
        continue;
      }
      if (!response.ok) throw new Error(await response.text());
      for await (const line of lines(response.body)) {
        pause = 250;
        message(JSON.parse(line));
      }
      broken("The server of this page has ended. Trying again.");
    } catch (error) {
      const unreachable = error instanceof TypeError;
      broken(unreachable ? "The server of this page, bip324ctl web, cannot be reached. Trying again." : `${error.message.trim()} Trying again.`);
    }
    await new Promise((wake) => setTimeout(wake, pause));
  }
}

// The session's detail, or null where it is over.
export async function session(id) {
  const response = await ask(`/session/${id}`);
  if (response.status === 404) return null;
  if (!response.ok) throw new Error((await response.text()).trim());
  return response.json();
}

const newToken = () => new Promise((wake) => addEventListener("hashchange", wake, { once: true }));

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}
