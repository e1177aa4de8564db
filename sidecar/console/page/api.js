/** Requests to the console's API. What it answers is JSON; what it refuses becomes a `Refusal` with its own words. */

/** The API said no, or nobody was there (`status` 0). */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** A record. */
export function get(path) {
  return ask(path, {});
}

/** The answer to a wish; null where there is nothing to say. */
export function post(path, body = {}) {
  return ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refusal(0, "the monitor does not answer");
  }
  if (response.status === 204) return null;
  const content = await response.json().catch(() => null);
  if (!response.ok) throw new Refusal(response.status, inWords(response, content));
  return content;
}

function inWords(response, content) {
  const wait = response.headers.get("retry-after");
  const detail = typeof content?.detail === "string" ? content.detail : `the monitor answers ${response.status}`;
  return wait ? `${detail}; try again in ${wait} s` : detail;
}
