import { spawn } from 'node:child_process'
import { constants } from 'node:os'

/**
 * Runs one of the installed tools on this Node, with our terminal, and gives its exit status.
 * A signal for us is the tool's to act on: we end when it has.
 */
export function runTool(path: string, args: readonly string[], env = process.env): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [`node_modules/${path}`, ...args], {
      stdio: 'inherit',
      env,
    })
    const pass = (signal: NodeJS.Signals) => child.kill(signal)
    const signals: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP']
    for (const signal of signals) process.on(signal, pass)
    child.on('error', () => resolve(1))
    child.on('close', (status, signal) => {
      for (const signal of signals) process.removeListener(signal, pass)
      resolve(status ?? 128 + (signal === null ? 0 : constants.signals[signal]))
    })
  })
}
