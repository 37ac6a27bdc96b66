import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

/** Lowest first. A module may import from the lines above its own, never from its own line. */
const layers = [
  ['fifo'],
  [
    'address',
    'address-blocks',
    'at-exit',
    'boot-clock',
    'bytes',
    'chunks',
    'connection-url',
    'errors',
    'headcount',
    'secret',
    'setting-names',
    'shares',
    'start-rate',
    'turns',
    'work-queue',
    'work-share',
  ],
  ['config', 'log', 'metrics'],
  ['postgres', 'redis', 'ssh', 'http', 'listener', 'paced-log'],
  ['audit'],
  ['jobs'],
  ['vault'],
  ['auth', 'ca', 'recorder'],
  ['access', 'tenant', 'self'],
  ['bastion', 'portal', 'admin', 'cli', 'local'],
  ['product'],
  ['app'],
  ['main'],
]
const layerOf = (module: string) => layers.findIndex((line) => line.includes(module))

const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((path) =>
  path.endsWith('.ts'),
)

const importsOf = (file: string) =>
  [
    ...readFileSync(`src/${file}`, 'utf8').matchAll(
      /(?:from|import\()\s*'([^']+)'|^import '([^']+)'/gm,
    ),
  ].map((match) => match[1] ?? match[2] ?? '')

function moduleOf(file: string): string {
  return file.split(/[/.]/)[0] ?? ''
}

/** The files of its own module that a file imports, for values or for types. */
function neighboursOf(file: string): readonly string[] {
  return importsOf(file)
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => new URL(specifier, `file:///${file}`).pathname.slice(1))
    .filter((path) => moduleOf(path) === moduleOf(file))
}

/** The first circle among files, as the way round it; undefined when there is none. */
function circleIn(
  all: readonly string[],
  neighbours: (file: string) => readonly string[] = neighboursOf,
): readonly string[] | undefined {
  const done = new Set<string>()
  const visit = (file: string, way: readonly string[]): readonly string[] | undefined => {
    if (way.includes(file)) return [...way.slice(way.indexOf(file)), file]
    if (done.has(file)) return undefined
    for (const next of neighbours(file)) {
      const circle = visit(next, [...way, file])
      if (circle !== undefined) return circle
    }
    done.add(file)
    return undefined
  }
  for (const file of all) {
    const circle = visit(file, [])
    if (circle !== undefined) return circle
  }
  return undefined
}

test.each(files)('%s imports lower layers only, by their public face', (file) => {
  const module = moduleOf(file)
  expect(layers.flat()).toContain(module)
  for (const specifier of importsOf(file).filter((path) => path.startsWith('.'))) {
    const [imported = '', ...inside] = new URL(specifier, `file:///${file}`).pathname
      .slice(1)
      .split('/')
    const target = imported.replace(/\.ts$/, '')
    if (target === module) continue
    expect(layerOf(target), specifier).toBeLessThan(layerOf(module))
    if (inside.length === 0 || isWorkerProgram(file, specifier)) continue
    expect(inside, specifier).toEqual(['index.ts'])
  }
})

/** A worker's process loads its own part of the bastion, and not the face that is for the main process. */
function isWorkerProgram(file: string, specifier: string): boolean {
  return file === 'main/worker.ts' && specifier === '../bastion/worker/index.ts'
}

/** The parts of the bastion that each part may import. */
const bastionParts: Record<string, readonly string[]> = {
  wire: ['wire'],
  monitor: ['monitor', 'wire'],
  worker: ['worker', 'wire'],
  'index.ts': ['monitor'],
}

test.each(files.filter((file) => file.startsWith('bastion/')))(
  '%s: the monitor and the worker know each other only by the wire',
  (file) => {
    const part = file.split('/')[1] ?? ''
    for (const specifier of importsOf(file).filter((path) => path.startsWith('.'))) {
      const imported = new URL(specifier, `file:///${file}`).pathname.slice(1).split('/')
      if (imported[0] === 'bastion') expect(bastionParts[part], specifier).toContain(imported[1])
    }
  },
)

const modules = [...new Set(files.filter((file) => file.includes('/')).map(moduleOf))]

test.each(modules)(
  'no file of src/%s imports itself by way of others, types included',
  (module) => {
    expect(circleIn(files.filter((file) => moduleOf(file) === module))).toBeUndefined()
  },
)

test('finds a circle that types alone close', () => {
  const imports = new Map([
    ['a.ts', ['b.ts']],
    ['b.ts', ['c.ts']],
    ['c.ts', ['d.ts', 'b.ts']],
    ['d.ts', []],
  ])
  expect(circleIn([...imports.keys()], (file) => imports.get(file) ?? [])).toEqual([
    'b.ts',
    'c.ts',
    'b.ts',
  ])
  expect(neighboursOf('ca/queries.ts')).toContain('ca/generation.ts')
})

/** A package that only one folder may know, so that its faults and its successor stay one folder's affair. */
const keepers: Record<string, string> = {
  ssh2: 'ssh/ssh2/',
  pg: 'postgres/',
  'pg-boss': 'jobs/',
  ioredis: 'redis/',
  'node-pty': 'local/',
  commander: 'cli/',
  '@simplewebauthn/server': 'auth/webauthn',
}

test.each(Object.entries(keepers))('only %s is imported by src/%s', (name, folder) => {
  const importers = files.filter((file) =>
    importsOf(file).some((specifier) => specifier === name || specifier.startsWith(`${name}/`)),
  )
  // doctor asks whether a native part loads, which is no use of it.
  expect(
    importers.filter((file) => !file.startsWith(folder) && !file.startsWith('cli/doctor')),
  ).toEqual([])
})

/** Operands of `void` that are no promises. */
const notPromises =
  /^(?:\(await |[\w.#]+\.(?:reply|destroy|write|stdin\.end|#loans\.ask)\(|this\.#open--)/

test.each(files)('%s leaves no promise without a handler for its failure', (file) => {
  // A promise goes to background(), which logs what was lost, or has a catch of its own.
  const operands = readFileSync(`src/${file}`, 'utf8')
    .split('\n')
    .filter((line) => !/^\s*(?:\/\/|\*|\/\*)/.test(line))
    .flatMap((line) => [...line.matchAll(/(?:^|=> |return |else |\) |[;:?] )\s*void ([a-z#(].*)/g)])
    .map(([, operand = '']) => operand)
  expect(operands.filter((operand) => !notPromises.test(operand))).toEqual([])
})
