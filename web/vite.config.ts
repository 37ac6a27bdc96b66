import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

const root = fileURLToPath(new URL('./', import.meta.url))
const player = fileURLToPath(new URL('../node_modules/asciinema-player/dist/', import.meta.url))
/** Its name has a digest in it, and it is not exported. Our driver of the player is built on it. */
const core = readdirSync(player).find((name) => /^core-.*\.js$/.test(name))
if (core === undefined) throw new Error('the player has no core')

/** Each entry is one page, which the server renders around it: src/http/pages.ts. */
export default defineConfig({
  root,
  base: '/',
  publicDir: false,
  cacheDir: fileURLToPath(new URL('../node_modules/.vaultterm/vite', import.meta.url)),
  resolve: { alias: { 'asciinema-player-core': `${player}${core}` } },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    modulePreload: { polyfill: false },
    // Nothing is put inside of another file: the policy allows files only.
    assetsInlineLimit: 0,
    manifest: 'manifest.json',
    emptyOutDir: true,
    rolldownOptions: {
      input: {
        home: `${root}portal/home.tsx`,
        sessions: `${root}portal/sessions.tsx`,
        session: `${root}portal/session.tsx`,
        security: `${root}portal/security.tsx`,
        members: `${root}portal/members.tsx`,
        'sign-in': `${root}portal/sign-in.tsx`,
      },
    },
  },
})
