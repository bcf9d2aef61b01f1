// The calls of the API, with the token if the listener wants one.

const KEY = "handshake-proxy.token";
/** Milliseconds: a call may wait for the upstream, whose own time-out is shorter by far. */
const PATIENCE = 15000;
const UNAVAILABLE = 503;

let epoch = 0;

/** The token: in this tab alone, and gone with it. */
export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => {
    epoch++;
    sessionStorage.setItem(KEY, value);
  },
  forget: () => {
    epoch++;
    sessionStorage.removeItem(KEY);
  },
  /** Another number after each change: what was asked in an earlier epoch is nobody's business in this one. */
  get epoch() {
    return epoch;
  },
};

/** What the API says when it does not do what it was asked (RFC 9457). */
export class Problem extends Error {
  /** @param {{status: number, detail: string, errors?: {pointer?: string, detail: string}[]}} document */
  constructor({ status, detail, errors = [] }) {
    // Why the upstream was of no use stands beside the member that asked it.
    const reasons = status === UNAVAILABLE ? errors.map((error) => ` ${error.pointer?.slice(2)} ${error.detail}.`) : [];
    super(detail + reasons.join(""));
    this.status = status;
    this.errors = errors;
  }
}

/** There was no answer at all. */
export class Unreachable extends Error {}

/** The token was changed or forgotten before there was an answer, which counts no longer. */
export class Abandoned extends Error {}

/** What went wrong, for whoever looks at the page. */
export function sentence(error) {
  if (error instanceof Problem || error instanceof Unreachable) return error.message;
  console.error(error);
  return "This page could not use the answer; the browser’s console says why.";
}

/**
 * Make a call. Raises Problem, Unreachable or Abandoned.
 * @param {string} method
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<{text: string, document: any}>} the answer as it came, and what it says
 */
export async function call(method, path, body) {
  const headers = {};
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (body) headers["Content-Type"] = "application/json";
  const asked = epoch;
  let response = null;
  let text = "";
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body && JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.timeout(PATIENCE),
    });
    text = await response.text();
  } catch {
    response = null;
  }
  if (asked !== epoch) throw new Abandoned();
  if (!response) throw new Unreachable("The proxy gave no answer.");
  let document;
  try {
    document = text ? JSON.parse(text) : null;
  } catch {
    throw new Problem({ status: response.status, detail: `The answer (${response.status}) is no JSON.` });
  }
  if (!response.ok) throw new Problem({ status: response.status, detail: response.statusText, ...document });
  return { text, document };
}

/** JSON with line breaks and indents, every literal as it was written: a number stays what the owner sent. */
export function indented(text) {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s[\]{},:"]+/g) ?? [];
  let depth = 0;
  let written = "";
  const newLine = () => (written += `\n${"  ".repeat(depth)}`);
  for (const [at, token] of tokens.entries()) {
    const isFirst = tokens[at - 1] === "{" || tokens[at - 1] === "[";
    const closes = token === "}" || token === "]";
    if (closes) depth--;
    if (closes ? !isFirst : isFirst) newLine();
    written += token === ":" ? ": " : token;
    if (token === "{" || token === "[") depth++;
    if (token === ",") newLine();
  }
  return written;
}
