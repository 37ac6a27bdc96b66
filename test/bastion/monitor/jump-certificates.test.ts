import { expect, onTestFinished, test, vi } from 'vitest'
import type { Target } from '../../../src/access/index.ts'
import { JumpCertificates } from '../../../src/bastion/monitor/jump-certificates.ts'
import { systemTenant } from '../../../src/postgres/index.ts'
import { passTime } from '../../support/boot-clock.ts'
import { silent } from '../../support/postgres.ts'

test('attack: a clock that is set back keeps no certificate in use beyond half of its life', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  onTestFinished(() => void vi.useRealTimers())
  let issued = 0
  const issueHost = async () => {
    issued += 1
    return { blob: Buffer.from([issued]) }
  }
  const certificates = new JumpCertificates({ issueHost } as never, silent)
  const get = () =>
    certificates.certificateFor(
      { id: systemTenant, slug: 'acme' },
      { id: 't-1', name: 'web', host: 'web.internal', port: 22 } as Target,
      { publicKey: { blob: Buffer.from('key') } } as never,
    )
  expect(await get()).toEqual(Buffer.from([1]))
  expect(await get()).toEqual(Buffer.from([1]))
  vi.setSystemTime(Date.now() - 24 * 3600_000)
  passTime(12 * 3600_000)
  expect(await get()).toEqual(Buffer.from([2]))
})
