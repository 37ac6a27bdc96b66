import { expect, test } from 'vitest'
import {
  commandLine,
  configBlock,
  jumpBlock,
  jumpLine,
  rsyncLine,
  scpLine,
  sftpLine,
  shellLine,
} from '../../web/portal/connect-lines.ts'
import { ReplayClock } from '../../web/portal/replay-clock.ts'
import { formatBytes, formatClock, formatDuration, formatMoment } from '../../web/shared/moments.ts'
import { describeEnding } from '../../web/shared/session-words.ts'
import { visible } from '../../web/shared/visible.ts'

/** What the pages write: lines for a terminal, times, and words. */
const bastion = { host: 'bastion.example', port: 2222 }
const place = { tenant: 'acme', target: 'db1' }

test('the lines are those that OpenSSH and rsync take', () => {
  expect(shellLine(bastion, place)).toBe('ssh -p 2222 acme+db1@bastion.example')
  expect(commandLine(bastion, place)).toBe('ssh -p 2222 acme+db1@bastion.example uptime')
  expect(jumpLine(bastion, place)).toBe('ssh -J acme@bastion.example:2222 db1.acme')
  expect(scpLine(bastion, place)).toBe('scp -P 2222 FILE acme+db1@bastion.example:')
  expect(sftpLine(bastion, place)).toBe('sftp -P 2222 acme+db1@bastion.example')
  expect(rsyncLine(bastion, place)).toBe(
    "rsync -av -e 'ssh -p 2222' DIRECTORY/ acme+db1@bastion.example:DIRECTORY/",
  )
  expect(configBlock(bastion, place)).toBe(
    'Host db1\n  HostName bastion.example\n  Port 2222\n  User acme+db1',
  )
  expect(jumpBlock(bastion, place)).toBe('Host db1.acme\n  ProxyJump acme@bastion.example:2222')
})

test('port 22 is not said, and an IPv6 address is in brackets where a colon follows', () => {
  const plain = { host: '2001:db8::1', port: 22 }
  expect(shellLine(plain, { tenant: 'acme' })).toBe('ssh acme@2001:db8::1')
  expect(jumpLine(plain, place)).toBe('ssh -J acme@[2001:db8::1] db1.acme')
  expect(scpLine(plain, place)).toBe('scp FILE acme+db1@[2001:db8::1]:')
})

const zone = 'Europe/Zurich'
test.each([
  ['2026-11-29T13:32:08Z', 'today 14:32'],
  ['2026-11-28T22:10:00Z', 'yesterday 23:10'],
  // Midnight is the viewer's own.
  ['2026-11-28T23:30:00Z', 'today 00:30'],
  ['2026-11-27T15:48:10Z', 'Fri 27 Nov, 16:48'],
  ['2026-10-20T08:12:00Z', '20 Oct, 10:12'],
  ['2025-11-20T08:12:00Z', '20 Nov 2025, 09:12'],
])('%s is %s', (at, told) => {
  expect(formatMoment(new Date(at), new Date('2026-11-29T13:41:00Z'), zone)).toBe(told)
})

test('durations, clocks and sizes have their units', () => {
  expect([2000, 189_000, 28_800_000].map(formatDuration)).toEqual(['2 s', '3 min 9 s', '8 h 0 min'])
  expect([601_000, 3_723_000].map(formatClock)).toEqual(['10:01', '1:02:03'])
  expect([312, 86_016, 3_650_722_201].map(formatBytes)).toEqual(['312 B', '84.0 KiB', '3.4 GiB'])
})

const ended = { live: false, reason: 'ended', killReason: null, exitStatus: null, exitSignal: null }
test('a code never stands alone', () => {
  expect(describeEnding({ ...ended, exitStatus: 127 })).toEqual({
    shape: 'bad',
    word: 'exit 127',
    note: 'there is no such command',
  })
  expect(describeEnding({ ...ended, exitStatus: 0 }).shape).toBe('good')
  expect(describeEnding({ ...ended, killReason: 'a grant was removed' })).toMatchObject({
    word: 'ended early',
    note: 'a grant was removed',
  })
  for (const reason of ['constructor', 'ERR_NEW', 'client-gone'])
    expect(describeEnding({ ...ended, reason }).note).toBeTruthy()
})

test('attack: text from outside shows its controls and does not obey them', () => {
  expect(visible('a\x1b[31m\r\n\x7f\u009b')).toBe('a␛[31m␍␊␡\\u009b')
  expect(visible('\u202etxt.exe\u2066\u200b\ufeff')).toBe('\\u202etxt.exe\\u2066\\u200b\\ufeff')
  expect(visible('grüße 日本 👨‍👩')).toBe('grüße 日本 👨\\u200d👩')
})

test('a time of the session is the same place in a replay with and without its pauses', () => {
  const clock = new ReplayClock()
  // Ten minutes of silence, of which the replay shows two seconds.
  for (const [replay, session] of [
    [1000, 1000],
    [3000, 601_000],
    [4000, 602_000],
  ] as const)
    clock.add(replay, session)
  expect([0, 1000, 601_000, 601_500, 900_000].map((at) => clock.toReplay(at))).toEqual([
    0, 1000, 3000, 3500, 4000,
  ])
  expect(clock.toSession(3500)).toBe(601_500)
  expect(clock.toSession(2000)).toBe(301_000)
  expect([clock.sessionEnd, clock.replayEnd]).toEqual([602_000, 4000])
})
