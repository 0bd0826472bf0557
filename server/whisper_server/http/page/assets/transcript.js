// The transcript on the page: segments with a time each, words that can be chosen, and the ones that play now.

import { clock } from "./subtitles.js";
import { indexAt } from "./segments.js";

export class Transcript {
  /** `seek` is called with seconds when a word or a time is chosen. */
  constructor(list, seek) {
    this.list = list;
    this.segments = [];
    this.rows = [];
    this.here = { segment: -1, word: -1 };
    list.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-start]");
      if (!button) return;
      this.focusOn(button);
      seek(Number(button.dataset.start));
    });
    list.addEventListener("keydown", (event) => this.move(event));
  }

  show(segments) {
    this.clear();
    this.list.setAttribute("aria-live", "off"); // a whole transcript is read when asked for, not at once
    for (const segment of segments) this.add(segment);
  }

  clear() {
    this.segments = [];
    this.rows = [];
    this.here = { segment: -1, word: -1 };
    this.list.replaceChildren();
  }

  /** One more segment at the end; its index. */
  add(segment) {
    this.segments.push(segment);
    const row = document.createElement("li");
    const text = document.createElement("p");
    row.append(chosenBy(segment.start, "time", clock(segment.start).slice(segment.start < 3600 ? 3 : 0, 10)), text);
    this.rows.push({ row, text, words: [] });
    this.list.append(row);
    this.write(this.segments.length - 1);
    const first = this.list.querySelector("button");
    if (this.list.querySelector('button[tabindex="0"]') === null) first.tabIndex = 0;
    return this.segments.length - 1;
  }

  /** More text of a segment without words: it is appended, so that a screen reader reads only what is new. */
  append(index, added) {
    this.segments[index].text += added;
    this.rows[index].text.append(added);
  }

  write(index) {
    const { text: element } = this.rows[index];
    const { text, words = [], speaker } = this.segments[index];
    element.replaceChildren();
    if (speaker) element.append(span("speaker", speaker));
    let written = 0;
    this.rows[index].words = words.map((word) => {
      const button = chosenBy(word.start, "word", word.word.trim());
      // What is between words is the text's own: some languages have no spaces.
      const at = text.indexOf(button.textContent, written);
      element.append(at < 0 ? " " : text.slice(written, at), button);
      if (at >= 0) written = at + button.textContent.length;
      return button;
    });
    element.append(text.slice(written));
  }

  /** Mark what is spoken at a time; the index of the segment, or −1. */
  follow(atS) {
    const segment = indexAt(this.segments, atS);
    const words = this.segments[segment]?.words ?? [];
    const word = indexAt(words, atS);
    if (segment === this.here.segment && word === this.here.word) return segment;
    this.mark(false);
    this.here = { segment, word };
    this.mark(true);
    return segment;
  }

  mark(on) {
    const row = this.rows[this.here.segment];
    row?.row.classList.toggle("here", on);
    row?.words[this.here.word]?.classList.toggle("here", on);
    if (on && row) row.row.scrollIntoView({ block: "nearest" });
  }

  /** The list is one stop of the Tab key; arrows move in it. */
  move(event) {
    const buttons = [...this.list.querySelectorAll("button[data-start]")];
    const at = buttons.indexOf(document.activeElement);
    const isTime = (button) => button.classList.contains("time");
    const target = {
      ArrowRight: () => buttons[at + 1],
      ArrowLeft: () => buttons[at - 1],
      ArrowDown: () => buttons.slice(at + 1).find(isTime),
      ArrowUp: () => buttons.slice(0, Math.max(at, 0)).findLast(isTime),
      Home: () => buttons[0],
      End: () => buttons.at(-1),
    }[event.key]?.();
    if (at < 0 || !target) return;
    event.preventDefault();
    this.focusOn(target);
  }

  focusOn(button) {
    for (const other of this.list.querySelectorAll('button[tabindex="0"]')) other.tabIndex = -1;
    button.tabIndex = 0;
    button.focus();
  }
}

function chosenBy(startS, kind, text) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = kind;
  button.tabIndex = -1;
  button.dataset.start = startS;
  button.textContent = text;
  return button;
}

function span(kind, text) {
  const element = document.createElement("span");
  element.className = kind;
  element.textContent = text;
  return element;
}
