export const texts = {
  title: 'Settings',
  you: 'You',
  security: 'Security and keys',
  members: 'Members',
}
