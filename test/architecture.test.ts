import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

/** Lowest first. A module may import from the lines above its own, never from its own line. */
const layers = [
  ['bytes', 'errors', 'secret', 'turns'],
  ['config', 'log', 'metrics'],
  ['postgres', 'redis', 'ssh', 'http'],
  ['audit'],
  ['vault'],
  ['auth', 'ca', 'recorder'],
  ['access', 'tenant'],
  ['bastion', 'portal', 'admin', 'cli', 'local'],
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

test.each(files)('%s imports lower layers only, by their public face', (file) => {
  const module = file.split(/[/.]/)[0] ?? ''
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

/** A package that only one folder may know, so that its faults and its successor stay one folder's affair. */
const keepers: Record<string, string> = {
  ssh2: 'ssh/ssh2/',
  pg: 'postgres/',
  ioredis: 'redis/',
  'node-pty': 'local/',
  commander: 'cli/',
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
