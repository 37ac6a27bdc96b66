import type { FastifyReply } from 'fastify'

const policy = (script: string, ...more: readonly string[]) =>
  [
    "default-src 'none'",
    `script-src ${script}`,
    "style-src 'self'",
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    ...more,
  ].join('; ')

/** Headers of every reply, errors and files included. */
export function securityHeaders(https: boolean): { readonly [name: string]: string } {
  return {
    'content-security-policy': policy(
      "'self'",
      "require-trusted-types-for 'script'",
      "trusted-types 'none'",
    ),
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'cross-origin-embedder-policy': 'require-corp',
    'permissions-policy':
      'camera=(), microphone=(), geolocation=(), payment=(), usb=(), clipboard-read=(), clipboard-write=()',
    // Pages and data belong to a person and are not cached. Public files set their own header.
    'cache-control': 'no-store',
    ...(https ? { 'strict-transport-security': 'max-age=31536000' } : {}),
  }
}

/** The terminal player is compiled to WebAssembly, and makes its own elements of text: only on its page. */
export function allowPlayer(reply: FastifyReply): void {
  reply.header('content-security-policy', policy("'self' 'wasm-unsafe-eval'"))
}
