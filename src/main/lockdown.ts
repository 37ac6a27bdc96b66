/** Functions that a worker does not need once its program is loaded, and that lead out of its JavaScript. */
const powers = [
  // Loads native code, which Node's permission model does not cover.
  'dlopen',
  'binding',
  '_linkedBinding',
  'execve',
  // Sends signals to processes of the same user: the main process and other workers.
  'kill',
  '_kill',
  '_debugProcess',
  '_debugEnd',
  'abort',
]

/**
 * Removes from this process the functions that its program no longer needs. It does not stop an
 * attacker who runs machine code here: the user of the process limits that one.
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
