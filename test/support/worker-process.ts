import { type ChildProcess, fork } from 'node:child_process'
import { Socket } from 'node:net'
import { MessagePipe, pipeDescriptor } from '../../src/bastion/message-pipe.ts'

/** Forks a program in a worker's place, with the ways that a worker is talked to on. */
export function forkWorker(program: string, args: readonly string[] = []): ChildProcess {
  return fork(program, [...args], { stdio: ['ignore', 2, 'inherit', 'ipc', 'pipe'] })
}

/** In such a program: its end of the pipe. */
export function openWorkerPipe(received: (message: { type: string; id?: number }) => void) {
  return new MessagePipe(new Socket({ fd: pipeDescriptor }), {
    received: (message) => received(message as { type: string; id?: number }),
    failed: () => process.exit(1),
    ended: () => process.exit(1),
  })
}
