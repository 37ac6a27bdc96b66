import { Counter } from 'prom-client'
import type { Metrics } from '../metrics.ts'

export interface VaultMetrics {
  readonly envelopes: Counter<'act'>
  readonly signatures: Counter<'purpose'>
  readonly refusals: Counter<'reason'>
}

export function vaultMetrics(registry: Metrics): VaultMetrics {
  const registers = [registry]
  return {
    envelopes: new Counter({
      name: 'bastion_vault_envelopes_total',
      help: 'Secrets sealed and opened.',
      labelNames: ['act'],
      registers,
    }),
    signatures: new Counter({
      name: 'bastion_vault_signatures_total',
      help: 'Signatures made with keys of the vault.',
      labelNames: ['purpose'],
      registers,
    }),
    refusals: new Counter({
      name: 'bastion_vault_refusals_total',
      help: 'Requests that the vault refused, by the code of the refusal.',
      labelNames: ['reason'],
      registers,
    }),
  }
}
