// Every call that OpenAI's Node client can make to the audio routes; prints what came of each as one JSON object.
// Usage: node calls.mjs BASE_URL CLIP.wav
import fs from 'node:fs';
import OpenAI from 'openai';

const [baseURL, clip] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: 'unused', maxRetries: 0 });
const { transcriptions, translations } = client.audio;
const file = () => fs.createReadStream(clip);
const ask = (fields) => transcriptions.create({ file: file(), model: 'whisper-1', ...fields });

async function stream(fields) {
  const events = [];
  for await (const event of await ask({ stream: true, ...fields })) events.push(event);
  return events;
}

const calls = {
  plain: () => ask({}),
  language: () => ask({ language: 'en' }),
  languages: () => ask({ languages: ['en', 'de'] }),
  keywords: () => ask({ keywords: ['train', 'city'] }),
  prompt: () => ask({ prompt: 'A timetable.' }),
  temperature: () => ask({ temperature: 0.2 }),
  text: () => ask({ response_format: 'text' }),
  srt: () => ask({ response_format: 'srt' }),
  vtt: () => ask({ response_format: 'vtt' }),
  verbose_json: () => ask({ response_format: 'verbose_json' }),
  words: () => ask({ response_format: 'verbose_json', timestamp_granularities: ['word', 'segment'] }),
  logprobs: () => ask({ model: 'gpt-4o-transcribe', include: ['logprobs'] }),
  chunking_auto: () => ask({ chunking_strategy: 'auto' }),
  chunking_vad: () =>
    ask({ chunking_strategy: { type: 'server_vad', threshold: 0.4, prefix_padding_ms: 200, silence_duration_ms: 300 } }),
  stream: () => stream({}),
  stream_logprobs: () => stream({ model: 'gpt-4o-mini-transcribe', include: ['logprobs'] }),
  stream_off: () => ask({ stream: false }),
  translation: () =>
    translations.create({ file: file(), model: 'whisper-1', prompt: 'Trains.', response_format: 'verbose_json', temperature: 0 }),
  models: async () => (await client.models.list()).data.map((model) => model.id),
  model: () => client.models.retrieve('whisper-1'),
  diarized_json: () => ask({ model: 'gpt-4o-transcribe-diarize', response_format: 'diarized_json', chunking_strategy: 'auto' }),
  stream_speakers: () =>
    stream({ model: 'gpt-4o-transcribe-diarize', response_format: 'diarized_json', chunking_strategy: 'auto' }),
  known_speaker: () =>
    ask({
      model: 'gpt-4o-transcribe-diarize',
      response_format: 'diarized_json',
      chunking_strategy: 'auto',
      known_speaker_names: ['Ann'],
      known_speaker_references: [`data:audio/wav;base64,${fs.readFileSync(clip).toString('base64')}`],
    }),
  known_speaker_names: () => ask({ known_speaker_names: ['Ann', 'Bob'] }),
  known_speaker_references: () => ask({ known_speaker_references: ['data:audio/wav;base64,AAAA'] }),
  unknown_model: () => ask({ model: 'no-such-model' }),
  bad_temperature: () => ask({ temperature: 3 }),
  not_audio: () => transcriptions.create({ file: new File(['hello'], 'a.wav'), model: 'whisper-1' }),
};

const outcome = async (call) => {
  try {
    return { value: await call() };
  } catch (error) {
    return { error: { name: error.constructor.name, status: error.status, code: error.code, param: error.param } };
  }
};

const results = {};
await Promise.all(Object.entries(calls).map(async ([name, call]) => (results[name] = await outcome(call))));
console.log(JSON.stringify(results));
