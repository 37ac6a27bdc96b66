import { execFileSync } from 'node:child_process'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'

const root = resolve(import.meta.dirname, '../../..')
/** Modules that handle secrets, decide, or reach the database. */
const forbidden = [
  'access',
  'audit',
  'auth',
  'ca',
  'vault',
  'tenant',
  'postgres',
  'redis',
  'bastion/monitor',
]

/** Every file that a process loads with the worker's program, as Node itself resolved it. */
function loadedFiles(): readonly string[] {
  const program = `
    import { registerHooks } from 'node:module'
    const loaded = []
    registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context) } })
    await import('./src/bastion/worker/index.ts')
    console.log(JSON.stringify(loaded))`
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: root,
    encoding: 'utf8',
  })
  return (JSON.parse(output) as string[]).map((url) => url.replace(`file://${root}/`, ''))
}

test('a worker loads no module that handles secrets, decides or reaches the database', () => {
  const loaded = loadedFiles()
  expect(loaded).toContain('src/bastion/worker/worker-program.ts')
  const found = loaded.filter(
    (file) =>
      forbidden.some((name) => file.startsWith(`src/${name}/`)) ||
      /^node_modules\/(pg|pg-[a-z]+|ioredis|fastify)\//.test(file),
  )
  expect(found).toEqual([])
})
