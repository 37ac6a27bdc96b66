import type { WebPeople } from '../auth/index.ts'
import type { RouteRight } from '../http/index.ts'

/** What stands behind `/api/v1/` in the paths of a listener's people. */
export type Plane = '' | 'admin/'

/** What the routes of one listener's people are made with. */
export interface SelfDeps<Right extends RouteRight, In extends Plane> {
  readonly plane: In
  readonly people: WebPeople
  /** The rights that they ask for. */
  readonly right: { readonly read: Right; readonly change: Right }
  /** The address that people type into a browser; undefined if it is the listener itself. */
  readonly publicUrl: string | undefined
}
