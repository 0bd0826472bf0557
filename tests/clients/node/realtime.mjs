// A realtime session of OpenAI's Node client, with a client secret as browsers have it; prints its events as one JSON array.
// Usage: node --experimental-websocket realtime.mjs BASE_URL SOUND.pcm     (16 bits, mono, 24 kHz)
import fs from 'node:fs';
import OpenAI from 'openai';
import { OpenAIRealtimeWebSocket } from 'openai/realtime/websocket';

const [baseURL, path] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: 'unused', maxRetries: 0 });
const secret = await client.realtime.clientSecrets.create({
  session: { type: 'transcription', audio: { input: { transcription: { language: 'en' } } } },
});
const browser = new OpenAI({ baseURL, apiKey: secret.value });
// The client always asks for TLS, which an Ingress has.
const onURL = (url) => (url.protocol = 'ws:');
const session = new OpenAIRealtimeWebSocket({ model: 'whisper-1', onURL }, browser);
const sound = fs.readFileSync(path);
const events = [];

const end = (code) => {
  console.log(JSON.stringify(events));
  process.exit(code);
};
session.on('event', (event) => events.push(event));
session.on('error', (error) => {
  console.error(error);
  end(1);
});
session.on('conversation.item.input_audio_transcription.completed', () => end(0));
session.on('session.created', () => {
  for (let first = 0; first < sound.length; first += 9600) {
    session.send({
      type: 'input_audio_buffer.append',
      audio: sound.subarray(first, first + 9600).toString('base64'),
    });
  }
});
