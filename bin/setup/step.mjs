import { spawn } from 'node:child_process'
import { constants } from 'node:os'

/** Prints the step while it runs, on stderr, and its duration. */
export async function step(what, work) {
  const started = performance.now()
  process.stderr.write(`vaultterm: ${what}… `)
  const result = await work()
  process.stderr.write(`done in ${((performance.now() - started) / 1000).toFixed(1)} s\n`)
  return result
}

/** One line on stderr. */
export function say(line) {
  process.stderr.write(`vaultterm: ${line}\n`)
}

/** Ends set-up with one line that names the remedy. */
export function fail(line) {
  say(`${line} (ERR_SETUP)`)
  process.exit(1)
}

const running = new Set()
let onStart = () => undefined

/** Has every program that run() starts from now on made known by its process id. */
export function announceStarts(listener) {
  onStart = listener
}

/** Runs a program to its end, with its output kept. It is ended when we are, unless by kill -9. */
export function run(file, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(file, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...options,
      // A process group of its own, so that its children end with it.
      detached: true,
    })
    running.add(child)
    if (child.pid !== undefined) onStart(child.pid)
    let output = ''
    const keep = (chunk) => {
      output = (output + chunk).slice(-20_000)
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    child.on('error', (err) => {
      running.delete(child)
      resolve({ status: 1, output: String(err.message) })
    })
    child.on('close', (status) => {
      running.delete(child)
      resolve({ status: status ?? 1, output: output.trim() })
    })
  })
}

function endAll() {
  for (const child of running)
    try {
      process.kill(-child.pid, 'SIGKILL')
    } catch {
      // It ended by itself.
    }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.on(signal, () => {
    endAll()
    process.stderr.write('\nvaultterm: set-up was interrupted: run it again to go on\n')
    process.exit(128 + constants.signals[signal])
  })
process.on('exit', endAll)

// The launcher is a shell that waits for us, and passes no signal on: see when it is gone.
const parent = process.ppid
setInterval(() => {
  if (process.ppid !== parent) process.exit(1)
}, 300).unref()
