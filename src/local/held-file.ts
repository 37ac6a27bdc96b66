import { spawn } from 'node:child_process'
import { close, constants, open } from 'node:fs'
import { promisify } from 'node:util'

const openFile = promisify(open)
const closeFile = promisify(close)
const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW

/**
 * Holds a file for this process by flock(2), and makes it where it is missing. The system releases it
 * when this process ends, however it ends. It knows the holder in every container and PID namespace of
 * this machine, where a process id means nothing.
 *
 * `busy`: another process holds it. `unsupported`: there is no program flock(1) here, or the file system
 * knows no locks.
 */
export async function holdFile(
  path: string,
): Promise<(() => Promise<void>) | 'busy' | 'unsupported'> {
  // No FileHandle: that would be closed when nothing refers to it.
  const descriptor = await openFile(path, flags, 0o600)
  const code = await lock(descriptor)
  if (code === 0) return () => closeFile(descriptor)
  await closeFile(descriptor)
  return code === 1 ? 'busy' : 'unsupported'
}

/**
 * Node has no call for it. The lock belongs to the open file, which the child shares with us: it stays
 * when the child has ended.
 */
function lock(descriptor: number): Promise<number | null> {
  const child = spawn('flock', ['-n', '3'], { stdio: ['ignore', 'ignore', 'ignore', descriptor] })
  return new Promise((resolve) => {
    child.once('error', () => resolve(null))
    child.once('exit', resolve)
  })
}
