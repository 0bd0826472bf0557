// What was spoken, kept in this page so that it can be heard again: pieces of PCM to a wav file.

import { RATE_HZ } from "./microphone.js";

const MAX_BYTES = 30 * 60 * RATE_HZ * 2; // half an hour, 86 MB

export class RecordedSound {
  constructor() {
    this.pieces = [];
    this.nBytes = 0;
  }

  add(piece) {
    this.nBytes += piece.byteLength;
    if (this.nBytes <= MAX_BYTES) this.pieces.push(piece);
    else this.pieces = [];
  }

  /** A wav file; null where there was nothing, or more than is kept. */
  wav() {
    if (!this.pieces.length) return null;
    const head = new DataView(new ArrayBuffer(44));
    const text = (at, letters) => [...letters].forEach((letter, index) => head.setUint8(at + index, letter.charCodeAt(0)));
    text(0, "RIFF");
    head.setUint32(4, 36 + this.nBytes, true);
    text(8, "WAVEfmt ");
    head.setUint32(16, 16, true);
    head.setUint16(20, 1, true); // PCM
    head.setUint16(22, 1, true); // mono
    head.setUint32(24, RATE_HZ, true);
    head.setUint32(28, RATE_HZ * 2, true);
    head.setUint16(32, 2, true);
    head.setUint16(34, 16, true);
    text(36, "data");
    head.setUint32(40, this.nBytes, true);
    return new Blob([head, ...this.pieces], { type: "audio/wav" });
  }
}
