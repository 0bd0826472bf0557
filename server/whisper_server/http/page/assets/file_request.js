// A recording to its transcript: one request to /v1/audio/transcriptions.

import { call, ServerError } from "./server_errors.js";

const MIB = 1024 * 1024;

/**
 * The verbose_json of a recording, with the times of segments and words.
 * `choices`: {model, language, perChannel, key, maxUploadBytes}. Throws ServerError; AbortError if `signal` says so.
 */
export async function transcribe(file, choices, signal) {
  // The server refuses by the declared size and closes; a browser that still sends then has no answer to show.
  if (file.size > choices.maxUploadBytes) {
    const limit = (choices.maxUploadBytes / MIB).toFixed(0);
    throw new ServerError(`${file.name} has ${(file.size / MIB).toFixed(1)} MiB; this server takes up to ${limit} MiB.`);
  }
  const form = new FormData();
  form.set("model", choices.model);
  form.set("response_format", "verbose_json");
  form.append("timestamp_granularities[]", "segment");
  form.append("timestamp_granularities[]", "word");
  if (choices.language) form.set("language", choices.language);
  if (choices.perChannel) form.set("multichannel", "true");
  form.set("file", file);
  const answer = await call("v1/audio/transcriptions", choices.key, { method: "POST", body: form, signal });
  return answer.json();
}
