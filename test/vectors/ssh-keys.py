#!/usr/bin/env python3
"""Makes ssh-keys.json with OpenSSH's own ssh-keygen: keys, fingerprints, certificates, signatures.

usage: ssh-keys.py SK_DUMMY_SO > ssh-keys.json

SK_DUMMY_SO is the software security key of Debian's openssh-tests,
/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so. The private keys are not kept.
"""

import base64
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile

MESSAGE = b'what was signed\n'
NAMESPACE = b'vectors@vaultterm.test'

KEYS = [
    ('ed25519', ['-t', 'ed25519']),
    ('ecdsa-256', ['-t', 'ecdsa', '-b', '256']),
    ('ecdsa-384', ['-t', 'ecdsa', '-b', '384']),
    ('ecdsa-521', ['-t', 'ecdsa', '-b', '521']),
    ('rsa-2048', ['-t', 'rsa', '-b', '2048']),
    ('rsa-3072', ['-t', 'rsa', '-b', '3072']),
    ('rsa-4096', ['-t', 'rsa', '-b', '4096']),
    ('sk-ed25519', ['-t', 'ed25519-sk']),
    ('sk-ecdsa', ['-t', 'ecdsa-sk']),
    ('sk-ed25519-untouched', ['-t', 'ed25519-sk', '-O', 'no-touch-required']),
    ('sk-ecdsa-untouched', ['-t', 'ecdsa-sk', '-O', 'no-touch-required']),
    ('sk-ed25519-verified', ['-t', 'ed25519-sk', '-O', 'verify-required']),
    ('sk-ed25519-application', ['-t', 'ed25519-sk', '-O', 'application=ssh:work']),
]
REFUSED = [('rsa-1024', ['-t', 'rsa', '-b', '1024']), ('dsa', ['-t', 'dsa'])]


def string(data):
    return struct.pack('>I', len(data)) + data


def run(*args, data=None):
    env = {'PATH': os.environ['PATH'], 'SSH_SK_PROVIDER': sys.argv[1], 'LC_ALL': 'C'}
    return subprocess.run(args, input=data, env=env, check=True, capture_output=True).stdout


def generate(name, options):
    run('ssh-keygen', '-q', '-N', '', '-C', name + ' of the vectors', '-f', name, *options)
    with open(name + '.pub', encoding='ascii') as file:
        return file.read().rstrip('\n')


def sign(name):
    # A file of its own: a key that asks for a PIN takes it from the standard input.
    with open('message', 'wb') as file:
        file.write(MESSAGE)
    run('ssh-keygen', '-q', '-Y', 'sign', '-n', NAMESPACE.decode(), '-f', name, 'message', data=b'')
    with open('message.sig', 'rb') as file:
        armored = file.read()
    os.remove('message.sig')
    blob = base64.b64decode(b''.join(armored.splitlines()[1:-1]))
    # PROTOCOL.sshsig: the signature is the last field.
    at = len(b'SSHSIG') + 4
    for _ in range(4):
        at += 4 + struct.unpack('>I', blob[at:at + 4])[0]
    return blob[at + 4:].hex()


def signed_data():
    digest = hashlib.sha512(MESSAGE).digest()
    return b'SSHSIG' + string(NAMESPACE) + string(b'') + string(b'sha512') + string(digest)


def key_vector(name, options):
    line = generate(name, options)
    bits, fingerprint = run('ssh-keygen', '-l', '-f', name + '.pub').decode().split()[:2]
    run('ssh-keygen', '-q', '-s', 'ca', '-I', 'id', '-n', 'alice', name + '.pub')
    with open(name + '-cert.pub', encoding='ascii') as file:
        certificate = file.read().rstrip('\n')
    return {
        'name': name,
        'line': line,
        'bits': int(bits),
        'fingerprint': fingerprint,
        'certificate': certificate,
        'signature': sign(name),
    }


def main():
    os.chdir(tempfile.mkdtemp())
    os.umask(0o077)
    version = subprocess.run(['ssh', '-V'], capture_output=True, check=True).stderr.decode().strip()
    generate('ca', ['-t', 'ed25519'])
    keys = [key_vector(*key) for key in KEYS]
    host = keys[0]['line'].rsplit(' ', 4)[0]
    with open('hosts', 'w', encoding='ascii') as file:
        file.write(f'db.example.com {host}\n[10.0.0.7]:2222 {host}\n')
    run('ssh-keygen', '-q', '-H', '-f', 'hosts')
    with open('hosts', encoding='ascii') as file:
        hashed = file.read()
    json.dump({
        'source': f'made by test/vectors/ssh-keys.py with {version}; signatures by ssh-keygen -Y sign',
        'data': signed_data().hex(),
        'keys': keys,
        'refused': [{'name': name, 'line': generate(name, options)} for name, options in REFUSED],
        'hashedHosts': {'names': ['db.example.com:22', '10.0.0.7:2222'], 'text': hashed},
    }, sys.stdout, indent=2)
    print()


main()
