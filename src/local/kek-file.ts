import { link, rm } from 'node:fs/promises'
import { errorCode } from '../errors.ts'
import { createKekFile } from '../vault/index.ts'

/** Makes a key-encryption key at path unless the file exists. The file appears whole or not at all. */
export async function keepKekFile(path: string): Promise<void> {
  const draft = `${path}.new`
  await rm(draft, { force: true })
  await createKekFile(draft)
  try {
    await link(draft, path)
  } catch (err) {
    // The existing key stays: everything in the vault is sealed under it.
    if (errorCode(err) !== 'EEXIST') throw err
  } finally {
    await rm(draft, { force: true })
  }
}
