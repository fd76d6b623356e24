"""Makes certificates and revocation lists: `certificates.py FOLDER`.

A root authority and one below it, application certificates of all fates, users, and the lists. All keys of applications are
one key, all names tell what they are for. `--fixed` gives the dates of the fixtures of src/pki/fixtures, else they are around now.
"""

import sys
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

FOLDER = Path(sys.argv[1])
FIXED = "--fixed" in sys.argv
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc) if FIXED else datetime.now(timezone.utc)
YEAR = timedelta(days=365)
URI = "urn:test:hmi"


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test")])


def key():
    return rsa.generate_private_key(65537, 2048)


def usage(**set_ones):
    names = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign encipher_only decipher_only"
    return x509.KeyUsage(**{name: set_ones.get(name, False) for name in names.split()})


def certificate(subject, public, issuer, signer, begin, end, extensions, algorithm=None):
    builder = x509.CertificateBuilder(
        issuer, name(subject), public, x509.random_serial_number(), not_valid_before=begin, not_valid_after=end
    )
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, algorithm or hashes.SHA256())


def authority(subject, own, issuer=None, signer=None, end=NOW + 50 * YEAR, depth=None):
    extensions = [
        (x509.BasicConstraints(True, depth), True),
        (usage(digital_signature=True, key_cert_sign=True, crl_sign=True), True),
    ]
    return certificate(subject, own.public_key(), name(issuer or subject), signer or own, NOW - YEAR, end, extensions)


def application(subject, issuer, signer, uri=URI, begin=NOW - YEAR, end=NOW + 50 * YEAR, purpose=None, used=None, more=()):
    extensions = [
        (x509.BasicConstraints(False, None), True),
        (used or usage(digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True), True),
        (x509.ExtendedKeyUsage([purpose or ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.UniformResourceIdentifier(uri), x509.IPAddress(ip_address("127.0.0.1"))]
            ),
            False,
        ),
        *more,
    ]
    return certificate(subject, APPLICATION.public_key(), name(issuer or subject), signer or APPLICATION, begin, end, extensions)


def revocations(issuer, signer, revoked, end=NOW + 50 * YEAR):
    builder = x509.CertificateRevocationListBuilder(name(issuer), NOW - YEAR, end)
    for entry in revoked:
        entry = x509.RevokedCertificateBuilder(entry.serial_number, NOW - timedelta(days=1)).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(signer, hashes.SHA256())


def write(file, thing):
    (FOLDER / file).write_bytes(thing.public_bytes(serialization.Encoding.DER))


def write_key(file, secret):
    none = serialization.NoEncryption()
    (FOLDER / file).write_bytes(secret.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none))


FOLDER.mkdir(parents=True, exist_ok=True)
APPLICATION, ROOT, BELOW = key(), key(), ec.generate_private_key(ec.SECP256R1())
root = authority("Root", ROOT)
below = authority("Below", BELOW, "Root", ROOT, depth=0)
made = {
    "root": root,
    "below": below,
    "old_root": authority("Old", ROOT, end=NOW - timedelta(days=1)),
    "issued": application("Issued", "Root", ROOT),
    "issued_below": application("IssuedBelow", "Below", BELOW),
    "revoked": application("Revoked", "Root", ROOT),
    "expired": application("Expired", "Root", ROOT, end=NOW - timedelta(days=1)),
    "future": application("Future", "Root", ROOT, begin=NOW + YEAR),
    "other_uri": application("OtherUri", "Root", ROOT, uri="urn:test:other"),
    "web_server": application("WebServer", "Root", ROOT, purpose=ExtendedKeyUsageOID.SERVER_AUTH),
    "signs_certificates": application("SignsCertificates", "Root", ROOT, used=usage(key_cert_sign=True)),
    "by_old_root": application("ByOldRoot", "Old", ROOT),
    "self_signed": application("SelfSigned", None, None),
    "by_application": application("ByApplication", "SelfSigned", APPLICATION),
    "forged": application("Forged", "Root", APPLICATION),
    "critical": application("Critical", "Root", ROOT, more=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x"), True)]),
}
for file, thing in made.items():
    write(f"{file}.der", thing)
write("root.crl", revocations("Root", ROOT, [made["revoked"]]))
write("root_old.crl", revocations("Root", ROOT, [made["revoked"]], end=NOW - timedelta(days=1)))
write("root_revokes_below.crl", revocations("Root", ROOT, [below]))
write("below.crl", revocations("Below", BELOW, []))
write("old_root.crl", revocations("Old", ROOT, []))
write("forged.crl", revocations("Root", APPLICATION, []))
if not FIXED:
    write_key("key.pem", APPLICATION)
    user = key()
    write("user.der", certificate("carl", user.public_key(), name("carl"), user, NOW - YEAR, NOW + YEAR, [(usage(digital_signature=True), True)]))
    write_key("user.pem", user)
print("passed")
