// Numbers and states in words.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

// 1234567 → "1.23 MB": three digits that count, units of 1000.
export function bytes(count) {
  if (!Number.isFinite(count)) return "–";
  const sign = count < 0 ? "−" : "";
  let value = Math.abs(count);
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return `${sign}${value.toFixed(digits)} ${UNITS[unit]}`;
}

export const rate = (perSecond) => `${bytes(Math.round(perSecond))}/s`;

export const number = (count) => count.toLocaleString("en").replaceAll(",", "\u202f");

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

// Microseconds → "850 µs", "12 ms", "1.4 s".
export function time(microseconds) {
  if (microseconds === null || microseconds === undefined) return "–";
  if (microseconds < 1000) return `${microseconds} µs`;
  if (microseconds < 999_500) return `${Math.round(microseconds / 1000)} ms`;
  return `${(microseconds / 1e6).toFixed(1)} s`;
}

export function share(part, whole) {
  return whole > 0 ? `${((100 * part) / whole).toFixed(1)} %`.replace("-", "−") : "–";
}

export const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many}`;

export const KINDS = {
  v2: "v2, translated",
  passthrough: "v2, the client’s own",
  fallback: "v1, in plaintext",
};

export const SHORT_KINDS = { v2: "v2", passthrough: "own v2", fallback: "v1" };

// "0123…" → groups of four digits, which can be read aloud.
export const groups = (id) => id.match(/.{1,4}/g) ?? [];
