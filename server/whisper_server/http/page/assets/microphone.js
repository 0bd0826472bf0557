// The microphone as pieces of 0.1 s: 16-bit PCM, mono, 24 kHz.

import { ServerError } from "./server_errors.js";

export const RATE_HZ = 24000;
const LAST_PIECE_MS = 500; // it comes at once, unless the browser has stopped the sound
// Whisper was trained on noisy speech: what browsers filter takes from the voice, too. A quiet voice is made louder.
const AUDIO = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true };

/** Open the microphone; `take` gets each piece as an ArrayBuffer. Returns a function that closes it, and resolves
 * once the last piece, a shorter one, was taken. Throws ServerError. */
export async function openMicrophone(take) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new ServerError("Browsers give a page the microphone over https:// or from localhost only.");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: AUDIO });
  } catch (problem) {
    const reasons = { NotAllowedError: "it is not allowed to this page", NotFoundError: "there is none" };
    throw new ServerError(`The microphone cannot be used: ${reasons[problem.name] ?? problem.message}.`);
  }
  const context = contextFor(stream);
  await context.audioWorklet.addModule(new URL("pcm_worklet.js", import.meta.url));
  const node = new AudioWorkletNode(context, "pcm", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  const ended = new Promise((resolve) => {
    node.port.onmessage = ({ data }) => (data === null ? resolve() : data.byteLength && take(data));
  });
  context.createMediaStreamSource(stream).connect(node);
  await context.resume();
  return async () => {
    node.port.postMessage("end");
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, LAST_PIECE_MS))]);
    node.port.onmessage = null;
    for (const track of stream.getTracks()) track.stop();
    context.close();
  };
}

/** At 24 kHz where the browser resamples a microphone; else at the microphone's own rate, and the worklet resamples. */
function contextFor(stream) {
  const context = new AudioContext({ sampleRate: RATE_HZ });
  try {
    context.createMediaStreamSource(stream);
    return context;
  } catch {
    context.close();
    return new AudioContext();
  }
}
