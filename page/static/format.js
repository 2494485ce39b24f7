// Numbers in words, as `kubectl unigpu status` writes them.

const tenths = (amount) => (Math.round(amount * 10) / 10).toString();

function unit(mib) {
  if (mib < 1024) return [1, "MiB"];
  return mib < 10 * 1024 * 1024 ? [1024, "GiB"] : [1024 * 1024, "TiB"];
}

export function memory(mib) {
  const [size, name] = unit(mib);
  return `${tenths(mib / size)} ${name}`;
}

export function part(mib, total) {
  const [size, name] = unit(total);
  return `${tenths(mib / size)} of ${tenths(total / size)} ${name}`;
}

export const percent = (ratio) => `${Math.round(ratio * 100)} %`;

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** How long ago an API server's time was: 45s, 7m, 3h, 2d. */
export function age(time, now = Date.now()) {
  const seconds = Math.max(0, Math.floor((now - Date.parse(time)) / 1000));
  if (Number.isNaN(seconds)) return "";
  for (const [name, size] of [["d", 86400], ["h", 3600], ["m", 60]]) if (seconds >= 2 * size) return `${Math.floor(seconds / size)}${name}`;
  return `${seconds}s`;
}

let colours = new Map();

/** Gives each namespace its colour: up to eight have different ones, and keep them while the same namespaces have GPUs. */
export function setColours(namespaces) {
  colours = new Map(namespaces.toSorted().map((name, at) => [name, `share-${at % 8}`]));
}

export const colour = (namespace) => colours.get(namespace) ?? "share-0";
