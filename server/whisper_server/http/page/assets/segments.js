// Segments with their words, from the server's answers. Times are in seconds.

/** The segments of a verbose_json, each with its words. Where channels are speakers, each speaker has words of its own. */
export function segmentsOf(answer) {
  const segments = answer.segments ?? [];
  const wordsOf = new Map(); // by speaker, those not given to a segment yet
  for (const word of answer.words ?? []) {
    if (!wordsOf.has(word.speaker)) wordsOf.set(word.speaker, []);
    wordsOf.get(word.speaker).push(word);
  }
  return segments.map(({ start, end, text, speaker }, index) => {
    const words = wordsOf.get(speaker) ?? [];
    const next = segments.find((other, at) => at > index && other.speaker === speaker);
    return { start, end, text: text.trim(), speaker, words: words.splice(0, countOf(text, words, next?.start ?? Infinity)) };
  });
}

/** How many of the words are in the text; where they do not make it up, those that begin before the next segment. */
function countOf(text, words, endS) {
  const n = countOfWords(text, words);
  if (n > 0) return n;
  const next = words.findIndex((word) => word.start >= endS);
  return next < 0 ? words.length : next;
}

/** How many of the words make up the text; 0 if they do not. */
function countOfWords(text, words) {
  const wanted = bare(text);
  let found = "";
  for (let at = 0; at < words.length && found.length < wanted.length; at += 1) {
    found += bare(words[at].word);
    if (found === wanted) return at + 1;
  }
  return 0;
}

/** The index of the last of `timed` that has begun at a time, or −1. */
export function indexAt(timed, at) {
  let low = 0;
  let high = timed.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (timed[middle].start <= at) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

const bare = (text) => text.replace(/[^\p{L}\p{N}]/gu, "").toLowerCase();
