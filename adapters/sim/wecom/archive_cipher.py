"""SIMULATOR ONLY: how this simulator's archive encrypts a message; the real symmetric format is not published.

The outer step is the documented one: `encrypt_random_key` is base64 of RSA PKCS#1 v1.5, with the corp's public key of
version `publickey_ver`, over a key text. The inner step is ours: the key text is 64 hex digits, 32 octets; `encrypt_chat_msg`
is base64 of 16 octets IV followed by AES-256-CBC with PKCS#7 padding to 16 octets, over the message as JSON in UTF-8. A real
key text given to the real library, or one of these given to it, decrypts to nothing.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from msgcenter.clock import Random

BITS = 2048
_BLOCK = 128


def new_key() -> tuple[str, str]:
    """(private, public) as PEM text: what a corp makes and what it enters in the admin console."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    return (
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    )


def load_public(pem: str) -> rsa.RSAPublicKey:
    """Raises ValueError unless it is an RSA key of 2048 bits."""
    key = serialization.load_pem_public_key(pem.encode())
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != BITS:
        raise ValueError("an RSA public key of 2048 bits is expected")
    return key


def seal(plain: bytes, public: rsa.RSAPublicKey, rng: Random) -> tuple[str, str]:
    """(encrypt_random_key, encrypt_chat_msg)."""
    key, iv = rng.randbytes(32), rng.randbytes(16)
    outer = public.encrypt(key.hex().encode(), rsa_padding.PKCS1v15())
    padder = padding.PKCS7(_BLOCK).padder()
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    text = padder.update(plain) + padder.finalize()
    inner = iv + encryptor.update(text) + encryptor.finalize()
    return base64.b64encode(outer).decode(), base64.b64encode(inner).decode()


def unseal(private_pem: str, encrypt_random_key: str, encrypt_chat_msg: str) -> bytes:
    """The message again. Raises ValueError when the key is of another version or the text is damaged."""
    private = serialization.load_pem_private_key(private_pem.encode(), None)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ValueError("an RSA private key is expected")
    try:
        outer = base64.b64decode(encrypt_random_key, validate=True)
        key_text = private.decrypt(outer, rsa_padding.PKCS1v15())
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"cannot be decrypted: {type(error).__name__}") from None
    return unseal_message(key_text, encrypt_chat_msg)


def unseal_message(key_text: bytes, encrypt_chat_msg: str) -> bytes:
    """The inner step alone. Raises ValueError."""
    try:
        key = bytes.fromhex(key_text.decode())
        sealed = base64.b64decode(encrypt_chat_msg, validate=True)
        if len(key) != 32:
            raise ValueError("not a key text")
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"cannot be decrypted: {type(error).__name__}") from None
    decryptor = Cipher(algorithms.AES256(key), modes.CBC(sealed[:16])).decryptor()
    text = decryptor.update(sealed[16:]) + decryptor.finalize()
    unpadder = padding.PKCS7(_BLOCK).unpadder()
    return unpadder.update(text) + unpadder.finalize()
