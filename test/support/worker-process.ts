import { type ChildProcess, fork } from 'node:child_process'
import { Socket } from 'node:net'
import { MessagePipe, pipeDescriptors } from '../../src/bastion/wire/message-pipe.ts'

/** Forks a program in a worker's place, with the ways that a worker is talked to on. */
export function forkWorker(program: string, args: readonly string[] = []): ChildProcess {
  return fork(program, [...args], { stdio: ['ignore', 2, 'inherit', 'ipc', 'pipe', 'pipe'] })
}

/** What the main process says. */
export interface Told {
  readonly type: string
  readonly id?: number
  readonly value?: unknown
  readonly session?: string
}

/** In such a program: its end of the pipe. */
export function openWorkerPipe(received: (message: Told) => void) {
  const from = new Socket({ fd: pipeDescriptors.fromMain })
  const to = new Socket({ fd: pipeDescriptors.toMain })
  return new MessagePipe(
    { from, to },
    {
      received: (message) => received(message as Told),
      failed: () => process.exit(1),
      ended: () => process.exit(1),
    },
  )
}
