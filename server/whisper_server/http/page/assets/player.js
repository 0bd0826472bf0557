// The recording: the audio element, the waveform above it, and the transcript that follows.

import { clock } from "./subtitles.js";
import { draw, peaksOf } from "./waveform.js";

const STEP_S = 2;

export class Player {
  constructor(section, transcript) {
    this.section = section;
    this.audio = section.querySelector("audio");
    this.canvas = section.querySelector("canvas");
    this.transcript = transcript;
    this.peaks = null;
    this.shown = 0;
    for (const name of ["timeupdate", "seeked", "loadedmetadata", "ended"]) {
      this.audio.addEventListener(name, () => this.refresh());
    }
    this.audio.addEventListener("play", () => this.animate());
    this.canvas.addEventListener("pointerdown", (event) => this.seek((event.offsetX / this.canvas.clientWidth) * this.durationS));
    this.canvas.addEventListener("keydown", (event) => this.step(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.refresh());
    new ResizeObserver(() => this.refresh()).observe(this.canvas);
  }

  get durationS() {
    return Number.isFinite(this.audio.duration) ? this.audio.duration : 0;
  }

  /** Show a recording. Without peaks (a format that this browser does not know) there is no waveform. */
  async load(blob) {
    this.unload();
    const number = this.shown;
    this.audio.src = this.address = URL.createObjectURL(blob);
    this.section.hidden = false;
    this.canvas.hidden = true;
    const peaks = await peaksOf(blob);
    if (number !== this.shown) return; // another one was chosen meanwhile
    this.peaks = peaks;
    this.canvas.hidden = peaks === null;
    this.refresh();
  }

  unload() {
    this.shown += 1;
    this.audio.pause();
    this.audio.removeAttribute("src");
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = null;
    this.peaks = null;
    this.section.hidden = true;
  }

  seek(seconds) {
    this.audio.currentTime = Math.min(Math.max(0, seconds), this.durationS);
  }

  /** What a word or a time of the transcript does. */
  seekAndPlay(seconds) {
    if (!this.address) return;
    this.seek(seconds);
    this.audio.play().catch(() => {}); // a format that this browser does not know
  }

  step(event) {
    const at = this.audio.currentTime;
    const target = {
      ArrowRight: at + STEP_S,
      ArrowUp: at + STEP_S,
      ArrowLeft: at - STEP_S,
      ArrowDown: at - STEP_S,
      Home: 0,
      End: this.durationS,
    }[event.key];
    if (event.key === " ") {
      if (this.audio.paused) this.audio.play();
      else this.audio.pause();
    } else if (target === undefined) {
      return;
    } else {
      this.seek(target);
    }
    event.preventDefault();
  }

  /** `timeupdate` comes four times a second, which is too rare for words. */
  animate() {
    this.refresh();
    if (!this.audio.paused) requestAnimationFrame(() => this.animate());
  }

  refresh() {
    const atS = this.audio.currentTime;
    const hasBegun = atS > 0 || !this.audio.paused;
    const current = this.transcript.follow(hasBegun ? atS : -1);
    if (this.peaks === null || this.durationS === 0) return;
    this.canvas.setAttribute("aria-valuemax", this.durationS.toFixed(1));
    this.canvas.setAttribute("aria-valuenow", atS.toFixed(1));
    this.canvas.setAttribute("aria-valuetext", clock(atS));
    draw(this.canvas, { peaks: this.peaks, segments: this.transcript.segments, current, durationS: this.durationS, atS });
  }
}
