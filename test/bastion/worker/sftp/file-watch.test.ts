import { setImmediate as turn } from 'node:timers/promises'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import type { FileNotes, FileOperation } from '../../../../src/bastion/wire/calls.ts'
import { FileBudget, KeptFiles } from '../../../../src/bastion/worker/sftp/file-budget.ts'
import { FileWatch } from '../../../../src/bastion/worker/sftp/file-watch.ts'
import { heldBytes } from '../../../support/heap.ts'
import {
  close,
  data,
  handle,
  init,
  open,
  read,
  remove,
  status,
  version,
  write,
} from './sftp-packets.ts'

const somebody = { tenant: 't', user: 'u' }
interface StageOptions {
  readonly runningMs?: number
  readonly budget?: FileBudget
  readonly owner?: typeof somebody
}

/** A watch between a client and a target, with a main process that answers when it is told to. */
class Stage {
  readonly ends: string[] = []
  readonly notes: FileNotes[] = []
  readonly records: (readonly FileOperation[])[] = []
  /** Bytes that have reached each side. */
  readonly target: Buffer[] = []
  readonly client: Buffer[] = []
  #noted: (() => void)[] = []
  #recorded: { done: () => void; failed: (err: unknown) => void }[] = []
  readonly watch: FileWatch
  readonly toTarget = (bytes: Buffer) => void this.target.push(bytes)
  readonly toClient = (bytes: Buffer) => void this.client.push(bytes)

  constructor({ runningMs, budget = new FileBudget(), owner = somebody }: StageOptions = {}) {
    this.watch = new FileWatch({
      note: (notes) => {
        this.notes.push(notes)
        return new Promise((done) => this.#noted.push(done))
      },
      record: (operations) => {
        this.records.push(operations)
        return new Promise((done, failed) => this.#recorded.push({ done, failed }))
      },
      fail: (reason, outcome) => void this.ends.push(`${outcome}: ${reason.message}`),
      kept: new KeptFiles(budget, owner),
      log: pino({ level: 'silent' }),
      ...(runningMs !== undefined && { runningMs }),
    })
  }

  up(...packets: Buffer[]): Promise<void> {
    const bytes = Buffer.concat(packets)
    this.watch.up(bytes, this.toTarget)
    return turn()
  }

  down(...packets: Buffer[]): Promise<void> {
    const bytes = Buffer.concat(packets)
    this.watch.down(bytes, this.toClient)
    return turn()
  }

  async noted(): Promise<void> {
    for (const done of this.#noted.splice(0)) done()
    await turn()
  }

  async recorded(): Promise<void> {
    for (const { done } of this.#recorded.splice(0)) done()
    await turn()
  }

  async unlogged(): Promise<void> {
    for (const { failed } of this.#recorded.splice(0)) failed(new Error('the log is away'))
    await turn()
  }
}

async function started(options?: StageOptions): Promise<Stage> {
  const stage = new Stage(options)
  await stage.up(init())
  await stage.down(version())
  stage.target.length = 0
  stage.client.length = 0
  return stage
}

test('a request waits until the main process knows of it', async () => {
  const stage = await started()
  await stage.up(remove(1, '/a'))
  expect(stage.target).toEqual([])
  expect(stage.notes).toMatchObject([{ asked: [{ op: 'remove', path: Buffer.from('/a') }] }])
  // The next one does not overtake it.
  await stage.up(write(2, 'h', 0, Buffer.alloc(1)).subarray(0, 8))
  expect(stage.target).toEqual([])
  await stage.noted()
  expect(Buffer.concat(stage.target).subarray(0, 14)).toEqual(remove(1, '/a').subarray(0, 14))
})

test('an answer waits until its operation is on the log, and those behind it wait with it', async () => {
  const stage = await started()
  await stage.up(remove(1, '/a'), remove(2, '/b'))
  await stage.noted()
  await stage.down(status(1))
  await stage.down(status(2, 2))
  expect(stage.client).toEqual([])
  await stage.recorded()
  // Only the first of them was in the write that has ended.
  expect(stage.client).toEqual([status(1)])
  expect(stage.records).toHaveLength(2)
  await stage.recorded()
  expect(stage.client).toEqual([status(1), status(2, 2)])
})

test('attack: a client that outruns the log is held back, and nothing is dropped', async () => {
  const stage = await started()
  const hasReached = (name: string) => stage.target.some((bytes) => bytes.includes(name))
  let sent = 0
  // Each is done by the target, and the log takes none of them.
  for (; sent < 3000; sent++) {
    await stage.up(remove(sent, `/f${sent}.`))
    await stage.noted()
    if (!hasReached(`/f${sent}.`)) break
    await stage.down(status(sent))
    stage.target.length = 0
  }
  expect(sent).toBeLessThan(2000)
  expect(stage.client).toEqual([])
  await expect
    .poll(async () => {
      await stage.recorded()
      await stage.noted()
      return hasReached(`/f${sent}.`)
    })
    .toBe(true)
  await stage.down(status(sent))
  await expect
    .poll(async () => {
      await stage.recorded()
      return stage.client.length
    })
    .toBe(sent + 1)
  expect(stage.records.flat()).toHaveLength(sent + 1)
  expect(stage.ends).toEqual([])
})

test('one write takes all operations that came while another was on its way', async () => {
  const stage = await started()
  const ids = Array.from({ length: 90 }, (_, at) => at)
  await stage.up(...ids.map((id) => remove(id, `/f${id}`)))
  await stage.noted()
  for (const id of ids) void stage.down(status(id))
  await turn()
  await stage.recorded()
  await stage.recorded()
  expect(stage.records.length).toBeLessThanOrEqual(2)
  expect(stage.records.flat()).toHaveLength(90)
  expect(stage.client).toHaveLength(90)
})

test('attack: the beginning of an answer tells nothing before the operation is on the log', async () => {
  const stage = await started()
  await stage.up(remove(1, '/a'))
  await stage.noted()
  const answer = status(1)
  await stage.down(answer.subarray(0, -1))
  expect(stage.client).toEqual([])
  await stage.down(answer.subarray(-1))
  expect(stage.client).toEqual([])
  await stage.recorded()
  expect(Buffer.concat(stage.client)).toEqual(answer)
})

test('nothing goes on when the log cannot be written', async () => {
  const stage = await started()
  await stage.up(remove(1, '/a'))
  await stage.noted()
  await stage.down(status(1))
  await stage.unlogged()
  expect(stage.ends).toEqual([expect.stringMatching(/^audit-failed: /)])
  await stage.up(remove(2, '/b'))
  await stage.down(status(2))
  expect(stage.client).toEqual([])
  expect(Buffer.concat(stage.target)).toEqual(remove(1, '/a'))
})

test('attack: a client that never reads its answers cannot have more done than the log holds', async () => {
  const stage = await started()
  for (let id = 0; id < 20_000; id += 100) {
    await stage.up(...Array.from({ length: 100 }, (_, at) => remove(id + at, '/f')))
    await stage.noted()
  }
  const sent = () =>
    stage.target.reduce((sum, { length }) => sum + length, 0) / remove(0, '/f').length
  expect(sent()).toBeGreaterThanOrEqual(1024)
  expect(sent()).toBeLessThanOrEqual(1200)
  // It goes on with the answers, and none of it is lost.
  for (let id = 0; id < 20_000; id++) {
    void stage.down(status(id))
    if (id % 50 === 0) await stage.noted().then(() => stage.recorded())
  }
  for (let rounds = 0; rounds < 300 && stage.client.length < 20_000; rounds++) {
    await stage.noted()
    await stage.recorded()
  }
  expect(sent()).toBe(20_000)
  expect(stage.records.flat()).toHaveLength(20_000)
})

test('attack: a client that puts each request into a packet of its own has few messages made of them', async () => {
  const stage = await started()
  const requests = Array.from({ length: 250 }, (_, id) => remove(id, `/f${id}`))
  for (const request of requests) await stage.up(request)
  await stage.noted()
  await stage.noted()
  expect(stage.notes.length).toBeLessThanOrEqual(2)
  const numbers = stage.notes.flatMap(({ asked }) => asked.map(({ number }) => number))
  expect(numbers).toEqual(requests.map((_, number) => number))
  expect(Buffer.concat(stage.target).equals(Buffer.concat(requests))).toBe(true)
})

test('what a session that ends has not told the main process, it never does', async () => {
  const stage = await started()
  await stage.up(remove(1, '/a'))
  await stage.up(remove(2, '/b'))
  const end = stage.watch.end()
  await stage.noted()
  await stage.recorded()
  await end
  expect(stage.notes.flatMap(({ asked }) => asked)).toHaveLength(1)
  expect(stage.records.flat().map(({ op, state }) => `${op} ${state}`)).toEqual([
    'remove interrupted',
    'remove interrupted',
  ])
  expect(stage.target).toEqual([])
})

test('offers the target version 3 to a client that has later ones, in pieces of any size', async () => {
  for (const pieceBytes of [1, 2, 5, 8, 100]) {
    const stage = new Stage()
    const packet = init(6)
    for (let at = 0; at < packet.length; at += pieceBytes) {
      await stage.up(Buffer.from(packet.subarray(at, at + pieceBytes)))
    }
    expect(Buffer.concat(stage.target)).toEqual(init(3))
    await stage.down(version(3))
    expect(stage.ends).toEqual([])
  }
})

test('transfers are told while they go: to the main process, and to the log', async () => {
  const stage = await started({ runningMs: 1 })
  await stage.up(open(1, '/a', 2))
  await stage.noted()
  await stage.down(handle(1, 'h'))
  await stage.recorded()
  const deadline = performance.now() + 60_000
  const isTold = () =>
    stage.notes.some(({ moved }) => moved.some(({ written }) => (written ?? 0) > 0)) &&
    stage.records.flat().some(({ state, op }) => state === 'running' && op === 'write')
  for (let id = 2; !isTold() && performance.now() < deadline; id++) {
    await stage.up(write(id, 'h', id * 10, Buffer.alloc(10)))
    await stage.down(status(id))
    await stage.noted()
    await stage.recorded()
    await new Promise((done) => setTimeout(done, 5))
  }
  expect(isTold()).toBe(true)
  expect(stage.records.flat().find(({ state }) => state === 'running')).toMatchObject({
    op: 'write',
    number: 0,
    path: Buffer.from('/a'),
  })
})

test('CH-19: a target that says much beside the packets is ended', async () => {
  const stage = await started()
  expect(stage.watch.aside(Buffer.alloc(64 * 1024))).toBe(true)
  expect(stage.ends).toEqual([])
  expect(stage.watch.aside(Buffer.alloc(1))).toBe(false)
  expect(stage.ends).toEqual([expect.stringMatching(/^sftp-unreadable: .*too much data on stderr/)])
  await stage.down(status(1))
  expect(stage.client).toEqual([])
})

describe('the memory of the main process', () => {
  const longPath = (id: number) => `/${id}`.padEnd(4096, 'x')

  /** Opens files one after the other until the session ends, or there are so many. Returns how many are open. */
  async function openFiles(stage: Stage, count: number): Promise<number> {
    for (let id = 1; id <= count; id++) {
      await stage.up(open(id, longPath(id)))
      if (stage.ends.length > 0) return id - 1
      await stage.noted()
      await stage.down(handle(id, `h${id}`))
      await stage.recorded()
    }
    return count
  }

  test('attack: a user’s sessions do not fill it together with files that they leave open', async () => {
    const budget = new FileBudget({ userMax: 256 * 1024, workerMax: 1024 ** 2 })
    const stages = [await started({ budget }), await started({ budget }), await started({ budget })]
    let opened = 0
    for (const stage of stages) opened += await openFiles(stage, 30)
    expect(opened).toBe(51)
    expect(stages.map(({ ends }) => ends.length)).toEqual([0, 1, 1])
    expect(stages[1]?.ends[0]).toMatch(/^file-limit: .*your SFTP sessions have too many open files/)
    // A colleague is not concerned.
    const colleague = await started({ budget, owner: { tenant: 't', user: 'v' } })
    expect(await openFiles(colleague, 30)).toBe(30)
  })

  test('attack: a request that is refused for it is on the log, and does not reach the target', async () => {
    const budget = new FileBudget({ userMax: 10_000, workerMax: 1024 ** 2 })
    const stage = await started({ budget })
    await stage.up(remove(1, longPath(1)), remove(2, longPath(2)))
    expect([stage.ends.length, stage.target, stage.notes]).toEqual([1, [], []])
    void stage.watch.end()
    await stage.recorded()
    expect(stage.records.flat().map(({ op, state }) => `${op} ${state}`)).toEqual([
      'remove interrupted',
      'remove interrupted',
    ])
  })

  test('attack: requests that wait for the log count, also when their answers have come', async () => {
    const budget = new FileBudget({ userMax: 16_000, workerMax: 1024 ** 2 })
    const stage = await started({ budget })
    for (let id = 1; id <= 4; id++) {
      await stage.up(remove(id, longPath(id)))
      await stage.noted()
      await stage.down(status(id))
    }
    expect(stage.ends).toHaveLength(1)
  })

  test('is free again when files are closed, and when a session is over', async () => {
    const budget = new FileBudget({ userMax: 16_000, workerMax: 1024 ** 2 })
    const stage = await started({ budget })
    for (let id = 1; id < 5000; id += 2) {
      await stage.up(open(id, longPath(id)))
      await stage.noted()
      await stage.down(handle(id, 'h'))
      await stage.recorded()
      await stage.up(close(id + 1, 'h'))
      await stage.down(status(id + 1))
      await stage.recorded()
    }
    expect([stage.ends, budget.held]).toEqual([[], 0])
    await openFiles(stage, 2)
    expect(budget.held).toBeGreaterThan(8192)
    stage.watch.release()
    expect(budget.held).toBe(0)
  })

  test('attack: the users of one tenant leave some of it for other tenants', () => {
    const budget = new FileBudget({ userMax: 10, workerMax: 90 })
    const fill = (tenant: string) => {
      let users = 0
      try {
        for (; users < 100; users++) budget.take({ tenant, user: String(users) }, 10)
      } catch (err) {
        expect(err).toMatchObject({ code: 'ERR_FILE_LIMIT' })
      }
      return users
    }
    expect([fill('many'), fill('few')]).toEqual([6, 2])
  })
})

test('attack: single bytes of a client and of a target that wait cost little more than their bytes', async () => {
  const stage = await started()
  await stage.up(open(1, '/f'))
  await stage.noted()
  await stage.down(handle(1, 'h'))
  await stage.recorded()
  await stage.up(read(2, 'h', 0, 250_000), remove(9, '/b'))
  await stage.noted()
  // Nothing of the target goes on before this is on the log.
  await stage.down(status(9))
  // Nothing of the client goes on before the main process knows of the removal.
  await stage.up(remove(3, '/a'))
  stage.target.length = 0
  stage.client.length = 0
  const request = write(4, 'h', 0, Buffer.alloc(200_000, 7))
  const before = heldBytes()
  for (const byte of request) stage.watch.up(Buffer.of(byte), stage.toTarget)
  const answer = data(2, Buffer.alloc(250_000, 8))
  for (const byte of answer.subarray(0, -1)) stage.watch.down(Buffer.of(byte), stage.toClient)
  expect(heldBytes() - before).toBeLessThan(30_000_000)
  await stage.noted()
  expect(stage.client).toEqual([])
  await stage.down(answer.subarray(-1))
  expect(stage.client).toEqual([])
  await stage.recorded()
  expect(Buffer.concat(stage.client).equals(Buffer.concat([status(9), answer]))).toBe(true)
  expect(Buffer.concat(stage.target).subarray(-request.length).equals(request)).toBe(true)
  expect(stage.ends).toEqual([])
})

test('a target that ends in the middle of an answer leaves nothing that waits', async () => {
  const stage = await started()
  await stage.up(remove(1, '/a'))
  await stage.noted()
  await stage.down(status(1).subarray(0, 7))
  expect(stage.watch.downEnd(stage.toClient)).toBe(7)
  expect(stage.watch.downEnd(stage.toClient)).toBe(0)
  expect(stage.client).toEqual([])
})

test('whole answers go on when the target ends in the middle of one that came with them', async () => {
  const stage = await started()
  await stage.up(remove(1, '/a'), remove(2, '/b'), remove(3, '/c'))
  await stage.noted()
  await stage.down(status(1), status(2).subarray(0, 7))
  await stage.down(status(2).subarray(7), status(3).subarray(0, 3))
  expect(stage.watch.downEnd(stage.toClient)).toBe(3)
  // Not before they are on the log.
  expect(stage.client).toEqual([])
  await stage.recorded()
  await stage.recorded()
  expect(Buffer.concat(stage.client)).toEqual(Buffer.concat([status(1), status(2)]))
  expect(stage.ends).toEqual([])
})
