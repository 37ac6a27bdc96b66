import type { Access } from '../access/index.ts'
import type { Audit } from '../audit/index.ts'
import type { AdminAuth, Auth } from '../auth/index.ts'
import type { Ca } from '../ca/index.ts'
import type { Jobs } from '../jobs/index.ts'
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
  readonly jobs: Jobs
  readonly database: Database
  readonly log: Log
  readonly run: {
    readonly portal: string
    readonly admin: string
    /** The base of links for people. */
    readonly publicUrl: string
    /** Whether a server runs, which the commands that act on live sessions need. */
    readonly live: boolean
  }
  close(): Promise<void>
}

/** One result of a check of the whole installation. */
export interface Finding {
  readonly name: string
  readonly ok: boolean
  /** The result in a few words. */
  readonly detail: string
  /** How to fix it; absent when all is well. */
  readonly fix?: string
}

/** The parts of the program that the command line calls. */
export interface CliDeps {
  /** Other processes that find the home in use report `what`, the command. */
  open(what: string): Promise<CliProduct>
  /** Resolve with the exit status once all has stopped. */
  up(options: { readonly json: boolean }): Promise<number>
  serve(options: { readonly json: boolean }): Promise<number>
  migrate(): Promise<{ readonly applied: readonly string[]; readonly version: string }>
  /** Reads the settings; with `serve`, also requires those of production. */
  checkConfig(options: { readonly serve: boolean }): Promise<{ readonly [setting: string]: string }>
  doctor(): Promise<readonly Finding[]>
}
