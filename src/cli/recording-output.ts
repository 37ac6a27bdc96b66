import { escapeJson } from './printable.ts'
import { type Stream, write } from './terminal.ts'

/** Prints a recording: byte for byte, but on a terminal without the characters that it would obey. */
export async function printRecording(
  stdout: Stream,
  recording: AsyncIterable<Uint8Array>,
): Promise<void> {
  const decoder = new TextDecoder()
  for await (const chunk of recording) {
    const isShown = stdout.isTTY === true
    await write(stdout, isShown ? escapeJson(decoder.decode(chunk, { stream: true })) : chunk)
  }
}
