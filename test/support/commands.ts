import { type ChildProcess, fork } from 'node:child_process'
import { Socket } from 'node:net'
import { join, resolve } from 'node:path'
import type { Answer, Order } from './command-server.ts'
import type { Finished } from './vaultterm.ts'

const limitMs = 120_000
const compiled = resolve(import.meta.dirname, '../../node_modules/.vaultterm-compiled')

interface Server {
  readonly process: ChildProcess
  readonly waiting: Map<number, (answer: Answer) => void>
  stderr: string
}

let server: Server | undefined
let orders = 0

/**
 * Runs one of the operator's commands in a process that is kept for the next one. Its environment is
 * `env`. A command that ends that process, or takes two minutes, has no exit status.
 */
export function runCommand(
  args: readonly string[],
  input: string,
  env: NodeJS.ProcessEnv,
): Promise<Finished> {
  server ??= startServer()
  const { process, waiting } = server
  const id = orders++
  return new Promise((done) => {
    const limit = setTimeout(() => process.kill('SIGKILL'), limitMs)
    waiting.set(id, ({ stdout, stderr, code }) => {
      clearTimeout(limit)
      waiting.delete(id)
      // The tests' own process may end while no command runs.
      if (waiting.size === 0) letGo(process)
      done({ stdout, stderr, code })
    })
    process.ref()
    process.channel?.ref()
    process.send({ id, args, input, env } satisfies Order)
  })
}

function startServer(): Server {
  const child = fork(join(import.meta.dirname, 'command-server.ts'), {
    execArgv: ['--disable-sigusr1'],
    env: { ...process.env, NODE_COMPILE_CACHE: compiled },
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
  })
  const started: Server = { process: child, waiting: new Map(), stderr: '' }
  child.stderr?.on('data', (chunk: Buffer) => {
    started.stderr += chunk.toString()
  })
  child.on('message', (answer: Answer) => started.waiting.get(answer.id)?.(answer))
  child.once('close', () => {
    if (server === started) server = undefined
    for (const [id, answer] of started.waiting) {
      answer({ id, stdout: '', stderr: started.stderr, code: null })
    }
  })
  return started
}

function letGo(child: ChildProcess): void {
  child.unref()
  child.channel?.unref()
  if (child.stderr instanceof Socket) child.stderr.unref()
}
