"""Clients made of asyncua that show certificates. Usage: opcua_security.py URL FOLDER CASE... where a case is
POLICY:MODE:CERTIFICATES:TOKEN, with certificates of FOLDER joined by + (the rest of the chain) and the token `anonymous`, a user
name, `NAME.der`, or a user name and `*` (the password as EncryptedSecret) or `**` (that with the algorithm of the policy). Prints what came of each; ends with `passed` and 0."""

import asyncio
import logging
import sys
from pathlib import Path

from asyncua import Client, ua
from asyncua.crypto import security_policies

URL, FOLDER, CASES = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
PASSWORDS = {"olga": "öl pump 7"}
# The beginning of an RsaEncryptedSecret (Part 4, 7.40.2.5): its type, ByteString body, mask, length; what follows is of no matter.
ENCRYPTED_SECRET = bytes([1, 0, 0x89, 0x44, 1, 0x00, 0x02, 0, 0]) + bytes(range(247)) + bytes(256)
logging.getLogger("asyncua").setLevel(logging.CRITICAL)


async def outcome(case):
    policy, mode, certificates, token = case.split(":")
    leaf, *chain = [str(FOLDER / f"{name}.der") for name in certificates.split("+")]
    client = Client(URL, timeout=20)
    client.application_uri = "urn:test:hmi"
    policy = getattr(security_policies, f"SecurityPolicy{policy}")
    mode = getattr(ua.MessageSecurityMode, mode)
    if token.removesuffix("!").endswith(".der"):
        await client.load_client_certificate(str(FOLDER / token.removesuffix("!")))
        await client.load_private_key(str(FOLDER / ("key.pem" if token.endswith("!") else "user.pem")))
    elif token != "anonymous":
        if token.endswith("*"):
            algorithm = policy.AsymmetricEncryptionURI if token.endswith("**") else ""
            client._encrypt_password = lambda *_: (ENCRYPTED_SECRET[: 256 if token.endswith("**") else None], algorithm)
        client.set_user(token.rstrip("*"))
        client.set_password(PASSWORDS.get(token, "wrong"))
    try:
        await client.set_security(policy, leaf, str(FOLDER / "key.pem"), mode=mode, certificate_chain=chain)
        async with client:
            value = await client.get_node(ua.NodeId("Plant/Line1/TankLevel", 2)).read_value()
            pump = client.get_node(ua.NodeId("Plant/Line1/Pump", 2))
            try:
                await pump.write_value(ua.DataValue(ua.Variant(True, ua.VariantType.Boolean)))
                return f"read {value} and written"
            except ua.UaStatusCodeError as error:
                return f"read {value}, write {ua.StatusCode(error.code).name}"
    except ua.UaStatusCodeError as error:
        return ua.StatusCode(error.code).name
    except Exception as error:
        return f"{type(error).__name__} {error}"


async def main():
    for case in CASES:
        print("case", case, await outcome(case), flush=True)
    print("passed", flush=True)


asyncio.run(main())
