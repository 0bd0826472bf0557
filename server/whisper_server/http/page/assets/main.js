// The page: its controls, and what may be done when. One thing at a time: a file, or talking, or neither.

import { transcribe } from "./file_request.js";
import { keyOf } from "./key_field.js";
import { Player } from "./player.js";
import { copy, download } from "./saving.js";
import { segmentsOf } from "./segments.js";
import { asJson, plainText, subRip, webVtt } from "./subtitles.js";
import { Talking } from "./talking.js";
import { Transcript } from "./transcript.js";

const FORMATS = {
  txt: [plainText, "text/plain"],
  srt: [subRip, "application/x-subrip"],
  vtt: [webVtt, "text/vtt"],
  json: [asJson, "application/json"],
};
const byId = (id) => document.getElementById(id);
const facts = document.body.dataset;
const [file, drop, talk, cancel, status, error, result] = ["file", "drop", "talk", "cancel", "status", "error", "result"].map(byId);
const key = keyOf(byId("key"));
const transcript = new Transcript(byId("transcript"), (seconds) => player.seekAndPlay(seconds));
const player = new Player(byId("player"), transcript);

let work = null; // {cancel()} or {stop()} while something is under way
let answer = null; // the server's, of a file
let name = "transcript";

byId("key-field").hidden = facts.needsKey !== "true";

function choices() {
  return {
    model: facts.model,
    language: byId("language").value,
    perChannel: byId("channels").checked,
    key: key(),
    maxUploadBytes: Number(facts.maxUploadBytes),
  };
}

function say(text) {
  status.textContent = text;
}

function sayError(text) {
  error.textContent = text;
  error.hidden = !text;
}

/** Not `disabled`, which would take the focus away from a person at the keyboard. */
function setBusy(control, busy) {
  control.setAttribute("aria-disabled", String(busy));
}

const isBusy = (control) => control.getAttribute("aria-disabled") === "true";

/** What is under way, or null; the controls follow. */
function setWork(now, { talks = false } = {}) {
  work = now;
  setBusy(file, now !== null);
  setBusy(talk, now !== null && !talks);
  talk.setAttribute("aria-pressed", String(talks));
  talk.textContent = talks ? "Stop" : "Talk";
  cancel.hidden = now === null || talks;
}

function clear() {
  sayError("");
  say("");
  player.unload();
  transcript.clear();
  result.hidden = true;
  answer = null;
}

async function transcribeFile(chosen) {
  if (work !== null) return;
  clear();
  name = chosen.name.replace(/\.[^.]*$/, "") || "transcript";
  const abort = new AbortController();
  setWork({ cancel: () => abort.abort() });
  say(`Transcribing ${chosen.name} …`);
  player.load(chosen);
  try {
    answer = await transcribe(chosen, choices(), abort.signal);
    transcript.show(segmentsOf(answer));
    result.hidden = false;
    player.refresh();
    const words = transcript.segments.length ? "" : " No speech was found.";
    say(`${chosen.name}: ${Number(answer.duration).toFixed(1)} s, ${answer.language}.${words}`);
  } catch (problem) {
    say(problem.name === "AbortError" ? "Cancelled." : "");
    if (problem.name !== "AbortError") sayError(problem.message);
  }
  setWork(null);
}

async function startTalking() {
  clear();
  name = "talk";
  byId("transcript").setAttribute("aria-live", "polite");
  say("Opening the microphone …");
  const talking = new Talking(transcript, { status: say, error: sayError, ended: showRecording });
  setWork({ stop: () => talking.stop() }, { talks: true });
  setBusy(talk, true); // until there is something to stop
  result.hidden = false;
  try {
    await talking.begin(choices());
    if (work !== null) setBusy(talk, false);
  } catch (problem) {
    clear();
    sayError(problem.message);
    setWork(null);
  }
}

function showRecording(recording) {
  const hasText = transcript.segments.some((segment) => segment.text);
  say(hasText || !error.hidden ? "" : "No speech was heard.");
  result.hidden = !hasText;
  if (recording !== null && hasText) player.load(recording);
  setWork(null);
}

function stopTalking() {
  setBusy(talk, true);
  work.stop();
}

file.addEventListener("change", () => {
  if (file.files.length) transcribeFile(file.files[0]);
  file.value = ""; // the same file may be chosen again
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) transcribeFile(event.dataTransfer.files[0]);
  });
}
file.addEventListener("click", (event) => isBusy(file) && event.preventDefault());
talk.addEventListener("click", () => {
  if (!isBusy(talk)) (work === null ? startTalking : stopTalking)();
});
cancel.addEventListener("click", () => work?.cancel());
byId("copy").addEventListener("click", async () => {
  say((await copy(plainText(transcript.segments))) ? "Copied." : "The browser did not let the page copy.");
});
for (const button of document.querySelectorAll("[data-download]")) {
  button.addEventListener("click", () => {
    const [write, type] = FORMATS[button.dataset.download];
    download(write(transcript.segments, answer), `${name}.${button.dataset.download}`, type);
  });
}
