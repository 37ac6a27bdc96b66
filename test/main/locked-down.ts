import { copyFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { lockDown } from '../../src/main/lockdown.ts'

/** What somebody tries who runs JavaScript in a worker: says which of it worked. */
const [addon = '', copy = '', locked = ''] = process.argv.slice(2)
if (locked === 'locked') lockDown()
copyFileSync(addon, copy)

const attempts: { readonly [what: string]: () => unknown } = {
  dlopen: () => process.dlopen({ exports: {} }, copy, constants.dlopen.RTLD_NOW),
  require: () => createRequire(import.meta.url)(copy),
  'module from scratch': () => process.getBuiltinModule('module').createRequire(copy)(copy),
  kill: () => process.kill(process.ppid, 0),
  'rawer kill': () => Reflect.apply(Reflect.get(process, '_kill'), process, [process.ppid, 0]),
  debug: () => Reflect.apply(Reflect.get(process, '_debugProcess'), process, [process.pid]),
}
const worked = Object.entries(attempts).flatMap(([what, attempt]) => {
  try {
    attempt()
    return [what]
  } catch {
    return []
  }
})
process.stdout.write(JSON.stringify(worked))
process.exit(0)
