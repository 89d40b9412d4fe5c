"""The signature of a release: who made it, and that nobody touched it since.

Belongs here: signing the list of a release's files, and what persons state about a release, with the home's Ed25519
key; checking such signatures. Does not belong here: what else a release promises (`verifying`), who states what
(`approving`).

The signature stands beside the manifest, in `MANIFEST.sig`, with the public key and a list of its own of the digests:
a file is still named when its digest was edited in the manifest too. Nothing else of a release depends on the key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from insertion_pipeline.lake import canonical_json, write_json
from insertion_pipeline.sealing import Keyring

SIGNATURE_FILE = "MANIFEST.sig"
_PURPOSE: Final = "release-signature"


@dataclass(frozen=True)
class Signature:
    """A signature read back. `is_valid`: the list of digests is the one that was signed with `public_key`."""

    public_key: str
    digests: Mapping[str, str]
    is_valid: bool


def sign(folder: Path, digests: Mapping[str, str], keyring: Keyring) -> None:
    """Write `MANIFEST.sig`: the signed digests of every file of the release, the manifest included."""
    key = Ed25519PrivateKey.from_private_bytes(keyring.purpose_key(_PURPOSE))
    signed = canonical_json(dict(digests))
    content = {
        "algorithm": "Ed25519",
        "public_key": _hexadecimal(key.public_key()),
        "signature": key.sign(signed).hex(),
        "sha256": dict(digests),
    }
    (folder / SIGNATURE_FILE).write_bytes(canonical_json(content) + b"\n")


def read_signature(folder: Path) -> Signature | None:
    """The signature of a release, null when it is unsigned. One that cannot be read is invalid."""
    path = folder / SIGNATURE_FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        digests = {str(name): str(digest) for name, digest in content["sha256"].items()}
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(content["public_key"]))
        key.verify(bytes.fromhex(content["signature"]), canonical_json(digests))
    except InvalidSignature:
        return Signature(content["public_key"], digests, is_valid=False)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Signature("", {}, is_valid=False)
    return Signature(content["public_key"], digests, is_valid=True)


def write_statement(path: Path, content: Mapping[str, Any], keyring: Keyring) -> None:
    """Write what somebody states, signed with the home's key: the file appears whole or not at all."""
    key = Ed25519PrivateKey.from_private_bytes(keyring.purpose_key(_PURPOSE))
    stated = {**content, "public_key": _hexadecimal(key.public_key())}
    write_json(path, {**stated, "signature": key.sign(canonical_json(stated)).hex()})


def read_statement(path: Path) -> Mapping[str, Any] | None:
    """What was stated, null when there is no such file or it is not what its key signed."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        signature = bytes.fromhex(content.pop("signature"))
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(content["public_key"])).verify(
            signature, canonical_json(content)
        )
    except (OSError, InvalidSignature, ValueError, KeyError, TypeError, AttributeError):
        return None
    return content


def public_key(keyring: Keyring) -> str | None:
    """The public key with which this home signs, in hexadecimal; null for a home that never signed."""
    if not (keyring.folder / f"purpose-{_PURPOSE}.key").exists():
        return None
    return _hexadecimal(Ed25519PrivateKey.from_private_bytes(keyring.purpose_key(_PURPOSE)).public_key())


def _hexadecimal(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
