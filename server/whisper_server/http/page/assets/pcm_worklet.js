// Runs beside the page, on the browser's thread for sound: samples become pieces of 16-bit PCM at 24 kHz.

const RATE_HZ = 24000;
const PIECE = RATE_HZ / 10;

class PcmWorklet extends AudioWorkletProcessor {
  constructor() {
    super();
    this.step = sampleRate / RATE_HZ; // 1 where the browser gives the sound at this rate
    this.piece = new Int16Array(PIECE);
    this.n = 0;
    this.sum = 0;
    this.weight = 0;
    this.port.onmessage = () => this.end();
  }

  process([channels]) {
    for (const sample of channels[0] ?? []) this.take(sample);
    return true;
  }

  /** A sample of 24 kHz is the mean of the samples under it, which also damps what it cannot hold. */
  take(sample) {
    let left = 1;
    while (this.weight + left >= this.step) {
      const part = this.step - this.weight;
      this.put((this.sum + sample * part) / this.step);
      this.sum = 0;
      this.weight = 0;
      left -= part;
    }
    this.sum += sample * left;
    this.weight += left;
  }

  put(value) {
    this.piece[this.n] = Math.round(Math.max(-1, Math.min(1, value)) * 32767);
    this.n += 1;
    if (this.n < PIECE) return;
    this.port.postMessage(this.piece.buffer, [this.piece.buffer]);
    this.piece = new Int16Array(PIECE);
    this.n = 0;
  }

  /** The page wants no more: what is there of a piece, and null behind it. */
  end() {
    this.port.postMessage(this.piece.buffer.slice(0, 2 * this.n));
    this.port.postMessage(null);
    this.n = 0;
  }
}

registerProcessor("pcm", PcmWorklet);
