// Stream a continuation while the event loop goes on: a server would answer other requests meanwhile. It ends when the time is up.
//
//   npm install && node stream.js MODEL.gguf "Once upon a time" 500          at most 500 milliseconds

import { Model, OribiError } from './oribi.js';

async function main([path, text, milliseconds]) {
  const model = new Model(path);
  const session = model.session();
  const prompt = model.tokenizer.encode(text);
  let nPieces = 0;
  let nTurns = 0; // of the event loop
  const heart = setInterval(() => nTurns++, 1);
  const options = { temp: 0, ban_end_of_generation: true, signal: AbortSignal.timeout(Number(milliseconds)) };
  try {
    for await (const piece of session.generate(session.newSequence(), prompt, options)) {
      process.stdout.write(piece.text);
      nPieces++;
    }
    console.log(`\nended after ${nPieces} pieces; the event loop turned ${nTurns} times`);
  } catch (error) {
    if (!error.isCancelled) throw error;
    console.log(`\ncancelled after ${nPieces} pieces; the event loop turned ${nTurns} times`);
  } finally {
    clearInterval(heart);
  }
}

const args = process.argv.slice(2);
if (args.length !== 3) {
  console.error('usage: stream.js MODEL.gguf PROMPT MILLISECONDS');
  process.exit(2);
}
try {
  await main(args);
} catch (error) {
  if (!(error instanceof OribiError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
