// Segments to the text of files: plain text, SubRip, WebVTT, JSON.

/** 3661.5 is 01:01:01.500; SubRip has a comma. */
export function clock(seconds, mark = ".") {
  const ms = Math.round(seconds * 1000);
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  return `${two(ms / 3600000)}:${two((ms / 60000) % 60)}:${two((ms / 1000) % 60)}${mark}${String(ms % 1000).padStart(3, "0")}`;
}

export function plainText(segments) {
  return segments.map((segment) => `${spoken(segment)}\n`).join("");
}

export function subRip(segments) {
  return segments
    .map((one, index) => `${index + 1}\n${clock(one.start, ",")} --> ${clock(one.end, ",")}\n${spoken(one)}\n\n`)
    .join("");
}

export function webVtt(segments) {
  const cues = segments.map((one) => `${clock(one.start)} --> ${clock(one.end)}\n${escaped(spoken(one))}\n\n`);
  return `WEBVTT\n\n${cues.join("")}`;
}

export function asJson(segments, answer) {
  return `${JSON.stringify(answer ?? { segments }, null, 2)}\n`;
}

const spoken = (segment) => (segment.speaker ? `${segment.speaker}: ${segment.text}` : segment.text);
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
