// Talking: the microphone to a session, the session's words to the transcript.

import { openMicrophone } from "./microphone.js";
import { RealtimeSession } from "./realtime_session.js";
import { RecordedSound } from "./recorded_sound.js";

const UNDETECTED_S = 0.5; // about what the server hears of sound that it did not take for speech

export class Talking {
  /** `show`: {status(text), error(text), ended(recording)}. */
  constructor(transcript, show) {
    this.transcript = transcript;
    this.show = show;
    this.sound = new RecordedSound();
    this.rows = new Map(); // of turns, by item
    this.ended = new Set(); // turns whose end is known
    this.isOver = false;
  }

  /** Throws ServerError where the server or the microphone refuses. */
  async begin(choices) {
    this.session = new RealtimeSession({
      began: (id, ms) => this.rowOf(id, ms / 1000),
      delta: (id, text) => this.append(id, text),
      stopped: (id, ms) => this.end(id, ms / 1000),
      completed: () => {},
      error: (message) => this.show.error(message),
      closed: () => this.close(),
    });
    await this.session.connect(choices);
    try {
      this.closeMicrophone = await openMicrophone((piece) => this.take(piece));
    } catch (problem) {
      this.show.ended = () => {}; // it has not begun
      this.session.finish();
      throw problem;
    }
    if (this.isOver) this.deafen();
    else this.show.status("Listening. Speak, and press Stop at the end.");
  }

  /** The last words are still waited for; then `ended`. */
  async stop() {
    this.show.status("Waiting for the last words …");
    await this.deafen();
    this.session.finish();
  }

  async deafen() {
    const close = this.closeMicrophone;
    this.closeMicrophone = null;
    await close?.();
  }

  take(piece) {
    this.session.send(piece); // copies: the piece stays whole
    this.sound.add(piece);
  }

  get secondsSpoken() {
    return this.sound.nBytes / 48_000;
  }

  rowOf(id, startS) {
    if (!this.rows.has(id)) {
      // The last sound, if the server has not said when it began.
      const start = startS ?? Math.max(this.transcript.segments.at(-1)?.end ?? 0, this.secondsSpoken - UNDETECTED_S);
      this.rows.set(id, this.transcript.add({ start, end: start, text: "" }));
    }
    return this.rows.get(id);
  }

  append(id, text) {
    const index = this.rowOf(id);
    const segment = this.transcript.segments[index];
    this.transcript.append(index, segment.text ? text : text.trimStart());
    if (!this.ended.has(id)) segment.end = this.secondsSpoken; // until the server says when
  }

  end(id, endS) {
    this.ended.add(id);
    this.transcript.segments[this.rowOf(id)].end = endS;
  }

  close() {
    this.isOver = true;
    this.deafen();
    this.show.ended(this.sound.wav());
  }
}
