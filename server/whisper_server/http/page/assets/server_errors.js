// What goes wrong, in the server's own words where it has any.

export class ServerError extends Error {}

/** The refusal in an answer: OpenAI's shape, or the status where something between browser and server answered. */
export async function refusalOf(answer) {
  const text = await answer.text();
  try {
    return new ServerError(JSON.parse(text).error.message);
  } catch {
    return new ServerError(`The server answered ${answer.status} ${answer.statusText}.`);
  }
}

/** fetch, with the key; throws a ServerError for every answer that is not OK. */
export async function call(path, key, options = {}) {
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    if (/[^\x21-\x7e]/.test(key)) throw new ServerError("The key has characters that no key can have.");
    throw new ServerError("The server does not answer: it cannot be reached, or the connection broke.");
  }
  if (!answer.ok) throw await refusalOf(answer);
  return answer;
}
