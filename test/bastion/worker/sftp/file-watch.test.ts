import { pino } from 'pino'
import { expect, test } from 'vitest'
import { FileWatch } from '../../../../src/bastion/worker/sftp/file-watch.ts'

test('CH-19: whoever says much beside the packets is ended', () => {
  const ends: string[] = []
  const watch = new FileWatch({
    record: async () => {},
    fail: (reason, outcome) => void ends.push(`${outcome}: ${reason.message}`),
    log: pino({ level: 'silent' }),
  })
  expect(watch.aside(Buffer.alloc(64 * 1024))).toBe(true)
  expect(ends).toEqual([])
  expect(watch.aside(Buffer.alloc(1))).toBe(false)
  expect(ends).toEqual([expect.stringMatching(/^sftp-unreadable: .*more beside its packets/)])
  expect(watch.down(Buffer.alloc(0))).toBe(false)
})
