import { type Checkpoint, formatCheckpoint } from './checkpoint.ts'
import { NoteInvalid, SignerFailed } from './errors.ts'
import {
  formatNote,
  parseVerifierKey,
  type VerifierKey,
  verifierKey,
  verifySignature,
} from './note.ts'

/**
 * Signs the heads of all logs of an installation. The vault implements it: the private key is a
 * secret like any other, and never comes here.
 */
export interface CheckpointSigner {
  /** The name of the key itself, such as `vaultterm/checkpoints`. */
  readonly name: string
  /** The C2SP verifier key under that name. It was checked against the vault's key. */
  readonly verifierKey: string
  /** The 64 bytes of an Ed25519 signature over the text. May be asked for the same text again. */
  sign(text: Buffer): Promise<Buffer>
}

/**
 * The key for one log. C2SP wants a checkpoint's key to have the name of the log's origin, so that
 * any verifier of notes works. So the same public key has the name of each log.
 */
export function keyOf(signer: Pick<CheckpointSigner, 'verifierKey'>, origin: string): VerifierKey {
  return verifierKey(origin, parseVerifierKey(signer.verifierKey).publicKey)
}

/** A signed note over a checkpoint. The signer's result is verified before it is used. */
export async function signCheckpoint(
  signer: CheckpointSigner,
  checkpoint: Checkpoint,
): Promise<string> {
  const text = formatCheckpoint(checkpoint)
  const { name, keyId, publicKey } = keyOf(signer, checkpoint.origin)
  const signature = await signer.sign(Buffer.from(text))
  if (!verifySignature(publicKey, text, signature)) {
    throw new SignerFailed(
      'the returned signature does not verify with its own key',
      new NoteInvalid(name),
    )
  }
  return formatNote({ text, signatures: [{ name, keyId, signature }] })
}
