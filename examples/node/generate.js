// Continue a prompt, and print the text piece by piece.
//
//   npm install && node generate.js MODEL.gguf "The capital of France is"

import { Model, OribiError } from './oribi.js';

function main([path, text]) {
  const model = new Model(path);
  const session = model.session();
  const prompt = model.tokenizer.encode(text);
  for (const piece of session.generate(session.newSequence(), prompt, { temp: 0, max_tokens: 24 })) {
    process.stdout.write(piece.text);
  }
  process.stdout.write('\n');
}

const args = process.argv.slice(2);
if (args.length !== 2) {
  console.error('usage: generate.js MODEL.gguf PROMPT');
  process.exit(2);
}
try {
  main(args);
} catch (error) {
  if (!(error instanceof OribiError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
