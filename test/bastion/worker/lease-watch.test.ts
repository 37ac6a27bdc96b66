import { expect, test, vi } from 'vitest'
import { LeaseWatch } from '../../../src/bastion/worker/lease-watch.ts'
import { bootClockMs } from '../../../src/boot-clock.ts'

function watch(isLate = true) {
  const on = { lapsed: vi.fn(), isLate: () => isLate, stop: vi.fn() }
  return { ...on, lease: new LeaseWatch(on) }
}

const times = (serveMs: number, stopMs: number) => ({
  serveUntilMs: bootClockMs() + serveMs,
  stopAtMs: bootClockMs() + stopMs,
})

test('ends sessions when the lease runs out, once, and again after a renewal', async () => {
  const { lease, lapsed, stop } = watch()
  lease.renew(times(300, 600_000))
  await vi.waitFor(() => expect(lapsed).toHaveBeenCalledOnce(), { timeout: 30_000 })
  lease.renew(times(-1, 600_000))
  expect(lapsed).toHaveBeenCalledOnce()
  lease.renew(times(600_000, 600_000))
  lease.renew(times(-1, 600_000))
  expect(lapsed).toHaveBeenCalledTimes(2)
  lease.check()
  expect(stop).not.toHaveBeenCalled()
})

test('attack: carries nothing after the lease, before any timer has run', () => {
  const { lease, stop } = watch()
  lease.renew(times(600_000, 600_000))
  lease.check()
  expect(stop).not.toHaveBeenCalled()
  lease.renew(times(-2000, -1000))
  stop.mockClear()
  lease.check()
  expect(stop).toHaveBeenCalledOnce()
})

test('ends the process that has not ended its sessions, and no other', async () => {
  const [late, done] = [watch(true), watch(false)]
  for (const { lease } of [late, done]) lease.renew(times(100, 300))
  await vi.waitFor(() => expect(late.stop).toHaveBeenCalled(), { timeout: 30_000 })
  await vi.waitFor(() => expect(done.lapsed).toHaveBeenCalledOnce(), 30_000)
  expect(done.stop).not.toHaveBeenCalled()
})

test('ends nothing where there is no lease', () => {
  const { lease, lapsed, stop } = watch()
  lease.renew(undefined)
  lease.check()
  expect(lapsed).not.toHaveBeenCalled()
  expect(stop).not.toHaveBeenCalled()
})
