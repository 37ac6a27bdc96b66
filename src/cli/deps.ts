import type { Access } from '../access/index.ts'
import type { Audit } from '../audit/index.ts'
import type { AdminAuth, Auth } from '../auth/index.ts'
import type { Ca } from '../ca/index.ts'
import type { Log } from '../log.ts'
import type { Database } from '../postgres/index.ts'
import type { Recorder } from '../recorder/index.ts'
import type { Coordination } from '../redis/index.ts'
import type { Tenants } from '../tenant/index.ts'
import type { Vault } from '../vault/index.ts'

/** The installation that a command works on. */
export interface CliProduct {
  readonly tenants: Tenants
  readonly auth: Auth
  readonly adminAuth: AdminAuth
  readonly access: Access
  readonly ca: Ca
  readonly vault: Vault
  readonly audit: Audit
  readonly recorder: Recorder
  readonly coordination: Coordination
  readonly database: Database
  readonly log: Log
  readonly run: {
    readonly portal: string
    readonly admin: string
    /** What goes into links for people. */
    readonly publicUrl: string
    /** Whether the commands that act on live sessions have something to act on. */
    readonly live: boolean
  }
  close(): Promise<void>
}

/** What a check of the whole installation found. */
export interface Finding {
  readonly name: string
  readonly ok: boolean
  /** What was found, in a few words. */
  readonly detail: string
  /** What to do about it; absent when all is well. */
  readonly fix?: string
}

/** What the command line needs of the program around it. */
export interface CliDeps {
  /** `what` is for whoever finds the installation taken meanwhile. */
  open(what: string): Promise<CliProduct>
  /** Resolve with the exit status once all has stopped. */
  up(options: { readonly json: boolean }): Promise<number>
  serve(options: { readonly json: boolean }): Promise<number>
  migrate(): Promise<{ readonly applied: readonly string[]; readonly version: string }>
  /** Reads the settings: with `serve`, those that production needs must be there, too. */
  checkConfig(options: { readonly serve: boolean }): { readonly [setting: string]: string }
  doctor(): Promise<readonly Finding[]>
}
