// Live transcription that survives rollouts: connects again, and sends the sound again that no transcript covers yet.
//
// node realtime_reconnect.mjs wss://HOST/v1/realtime KEY < sound.pcm     (16 bits, mono, 24 kHz, as fast as it is spoken)
//
// It needs Node 22 (20: --experimental-websocket) and no package. A browser takes the class as it is, with a client secret as the key.

const PIECE_BYTES = 4800; // 0.1 s
const PIECE_MS = 100;
const SILENT_PIECES = 10; // after the last sound, so that the last turn ends
const MAX_UNSENT_BYTES = 1_000_000;
const TRANSCRIPTION = 'conversation.item.input_audio_transcription';

/** Keeps the sound from the end of the last complete turn on. */
export class Speaker {
  #kept = [];
  #nDropped = 0; // pieces before those that are kept
  #isOver = false;

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

  /** Until all is transcribed. */
  async run() {
    while (!(await this.#session())) await new Promise((resolve) => setTimeout(resolve, 500));
  }

  /** One session; true if everything is transcribed, false to connect again. */
  #session() {
    const socket = new WebSocket(`${this.url}?intent=transcription`, ['realtime', `openai-insecure-api-key.${this.key}`]);
    const first = this.#nDropped;
    const openTurns = new Set();
    const endsMs = new Map();
    let at = first;
    let quietSinceMs = Date.now();

    const take = (event) => {
      quietSinceMs = Date.now();
      if (event.type === 'input_audio_buffer.speech_started') openTurns.add(event.item_id);
      else if (event.type === 'input_audio_buffer.speech_stopped') endsMs.set(event.item_id, event.audio_end_ms);
      else if (event.type === `${TRANSCRIPTION}.failed`) socket.close(4000, 'connecting again');
      else if (event.type === `${TRANSCRIPTION}.completed`) {
        this.onTranscript(event.transcript);
        openTurns.delete(event.item_id);
        this.#dropUntil(first + Math.floor((endsMs.get(event.item_id) ?? 0) / PIECE_MS));
      }
    };

    return new Promise((resolve) => {
      const step = () => {
        if (socket.readyState !== WebSocket.OPEN) return;
        while (at < this.#nDropped + this.#kept.length && socket.bufferedAmount < MAX_UNSENT_BYTES) {
          const audio = btoa(String.fromCharCode(...this.#kept[at++ - this.#nDropped]));
          socket.send(JSON.stringify({ type: 'input_audio_buffer.append', audio }));
          quietSinceMs = Date.now();
        }
        const isSent = this.#isOver && at >= this.#nDropped + this.#kept.length;
        if (isSent && openTurns.size === 0 && Date.now() - quietSinceMs > 3000) finish(true);
      };
      const sending = setInterval(step, 20);
      const finish = (isDone) => {
        clearInterval(sending);
        socket.onclose = socket.onerror = null;
        socket.close();
        resolve(isDone);
      };
      socket.onmessage = ({ data }) => take(JSON.parse(data));
      const connectAgain = (reason) => {
        console.error(`[connecting again: ${reason}]`);
        finish(false);
      };
      socket.onclose = ({ code }) => connectAgain(code);
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
