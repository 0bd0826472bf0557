// Live transcription that survives rollouts: connects again, and sends the sound again that no transcript covers yet.
//
// node realtime_reconnect.mjs wss://HOST/v1/realtime KEY < sound.pcm     (16 bits, mono, 24 kHz, as fast as it is spoken)
//
// It needs Node 22 (20: --experimental-websocket) and no package. A browser takes the class as it is, with a client secret as the key.

const PIECE_BYTES = 4800; // 0.1 s
const PIECE_MS = 100;
const SILENT_PIECES = 10; // after the last sound, so that the last turn ends
const MAX_UNSENT_BYTES = 1_000_000;
const CONNECT_MS = 10_000;
const AGAIN_AFTER_MS = 500; // then twice as long each time: a browser does not show the Retry-After of a server that is full
const MAX_AGAIN_AFTER_MS = 8_000;
const FINAL_CLOSE_CODES = [1008, 1009]; // another attempt would fail in the same way
const TRANSCRIPTION = 'conversation.item.input_audio_transcription';

/** Keeps the sound from the end of the last complete turn on. */
export class Speaker {
  #kept = [];
  #nDropped = 0; // pieces before those that are kept
  #isOver = false;
  #againAfterMs = AGAIN_AFTER_MS;

  constructor(url, key, onTranscript) {
    this.url = url;
    this.key = key;
    this.onTranscript = onTranscript;
  }

  /** Take 0.1 s of sound, a Uint8Array. */
  add(piece) {
    this.#kept.push(piece);
  }

  /** No more sound comes. */
  end() {
    for (let number = 0; number < SILENT_PIECES; number++) this.add(new Uint8Array(PIECE_BYTES));
    this.#isOver = true;
  }

  /** Until all is transcribed. Throws where no attempt can succeed. */
  async run() {
    while (!(await this.#session())) {
      await new Promise((resolve) => setTimeout(resolve, this.#againAfterMs));
      this.#againAfterMs = Math.min(2 * this.#againAfterMs, MAX_AGAIN_AFTER_MS);
    }
  }

  /** One session; true if everything is transcribed, false to connect again. */
  #session() {
    const socket = new WebSocket(`${this.url}?intent=transcription`, ['realtime', `openai-insecure-api-key.${this.key}`]);
    const first = this.#nDropped;
    const openTurns = new Set();
    const endsMs = new Map();
    let at = first;
    let isAsked = false; // whether all sound is heard
    let isHeard = false;

    const send = (event) => socket.send(JSON.stringify(event));
    const sendSound = () => {
      if (socket.readyState !== WebSocket.OPEN) return;
      while (at < this.#nDropped + this.#kept.length && socket.bufferedAmount < MAX_UNSENT_BYTES) {
        const audio = btoa(String.fromCharCode(...this.#kept[at++ - this.#nDropped]));
        send({ type: 'input_audio_buffer.append', audio });
      }
      if (this.#isOver && !isAsked && at >= this.#nDropped + this.#kept.length) {
        isAsked = true; // the answer comes once all before it is heard
        send({ type: 'session.update', session: { type: 'transcription' } });
      }
    };

    return new Promise((resolve, reject) => {
      const sending = setInterval(sendSound, 20);
      const connecting = setTimeout(() => connectAgain('no answer'), CONNECT_MS);
      const finish = (settle, result) => {
        clearInterval(sending);
        clearTimeout(connecting);
        socket.onclose = socket.onerror = socket.onmessage = null;
        socket.close();
        settle(result);
      };
      const connectAgain = (reason) => {
        console.error(`[connecting again: ${reason}]`);
        finish(resolve, false);
      };
      socket.onopen = () => {
        clearTimeout(connecting);
        this.#againAfterMs = AGAIN_AFTER_MS;
      };
      socket.onmessage = ({ data }) => {
        const event = JSON.parse(data);
        if (event.type === 'input_audio_buffer.speech_started') openTurns.add(event.item_id);
        else if (event.type === 'input_audio_buffer.speech_stopped') endsMs.set(event.item_id, event.audio_end_ms);
        else if (event.type === `${TRANSCRIPTION}.failed`) connectAgain('a turn has failed');
        else if (event.type === `${TRANSCRIPTION}.completed`) {
          this.onTranscript(event.transcript);
          openTurns.delete(event.item_id);
          this.#dropUntil(first + Math.floor((endsMs.get(event.item_id) ?? 0) / PIECE_MS));
        } else if (event.type === 'session.updated') isHeard = true;
        else if (event.type === 'error') console.error(event.error.message);
        if (isHeard && openTurns.size === 0) finish(resolve, true);
      };
      socket.onclose = ({ code, reason }) => {
        if (FINAL_CLOSE_CODES.includes(code)) finish(reject, new Error(`the server closes with ${code} ${reason}`));
        else connectAgain(code);
      };
      socket.onerror = () => connectAgain('no connection'); // Node 20 sends no close event then
    });
  }

  /** Forget what is transcribed. */
  #dropUntil(piece) {
    const nPieces = Math.max(0, piece - this.#nDropped);
    this.#kept.splice(0, nPieces);
    this.#nDropped += nPieces;
  }
}

if (typeof process !== 'undefined') {
  const [url, key] = process.argv.slice(2);
  const speaker = new Speaker(url, key, console.log);
  const running = speaker.run();
  running.catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
  let rest = Buffer.alloc(0);
  for await (const chunk of process.stdin) {
    rest = Buffer.concat([rest, chunk]);
    for (; rest.length >= PIECE_BYTES; rest = rest.subarray(PIECE_BYTES)) speaker.add(rest.subarray(0, PIECE_BYTES));
  }
  if (rest.length) speaker.add(rest);
  speaker.end();
  await running;
  process.exit(0);
}
