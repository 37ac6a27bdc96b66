"""A second implementation of BVE1, BVE2 and BVT1 (docs/formats/envelope.md), on pyca/cryptography.

  bve1.py make    prints the vectors of test/vectors/bve1-envelopes.json
  bve1.py make2   prints those of test/vectors/bve2-envelopes.json
  bve1.py maket   prints those of test/vectors/bvt1-tags.json
  bve1.py open    reads a JSON array of {key, version, tenant, path, place_version, kind, sealed} on
                  stdin, with public in BVE2, and prints a JSON array of plaintexts in hex, null
                  where one does not open
"""

import hashlib
import hmac
import json
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

CHUNK = 16384


def expand(key, info, length):
    return HKDFExpand(algorithm=hashes.SHA512(), length=length, info=info).derive(key)


def field(text):
    data = text.encode()
    return struct.pack(">I", len(data)) + data


def header_and_context(case):
    key = bytes.fromhex(case["key"])
    kid = expand(key, b"vaultterm.key-id@v1", 16)
    magic = "BVE2" if "public" in case else "BVE1"
    header = magic.encode() + struct.pack(">BBI", case["kind"], 1, case["version"]) + kid
    fields = [("v", magic), ("tenant", case["tenant"]), ("path", case["path"]),
              ("version", str(case["place_version"])), ("kind", str(case["kind"])),
              ("kid", kid.hex()), ("kver", str(case["version"]))]
    if "public" in case:
        fields.append(("public", hashlib.sha256(case["public"].encode()).hexdigest()))
    return key, header, b"".join(field(name) + field(value) for name, value in fields)


def derive(key, salt, context):
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + salt + context
    out = expand(key, info, 76)
    return AESGCM(out[:32]), int.from_bytes(out[32:44], "big"), out[44:]


def nonce(base, number):
    return (base ^ number).to_bytes(12, "big")


def seal(case, salt, plaintext):
    key, header, context = header_and_context(case)
    aead, base, commitment = derive(key, salt, context)
    chunks = [plaintext[at:at + CHUNK] for at in range(0, len(plaintext) + 1, CHUNK)]
    body = b"".join(aead.encrypt(nonce(base, i), c, None) for i, c in enumerate(chunks))
    return header + salt + commitment + body


def unseal(case):
    key, header, context = header_and_context(case)
    sealed = bytes.fromhex(case["sealed"])
    if sealed[:26] != header:
        return None
    aead, base, commitment = derive(key, sealed[26:50], context)
    if not hmac.compare_digest(commitment, sealed[50:82]):
        return None
    body, plaintext, number = sealed[82:], b"", 0
    while True:
        chunk = body[number * (CHUNK + 16):(number + 1) * (CHUNK + 16)]
        try:
            plaintext += aead.decrypt(nonce(base, number), chunk, None)
        except InvalidTag:
            return None
        if len(chunk) < CHUNK + 16:
            return plaintext
        number += 1


def plaintext_of(size):
    """Byte i is (31 i + size) mod 256: no file of its own for 48 KiB."""
    return bytes((31 * i + size) % 256 for i in range(size))


def make(public=None):
    tenant = "00000000-0000-4000-8000-000000000001"
    places = [(1, f"vps/{tenant}/admin_ssh", 3, 1), (2, "système/клÿч", 4294967296, 7)]
    cases = []
    for size in (0, 1, 16383, 16384, 16385, 49152):
        for kind, path, place_version, version in places:
            case = {"kind": kind, "tenant": tenant, "path": path, "place_version": place_version,
                    "version": version, "size": size,
                    "key": hashlib.sha256(f"key {size} {kind}".encode()).hexdigest(),
                    "salt": hashlib.sha256(f"salt {size} {kind}".encode()).digest()[:24].hex()}
            if public is not None:
                case["public"] = public if kind == 1 else ""
            sealed = seal(case, bytes.fromhex(case["salt"]), plaintext_of(size))
            if size <= 1:
                case["sealed"] = sealed.hex()
            case["sealed_sha256"] = hashlib.sha256(sealed).hexdigest()
            cases.append(case)
    source = "made by test/vault/bve1.py (pyca/cryptography), independent of src/vault; " \
             "byte i of a plaintext is (31 i + size) mod 256"
    print(json.dumps({"source": source, "cases": cases}, indent=2, ensure_ascii=False))


def tag(case):
    """BVT1: of a tenant's key-encryption key, its version, and the fields of a row."""
    key = expand(bytes.fromhex(case["kek"]), b"vaultterm.record-tag@v1", 32)
    fields = [("v", "BVT1"), ("tenant", case["tenant"]), ("kind", case["kind"]), ("id", case["id"])]
    fields += [tuple(each) for each in case["fields"]]
    version = struct.pack(">I", case["version"])
    message = b"".join(field(name) + field(value) for name, value in fields) + version
    return b"BVT1" + version + hmac.new(key, message, hashlib.sha512).digest()[:32]


def make_tags():
    tenant = "00000000-0000-4000-8000-000000000001"
    rows = [
        ("user-key", "SHA256:x", [["user", "u"], ["blob", "AAAA"], ["expires", ""], ["verify", "0"]]),
        ("target", "00000000-0000-4000-8000-000000000002",
         [["name", "web1"], ["host", "192.0.2.7"], ["port", "22"], ["auth", "key"], ["certified", "0"],
          ["logins", "2"], ["login", "root"], ["login", "клÿч"], ["keys", "0"]]),
        ("target", "", []),
    ]
    cases = []
    for number, (kind, row, fields) in enumerate(rows):
        case = {"kek": hashlib.sha256(f"kek {number}".encode()).hexdigest(), "version": 1 + number * 70000,
                "tenant": tenant, "kind": kind, "id": row, "fields": fields}
        case["tag"] = tag(case).hex()
        cases.append(case)
    source = "made by test/vault/bve1.py (pyca/cryptography), independent of src/vault"
    print(json.dumps({"source": source, "cases": cases}, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    if sys.argv[1:] == ["make"]:
        make()
    elif sys.argv[1:] == ["make2"]:
        make("ssh-rsa AAAA vaultterm-admin_ssh-00000000")
    elif sys.argv[1:] == ["maket"]:
        make_tags()
    else:
        opened = [unseal(case) for case in json.load(sys.stdin)]
        print(json.dumps([None if p is None else p.hex() for p in opened]))
