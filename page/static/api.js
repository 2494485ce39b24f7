// Requests to the page's own server. The token lives in this module's memory: not in the address, not in any storage.

let token = "";

export const signIn = (given) => { token = given.trim(); };
export const signedIn = () => token !== "";

/** An answer that isn't one; `status` is HTTP's, 0 where no answer came. */
export class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Returns a document. Paths are relative, so that the page works below any prefix of a proxy. */
export async function ask(path, query = {}) {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) for (const one of [value].flat()) if (one !== "") asked.append(name, one);
  const address = `api/${path}.json${asked.size ? `?${asked}` : ""}`;
  let response;
  try {
    response = await fetch(address, { headers: token ? { "X-Unigpu-Token": token } : {}, credentials: "same-origin" });
  } catch {
    throw new Failure(0, "The page's server doesn't answer: is the connection to the cluster still open?");
  }
  if (response.ok) return response.json();
  let said = `${response.status} ${response.statusText}`;
  try {
    said = (await response.json()).error ?? said;
  } catch { /* a proxy's own page */ }
  throw new Failure(response.status, said);
}
