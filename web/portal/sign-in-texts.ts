export const texts = {
  passkey: 'Sign in with a passkey',
  help: 'Your fingerprint, face, PIN or security key. Nothing to type.',
  failed: 'You are not signed in.',
  givenUp: 'No passkey answered. Try again, or use a one-time link.',
}
