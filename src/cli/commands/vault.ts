import type { Command } from 'commander'
import type { Context } from '../context.ts'
import type { CliProduct } from '../deps.ts'
import { type JsonOption, jsonOption } from './options.ts'

/** vault status, seal, unseal. */
export function vaultCommands(program: Command, context: Context): void {
  const vault = program.command('vault').description('open and seal the vault that holds all keys')
  const verbs: readonly {
    readonly name: 'status' | 'seal' | 'unseal'
    readonly about: string
  }[] = [
    { name: 'status', about: 'show whether the vault is open, and with which key' },
    { name: 'seal', about: 'make every key unusable, on every node' },
    {
      name: 'unseal',
      about: 'read the key-encryption key again, and open the vault on every node',
    },
  ]
  for (const { name, about } of verbs) {
    vault
      .command(name)
      .description(about)
      .addOption(jsonOption())
      .action(async ({ json }: JsonOption) => {
        const status = await context.withProduct(`vault ${name}`, async (product) => {
          await act(product, name)
          return product.vault.status()
        })
        const { sealed, provider, kekId } = status
        await context.printDone(
          json,
          status,
          `${sealed ? 'sealed' : 'open'} (${provider}, key ${kekId})`,
        )
      })
  }
}

async function act({ vault }: CliProduct, verb: 'status' | 'seal' | 'unseal'): Promise<void> {
  if (verb === 'seal') await vault.seal()
  if (verb === 'unseal') await vault.unseal()
}
