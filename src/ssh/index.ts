/**
 * SSH: its wire formats, and the connections of both roles.
 *
 * The parsers of formats take bytes from strangers: they refuse every deviation, never read past an
 * end, and do not know connections. Keys are compared as whole blobs. Text parsers are only for
 * text that people give, never for bytes from the network.
 */

export { matchesAddressList } from './address-list.ts'
export { type BoundExchange, cookieBytes, isBoundTo } from './bound-exchange.ts'
export {
  type Certificate,
  type CertificateFields,
  type CertificateKind,
  type CertificateOptions,
  encodeCertificate,
  type ParsedCertificate,
  parseCertificate,
  sealCertificate,
} from './certificate.ts'
export {
  type CertificateRestrictions,
  type CertificateUse,
  type CheckedCertificate,
  type CriticalOption,
  checkCertificate,
} from './certificate-check.ts'
export { dialProblem } from './dial-problem.ts'
export { hostKeyOffer } from './host-key-offer.ts'
export { canonicalHost } from './host-name.ts'
export { type HostProof, readProvenLogin, verifyHostProof } from './host-proof.ts'
export {
  embeddedIpv4,
  formatIpAddress,
  type IpAddress,
  parseIpAddress,
  unmapIpv4,
} from './ip-address.ts'
export {
  certificateTypeNames,
  certifiedSignatureAlgorithm,
  keyTypeNames,
  signatureAlgorithms,
} from './key-types.ts'
export {
  formatHostKeyLine,
  type HostKeyLine,
  matchesHost,
  type ParsedHostKeys,
  parseHostKeyLines,
} from './known-hosts.ts'
export { formatOpenSshPrivateKey } from './private-key.ts'
export {
  fingerprint,
  formatPublicKey,
  type ParsedPublicKey,
  type PublicKey,
  parsePublicKey,
  parsePublicKeyBlob,
  publicKeyBlob,
} from './public-key.ts'
export {
  type AuthorityRevocations,
  isRevoked,
  type KeyRevocationList,
  type ParsedRevocationList,
  parseRevocationList,
  type SerialRange,
} from './revocation-list.ts'
export { encodeRevocationList, type RevocationListContents } from './revocation-list-writer.ts'
export {
  type SecurityKeyStatement,
  type UserSignature,
  userVerifier,
  verifySecurityKeySignature,
  verifyUserSignature,
} from './signature.ts'
export {
  type AuthAttempt,
  adoptSocket,
  assertPatched,
  type Channel,
  type ChannelHandlers,
  type ChannelOpen,
  ChannelOpenRefused,
  type ChannelRequest,
  type Connection,
  ConnectionClosed,
  connectUpstream,
  createSshServer,
  type Departure,
  disconnectReason,
  type GlobalRequest,
  generateHostKey,
  LibraryUnpatched,
  openFailure,
  openSocket,
  type RekeyLimits,
  readFor,
  receiveWindowBytes,
  type ServerHandlers,
  type ServerHostKey,
  type SigningKey,
  type SshServer,
  type SshServerOptions,
  scanHostKeys,
  socketBytes,
  type UpstreamOptions,
  usesNativeCiphers,
} from './ssh2/index.ts'
export { encodeUserauthRequest, parseUserauthRequest, type UserauthRequest } from './userauth.ts'
export { Reader, WireError, Writer } from './wire.ts'
