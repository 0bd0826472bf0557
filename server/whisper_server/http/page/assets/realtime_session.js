// A transcription session on a WebSocket: /v1/realtime, OpenAI's protocol (docs/realtime.md).

import { call, ServerError } from "./server_errors.js";

const FINISH_MS = 20_000;
const TRANSCRIPTION = "conversation.item.input_audio_transcription";
const NOTHING_TO_COMMIT = "input_audio_buffer_commit_empty"; // the turn under way had ended by itself, or there was none

export class RealtimeSession {
  /** `on`: {began(id, ms), delta(id, text), stopped(id, ms), completed(id, text), error(message), closed()}. */
  constructor(on) {
    this.on = on;
    this.open = new Set(); // turns without their whole transcript yet
    this.begun = null; // the last turn of which the server has said that it began
    this.stopped = null; // the last one that the server itself has ended
    this.finishing = false;
    this.isCommitted = false; // the server has answered the commit of `finish`
    this.hasSaidWhy = false;
  }

  /**
   * Resolves once the session exists. A browser cannot read why a WebSocket is refused, nor send any key with it: a client
   * secret is asked for first, whose refusal says why, and which is fit for a subprotocol. Throws ServerError.
   */
  async connect({ key, language }) {
    const session = { type: "transcription", audio: { input: { transcription: language ? { language } : {} } } };
    const answer = await call("v1/realtime/client_secrets", key, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ session }),
    });
    const { value } = await answer.json();
    const url = new URL("v1/realtime?intent=transcription", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(url, ["realtime", `openai-insecure-api-key.${value}`]);
    await new Promise((resolve, reject) => {
      this.socket.onopen = resolve;
      this.socket.onclose = () => reject(new ServerError("The server takes no session now. It may have as many as it can: try again later."));
    });
    this.socket.onmessage = ({ data }) => this.take(JSON.parse(data));
    this.socket.onclose = ({ code, reason }) => this.closed(code, reason);
  }

  send(piece) {
    if (this.socket.readyState !== WebSocket.OPEN || this.finishing) return;
    this.emit({ type: "input_audio_buffer.append", audio: base64(new Uint8Array(piece)) });
  }

  /**
   * End the turn under way, wait for the text of all turns, and close. Which turn that is, only the server knows: events that
   * say that one began or ended may be on their way. It hears all sound before it answers the commit.
   */
  finish() {
    this.finishing = true;
    this.emit({ type: "input_audio_buffer.commit" });
    this.timer = setTimeout(() => this.giveUp(), FINISH_MS);
  }

  emit(event) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(event));
  }

  take(event) {
    const id = event.item_id;
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        this.open.add(id);
        this.begun = id;
        return this.on.began(id, event.audio_start_ms);
      case "input_audio_buffer.speech_stopped":
        this.stopped = id;
        return this.on.stopped(id, event.audio_end_ms);
      case "input_audio_buffer.committed":
        if (this.begun !== id) this.open.add(id); // of sound that was not taken for speech: the server hears it all the same
        return this.stopped === id ? undefined : this.committed();
      case `${TRANSCRIPTION}.delta`:
        return this.on.delta(id, event.delta);
      case `${TRANSCRIPTION}.completed`:
        this.on.completed(id, event.transcript);
        this.open.delete(id);
        return this.closeIfDone();
      case `${TRANSCRIPTION}.failed`:
        this.on.error(event.error.message);
        this.open.delete(id);
        return this.closeIfDone();
      case "error":
        if (event.error.code === NOTHING_TO_COMMIT) return this.committed();
        this.hasSaidWhy = true;
        return this.on.error(event.error.message);
      default:
        return undefined;
    }
  }

  committed() {
    this.isCommitted = true;
    this.closeIfDone();
  }

  giveUp() {
    if (this.open.size) this.say(`The server did not send the last words within ${FINISH_MS / 1000} s.`);
    this.socket.close();
  }

  say(message) {
    if (!this.hasSaidWhy) this.on.error(message);
    this.hasSaidWhy = true;
  }

  closeIfDone() {
    if (this.isCommitted && this.open.size === 0) this.socket.close();
  }

  closed(code, reason) {
    clearTimeout(this.timer);
    const isNormal = code === 1000 || code === 1005;
    const lost = this.finishing ? " before its last words came" : "";
    if (!isNormal) this.say(`The session ended${lost} (${code}${reason ? `, ${reason}` : ""}). Start another one.`);
    this.on.closed();
  }
}

function base64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
