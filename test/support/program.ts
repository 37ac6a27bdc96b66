import { spawn } from 'node:child_process'

export interface Ended {
  readonly code: number | null
  readonly stdout: Buffer
  readonly stderr: string
}

/** Runs a program to its end, within a time limit. */
export function runProgram(
  file: string,
  args: readonly string[],
  { input = Buffer.alloc(0), timeoutMs = 120_000, env = process.env } = {},
): Promise<Ended> {
  const { promise, resolve, reject } = Promise.withResolvers<Ended>()
  const child = spawn(file, args, { stdio: 'pipe', timeout: timeoutMs, killSignal: 'SIGKILL', env })
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk))
  // Whoever leaves without reading its input.
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  child.once('error', reject)
  child.once('close', (code) =>
    resolve({ code, stdout: Buffer.concat(out), stderr: Buffer.concat(err).toString() }),
  )
  return promise
}
