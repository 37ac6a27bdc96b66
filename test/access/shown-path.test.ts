import { expect, test } from 'vitest'
import { shownPath } from '../../src/access/shown-path.ts'

test.each([
  ['/a/b', '/a/b'],
  ['//a///b', '/a/b'],
  ['./a', 'a'],
  ['.//./a', 'a'],
  ['/./a/./b', '/a/b'],
  ['a/', 'a/'],
  ['a/.', 'a/'],
  ['.', '.'],
  ['./', '.'],
  ['/', '/'],
  ['///', '/'],
  ['/.', '/'],
  ['', ''],
  ['..', '..'],
  // The link in front may lead elsewhere.
  ['/a/../b/..', '/a/../b/..'],
  ['/.hidden/..x', '/.hidden/..x'],
  [`${'./'.repeat(700)}name`, 'name'],
])('shows %j as %j', (path, shown) => {
  expect(shownPath(Buffer.from(path))).toEqual({ shown, whole: Buffer.from(path) })
})
