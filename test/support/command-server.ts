import { Readable, Writable } from 'node:stream'
import { runCommand } from '../../src/main/command.ts'

/**
 * A program that runs the operator's commands that its parent sends, each as `bin/vaultterm` would, and
 * answers with what it printed. Loading the product takes most of a short command's time; here it is
 * loaded once for all commands of a test file.
 */

/** One command line, as it is sent. */
export interface Order {
  readonly id: number
  readonly args: readonly string[]
  readonly env: NodeJS.ProcessEnv
  readonly input: string
}

export interface Answer {
  readonly id: number
  readonly stdout: string
  readonly stderr: string
  readonly code: number | null
}

process.on('message', async ({ id, args, env, input }: Order) => {
  const stdout = new Kept()
  const stderr = new Kept()
  const terminal = { stdin: Readable.from([Buffer.from(input)]), stdout, stderr, env }
  const code = await runCommand(args, terminal, { write: (line) => void stderr.write(line) })
  process.send?.({ id, stdout: stdout.text, stderr: stderr.text, code } satisfies Answer)
})
process.on('disconnect', () => process.exit())

/** A stream that keeps what is written to it. */
class Kept extends Writable {
  readonly #chunks: Buffer[] = []

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#chunks.push(chunk)
    done()
  }

  get text(): string {
    return Buffer.concat(this.#chunks).toString()
  }
}
