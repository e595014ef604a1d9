"""Callback crypto: whole, tampered, cut short at every octet, for another corp, and against wechatpy both ways."""

from __future__ import annotations

import base64
import json
from random import Random

import pytest
from Crypto.Cipher import AES
from wechatpy.enterprise.crypto import WeChatCrypto

from protocols.errors import Malformed
from protocols.wecom import crypto, envelopes, xmltext
from protocols.wecom.crypto import Crypt, Refused, Sealed
from protocols.wecom.envelopes import Push

TOKEN = "sandbox-token"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
CORP = "wwsandbox"
CRYPT = Crypt(TOKEN, AES_KEY, CORP)
WHEN, NONCE = "1790000000", "1372623149"
NOISE = bytes(range(240, 256))
PLAIN = "<xml><Content><![CDATA[您好，套餐已办理 😀]]></Content></xml>".encode()
SEALED = CRYPT.encrypt(PLAIN, WHEN, NONCE, NOISE)


def resigned(encrypt: str) -> Sealed:
    """As somebody who knows the token but not the key would send it."""
    return Sealed(encrypt, CRYPT.signature(WHEN, NONCE, encrypt), WHEN, NONCE)


def opened(sealed: Sealed, crypt: Crypt = CRYPT) -> bytes:
    return crypt.decrypt(sealed.signature, sealed.timestamp, sealed.nonce, sealed.encrypt)


def raw(text: bytes, key: str = AES_KEY) -> Sealed:
    """`text`, padded already, encrypted and signed."""
    secret = crypto.key_of(key)
    cipher = AES.new(secret, AES.MODE_CBC, iv=secret[:16])
    return resigned(base64.b64encode(cipher.encrypt(text)).decode())


def refused(sealed: Sealed, crypt: Crypt = CRYPT) -> str:
    with pytest.raises(Refused) as caught:
        opened(sealed, crypt)
    assert str(caught.value) == "callback refused", "one text for every failure"
    return caught.value.check


def test_whole() -> None:
    assert opened(SEALED) == PLAIN
    assert CRYPT.echo(SEALED.signature, WHEN, NONCE, SEALED.encrypt) == PLAIN


@pytest.mark.parametrize("length", range(100))
def test_every_length_of_padding(length: int) -> None:
    plain = bytes(Random(length).randbytes(length))
    sealed = CRYPT.encrypt(plain, WHEN, NONCE, NOISE)
    assert len(base64.b64decode(sealed.encrypt)) % 32 == 0
    assert opened(sealed) == plain


def test_the_signature_is_sha1_over_the_sorted_parts() -> None:
    # Worked with: printf '%s' 13726231491790000000AAAAsandbox-token | sha1sum
    assert CRYPT.signature(WHEN, NONCE, "AAAA") == "5885bc42e72f149de1819d4e0ab10a518ae14f93"


def test_the_signature_is_checked_before_anything_is_decrypted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("decrypted before the signature was checked")

    monkeypatch.setattr(crypto.AES, "new", never)
    for signature in (
        "",
        "0" * 40,
        SEALED.signature.upper(),
        SEALED.signature[:-1],
        "您好",
        "\ud800",
    ):
        assert refused(Sealed(SEALED.encrypt, signature, WHEN, NONCE)) == "signature"


@pytest.mark.parametrize("part", ["encrypt", "timestamp", "nonce"])
def test_a_changed_part_is_refused(part: str) -> None:
    parts = {
        "encrypt": SEALED.encrypt,
        "timestamp": SEALED.timestamp,
        "nonce": SEALED.nonce,
    }
    for position in range(len(parts[part])):
        text = parts[part]
        other = "A" if text[position] != "A" else "B"
        changed = parts | {part: text[:position] + other + text[position + 1 :]}
        assert refused(Sealed(signature=SEALED.signature, **changed)) == "signature"


def test_cut_short_at_every_octet_even_with_a_right_signature() -> None:
    for length in range(len(SEALED.encrypt)):
        cut = SEALED.encrypt[:length]
        assert refused(Sealed(cut, SEALED.signature, WHEN, NONCE)) == "signature"
        assert refused(resigned(cut)) in ("cipher", "receiver")


def test_changed_cipher_text_with_a_right_signature_never_gives_another_corp() -> None:
    sealed = base64.b64decode(SEALED.encrypt)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        try:
            opened(resigned(base64.b64encode(changed).decode()))
        except Refused as error:
            assert error.check in ("cipher", "receiver")
        else:
            # CBC without a MAC: a change in front garbles the noise or the text, never the frame.
            assert position < len(sealed) - 32


def test_another_corp_token_or_key_is_refused() -> None:
    assert refused(SEALED, Crypt(TOKEN, AES_KEY, "wwother")) == "receiver"
    assert refused(SEALED, Crypt(TOKEN, AES_KEY, "")) == "receiver"
    assert refused(SEALED, Crypt(TOKEN, AES_KEY, CORP + "x")) == "receiver"
    assert refused(SEALED, Crypt("other", AES_KEY, CORP)) == "signature"
    assert refused(SEALED, Crypt(TOKEN, AES_KEY[::-1], CORP)) == "cipher"


def body(text: bytes, pad: int, last: bytes | None = None) -> bytes:
    return text + (bytes([pad]) * pad if last is None else last)


FRAME = NOISE + (5).to_bytes(4, "big") + b"hello" + CORP.encode()  # 34 octets


@pytest.mark.parametrize(
    ("text", "check"),
    [
        (FRAME + bytes([30]) * 30, None),
        (FRAME + bytes([14]) * 14, "cipher"),  # padded to 16 as libraries do: 48 octets
        (FRAME + bytes(30), "cipher"),  # pad 0
        (FRAME + bytes([30]) * 28 + bytes([7, 30]), "cipher"),  # one octet of the padding differs
        (FRAME + bytes([33]) * 30, "cipher"),  # pad 33
        (FRAME + bytes([255]) * 30, "cipher"),
        (NOISE + b"\xff\xff\xff\xff" + FRAME[20:] + bytes([30]) * 30, "cipher"),  # 4 GiB long
        (NOISE + (14).to_bytes(4, "big") + FRAME[20:] + bytes([30]) * 30, "receiver"),
        (bytes([32]) * 32, "cipher"),  # nothing but padding
        (b"x" * 16 + bytes([16]) * 16, "cipher"),  # no length
    ],
)
def test_the_inside_is_checked(text: bytes, check: str | None) -> None:
    if check is None:
        assert opened(raw(text)) == b"hello"
    else:
        assert refused(raw(text)) == check


@pytest.mark.parametrize(
    "encrypt",
    [
        "",
        "=",
        "AAA",
        "A" * 43,
        "您好",
        "A" * 42 + "*=",
        SEALED.encrypt[:40] + "\n" + SEALED.encrypt[40:],
    ],
)
def test_text_that_is_not_base64(encrypt: str) -> None:
    assert refused(resigned(encrypt)) == "cipher"


def test_a_key_whose_last_character_holds_spare_bits() -> None:
    keys = [AES_KEY[:-1] + last for last in "EFGH"]
    assert len({crypto.key_of(key) for key in keys}) == 1
    for key in keys:
        assert opened(SEALED, Crypt(TOKEN, key, CORP)) == PLAIN


@pytest.mark.parametrize(
    "key", ["", AES_KEY[:-1], AES_KEY + "=", AES_KEY + "\n", "您" * 43, "-" * 43]
)
def test_a_bad_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(Malformed) as caught:
        Crypt(TOKEN, key, CORP)
    assert not key or key not in str(caught.value)


def test_secrets_stay_out_of_the_representation() -> None:
    assert repr(CRYPT) == "Crypt(wwsandbox)"


def test_noise_of_the_wrong_length() -> None:
    with pytest.raises(ValueError, match="16 needed"):
        CRYPT.encrypt(PLAIN, WHEN, NONCE, b"short")


def test_freshness() -> None:
    assert crypto.is_fresh("1000", 1300, 300)
    assert crypto.is_fresh("1300", 1000, 300)
    assert not crypto.is_fresh("1000", 1301, 300)
    for text in ("", "-5", "1e3", "１０００", "9" * 12):
        assert not crypto.is_fresh(text, 1000, 10**18)


# -- wechatpy -----------------------------------------------------------------------------------------------------------


def test_wechatpy_decrypts_what_we_encrypt() -> None:
    theirs = WeChatCrypto(TOKEN, AES_KEY, CORP)
    for length in (0, 1, 31, 32, 33, 1000):
        text = "您" * length + "<end/>"
        sealed = CRYPT.encrypt(text.encode(), WHEN, NONCE, NOISE)
        pushed = envelopes.write_push(Push(sealed.encrypt, CORP, "1000002")).decode()
        assert theirs.decrypt_message(pushed, sealed.signature, WHEN, NONCE) == text
        assert theirs.check_signature(sealed.signature, WHEN, NONCE, sealed.encrypt) == text


def test_we_decrypt_what_wechatpy_encrypts() -> None:
    theirs = WeChatCrypto(TOKEN, AES_KEY, CORP)
    for length in (0, 1, 31, 32, 33, 1000):
        text = "您" * length + "<end/>"
        body = theirs.encrypt_message(text, NONCE, WHEN).encode()
        sealed = envelopes.read_reply(body)
        assert (sealed.timestamp, sealed.nonce) == (WHEN, NONCE)
        push, plain = envelopes.open_push(CRYPT, body, sealed.signature, WHEN, NONCE)
        assert (push.encrypt, plain) == (sealed.encrypt, text.encode())


# -- envelopes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["xml", "json"])
def test_envelopes_both_ways(form: envelopes.Form) -> None:
    push = Push(SEALED.encrypt, CORP, "1000002", form)
    body = envelopes.write_push(push)
    assert envelopes.read_push(body) == push
    assert envelopes.open_push(CRYPT, body, SEALED.signature, WHEN, NONCE) == (push, PLAIN)
    assert envelopes.read_reply(envelopes.write_reply(SEALED, form)) == SEALED


@pytest.mark.parametrize(
    "body",
    [
        b"<xml><ToUserName>ww1</ToUserName><AgentID></AgentID><Encrypt>AAAA</Encrypt></xml>",
        b"\xef\xbb\xbf<xml>\n <ToUserName><![CDATA[ww1]]></ToUserName>\n<AgentID/>"
        b"<Encrypt>\n<![CDATA[AAAA]]>\n</Encrypt>\n</xml>\n",
        b'<?xml version="1.0" encoding="UTF-8"?><xml><Encrypt>AAAA</Encrypt><ToUserName>ww1</ToUserName></xml>',
        b"<xml><Encrypt>AAAA</Encrypt><ToUserName>ww1</ToUserName><New><Thing>1</Thing></New></xml>",
    ],
)
def test_spellings_of_an_envelope(body: bytes) -> None:
    assert envelopes.read_push(body) == Push("AAAA", "ww1", "")


def test_a_json_envelope_with_a_number() -> None:
    body = b' {"tousername":"ww1","encrypt":"AAAA","agentid":1000002}'
    assert envelopes.read_push(body) == Push("AAAA", "ww1", "1000002", "json")


XXE = b'<?xml version="1.0"?><!DOCTYPE xml [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><Encrypt>&a;</Encrypt></xml>'
LAUGHS = (
    b'<!DOCTYPE xml [<!ENTITY a "ha">'
    + b"".join(
        b'<!ENTITY %c "&%c;&%c;&%c;&%c;&%c;&%c;&%c;&%c;">' % (name, *[name - 1] * 8)
        for name in range(ord("b"), ord("z"))
    )
    + b"]><xml><Encrypt>&y;</Encrypt></xml>"
)
HOSTILE = {
    "xxe": XXE,
    "billion laughs": LAUGHS,
    "quadratic": b'<!DOCTYPE xml [<!ENTITY a "'
    + b"a" * 50_000
    + b'">]><xml>'
    + b"&a;" * 9_000
    + b"</xml>",
    "dtd": b'<!DOCTYPE xml SYSTEM "http://127.0.0.1/x.dtd"><xml><Encrypt>A</Encrypt></xml>',
    "unknown entity": b"<xml><Encrypt>&nbsp;</Encrypt></xml>",
    "200000 nested": b"<xml>" + b"<a>" * 200_000 + b"</a>" * 200_000 + b"</xml>",
    "nested below the size limit": b"<xml>" + b"<a>" * 30_000 + b"</a>" * 30_000 + b"</xml>",
    "depth 9": b"<xml>" + b"<a>" * 8 + b"</a>" * 8 + b"</xml>",
    "1 MB": b"<xml><Encrypt>" + b"A" * 1_000_000 + b"</Encrypt></xml>",
    "another root": b"<soap><Encrypt>AAAA</Encrypt></soap>",
    "empty": b"",
    "no fields": b"<xml>AAAA</xml>",
    "no Encrypt": b"<xml><ToUserName>ww1</ToUserName></xml>",
    "Encrypt with children": b"<xml><Encrypt><A>1</A></Encrypt></xml>",
    "Encrypt twice": b"<xml><Encrypt>A</Encrypt><Encrypt>B</Encrypt></xml>",
    "two roots": b"<xml><Encrypt>A</Encrypt></xml><xml/>",
    "not closed": b"<xml><Encrypt>A</Encrypt>",
    "UTF-16": "<xml><Encrypt>A</Encrypt></xml>".encode("utf-16"),
    "not UTF-8": b"<xml><Encrypt>\xff</Encrypt></xml>",
    "json list": b"[1]",
    "json nested": b'{"encrypt":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "json cut": b'{"encrypt":"AAAA"',
    "json number": b'{"encrypt":NaN}',
    "json digits": b'{"encrypt":' + b"1" * 100_000 + b"}",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_envelopes_are_refused(body: bytes) -> None:
    for read in (envelopes.read_push, envelopes.read_reply):
        with pytest.raises(Refused) as caught:
            read(body)
        assert (str(caught.value), caught.value.check) == ("callback refused", "envelope")


@pytest.mark.parametrize("size", [xmltext.MAX_BYTES + 1, 1_000_000])
def test_too_large_is_refused_before_parsing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr(xmltext, "DefusedXMLParser", never)
    monkeypatch.setattr(json, "loads", never)
    for start in (b"<xml>", b"{"):
        with pytest.raises(Refused):
            envelopes.read_push(start + b" " * (size - len(start)))


def test_the_largest_envelope_is_read() -> None:
    frame = b"<xml><Encrypt></Encrypt></xml>"
    body = b"<xml><Encrypt>" + b"A" * (xmltext.MAX_BYTES - len(frame)) + b"</Encrypt></xml>"
    assert len(body) == xmltext.MAX_BYTES
    assert len(envelopes.read_push(body).encrypt) == xmltext.MAX_BYTES - len(frame)


def test_fuzz_20000() -> None:
    rng = Random(20_000)
    good = [
        envelopes.write_push(Push(SEALED.encrypt, CORP, "1000002")),
        envelopes.write_push(Push(SEALED.encrypt, CORP, "1000002", "json")),
    ]
    read = 0
    for _ in range(20_000):
        body = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(body))
            match rng.randrange(4):
                case 0:
                    body[at] = rng.randrange(256)
                case 1:
                    del body[at : at + rng.randint(1, 30)]
                case 2:
                    body[at:at] = rng.randbytes(rng.randint(1, 8))
                case _:
                    del body[at:]
            if not body:
                break
        try:
            _, plain = envelopes.open_push(CRYPT, bytes(body), SEALED.signature, WHEN, NONCE)
        except Refused as error:
            assert str(error) == "callback refused"
        else:
            assert plain == PLAIN
            read += 1
    assert 0 < read < 10_000
