// Numbers and states in words.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

// 1234567 → "1.2 MB": in steps of 1000, as bip324ctl prints them.
export function bytes(count) {
  const sign = count < 0 ? "−" : "";
  let value = Math.abs(count);
  if (value < 1000) return `${sign}${Math.round(value)} B`;
  let unit = 0;
  // As it is printed: 999.96 would be 1000.0.
  while (Math.round(value * 10) >= 10_000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${sign}${value.toFixed(1)} ${UNITS[unit]}`;
}

export const rate = (perSecond) => `${bytes(Math.round(perSecond))}/s`;

export const number = (count) => count.toLocaleString("en");

// Milliseconds → "2 d 3 h", "4 min 5 s".
export function duration(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const parts = [
    [Math.floor(seconds / 86400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

// Microseconds → "850 µs", "1.5 ms", "12 ms", "1.4 s".
export function time(count) {
  if (count === null || count === undefined) return "–";
  if (count < 1000) return `${count} µs`;
  if (count < 10_000) return `${(count / 1000).toFixed(1)} ms`;
  if (count < 1_000_000) return `${Math.round(count / 1000)} ms`;
  return `${(count / 1e6).toFixed(1)} s`;
}

export function share(part, whole) {
  return whole > 0 ? `${((100 * part) / whole).toFixed(1)} %`.replace("-", "−") : "–";
}

export const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many}`;

export const KINDS = {
  v2: "v2: v1 from the client, BIP324 to the peer",
  passthrough: "passthrough: v2 of the client’s own",
  fallback: "PLAINTEXT: the peer does not speak v2",
};

export const SHORT_KINDS = { v2: "v2", passthrough: "passthrough", fallback: "PLAINTEXT" };

// "0123…" → groups of four digits, which can be read aloud.
export const groups = (id) => id.match(/.{1,4}/g) ?? [];
