// The waveform: a recording's peaks, drawn on a canvas.

const RATE_HZ = 8000; // the lowest that every browser decodes to: an hour takes 115 MB per channel
const N_PEAKS = 2000;

/** The loudest sample of each of N_PEAKS equal parts, 0 to 1; null where this browser cannot decode the file. */
export async function peaksOf(blob) {
  try {
    const context = new OfflineAudioContext(1, 1, RATE_HZ);
    const samples = (await context.decodeAudioData(await blob.arrayBuffer())).getChannelData(0);
    const step = samples.length / N_PEAKS;
    const peaks = new Float32Array(N_PEAKS);
    for (let index = 0; index < N_PEAKS; index += 1) {
      for (let at = Math.floor(index * step); at < (index + 1) * step && at < samples.length; at += 1) {
        peaks[index] = Math.max(peaks[index], Math.abs(samples[at]));
      }
    }
    const loudest = peaks.reduce((most, peak) => Math.max(most, peak), 1e-4);
    return peaks.map((peak) => peak / loudest);
  } catch {
    return null;
  }
}

/**
 * Draw the peaks, the segments as a ground, and the position.
 * `view`: {peaks, segments, current, durationS, atS}; `current` is the index of the segment that plays, or −1.
 */
export function draw(canvas, view) {
  const scale = window.devicePixelRatio || 1;
  const width = (canvas.width = Math.round(canvas.clientWidth * scale));
  const height = (canvas.height = Math.round(canvas.clientHeight * scale));
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name);
  const pen = canvas.getContext("2d");
  const xOf = (seconds) => (seconds / view.durationS) * width;
  view.segments.forEach((segment, index) => {
    const x = xOf(segment.start);
    pen.fillStyle = colour(index === view.current ? "--here" : "--segment");
    pen.globalAlpha = index === view.current ? 0.35 : 1;
    pen.fillRect(x, 0, Math.max(1, xOf(segment.end) - x - scale), height);
  });
  pen.globalAlpha = 1;
  const bar = 2 * scale;
  for (let x = 0; x < width; x += bar) {
    const peak = loudestBetween(view.peaks, x / width, (x + bar) / width);
    pen.fillStyle = colour(x <= xOf(view.atS) ? "--accent" : "--wave");
    pen.fillRect(x, (height - peak * height * 0.9) / 2, bar * 0.7, Math.max(scale, peak * height * 0.9));
  }
  pen.fillStyle = colour("--text");
  pen.fillRect(Math.min(width - bar, xOf(view.atS)), 0, bar, height);
}

function loudestBetween(peaks, from, to) {
  let loudest = 0;
  for (let at = Math.floor(from * peaks.length); at < Math.max(to * peaks.length, from * peaks.length + 1); at += 1) {
    loudest = Math.max(loudest, peaks[at] ?? 0);
  }
  return loudest;
}
