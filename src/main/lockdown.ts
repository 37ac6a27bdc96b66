/** What a worker never does again once its program is loaded: they lead out of its JavaScript. */
const powers = [
  // Loads native code, of which permissions know nothing, from wherever a file can be written.
  'dlopen',
  'binding',
  '_linkedBinding',
  'execve',
  // Signals go to whatever has the same user: the main process, and other workers.
  'kill',
  '_kill',
  '_debugProcess',
  '_debugEnd',
  'abort',
]

/**
 * Takes away from this process what its program does not need any more. It holds nobody who runs
 * machine code of their own here: for those there is the user that the process runs as.
 */
export function lockDown(): void {
  for (const power of powers) {
    Reflect.deleteProperty(process, power)
    if (Reflect.get(process, power) === undefined) continue
    Reflect.defineProperty(process, power, {
      value: undefined,
      configurable: false,
      writable: false,
    })
  }
}
