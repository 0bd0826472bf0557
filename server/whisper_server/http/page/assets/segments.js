// Segments with their words, from the server's answers. Times are in seconds.

/** The segments of a verbose_json, each with the words that begin before the next segment does. */
export function segmentsOf(answer) {
  const segments = answer.segments ?? [];
  const words = answer.words ?? [];
  let next = 0;
  return segments.map((segment, index) => {
    const end = segments[index + 1]?.start ?? Infinity;
    const first = next;
    // A word that begins a little early or late belongs to the segment whose text has it.
    const n = countOfWords(segment.text, words, first);
    next = n > 0 ? first + n : words.findIndex((word, at) => at >= first && word.start >= end);
    if (next < 0) next = words.length;
    const { start, text, speaker } = segment;
    return { start, end: segment.end, text: text.trim(), speaker, words: words.slice(first, next) };
  });
}

/** How many of the words from `first` on make up the text; 0 if they do not. */
function countOfWords(text, words, first) {
  const wanted = bare(text);
  let found = "";
  for (let at = first; at < words.length && found.length < wanted.length; at += 1) {
    found += bare(words[at].word);
    if (found === wanted) return at + 1 - first;
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
