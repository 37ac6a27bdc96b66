import { syncBuiltinESMExports } from 'node:module'
import os from 'node:os'
import { onTestFinished } from 'vitest'

const { uptime } = os
let aheadMs = 0

/** Lets time pass on the clock of the machine, and no timer run; until the end of the test. */
export function passTime(ms: number): void {
  if (aheadMs === 0) onTestFinished(() => set(0))
  set(aheadMs + ms)
}

function set(ms: number): void {
  aheadMs = ms
  os.uptime = () => uptime() + aheadMs / 1000
  syncBuiltinESMExports()
}
