"""An OPC UA PLC on asyncua, told what to do over standard input.

Arguments: PORT [--secure FOLDER] [--items N] [--limit N] [--rich]
Prints "ready INDEX", the index of its namespace, when it serves. Each command line is answered with one line.
"""

import argparse
import asyncio
import datetime
import sys
from pathlib import Path

from asyncua import Server, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.server.user_managers import User, UserManager, UserRole
from cryptography.x509.oid import ExtendedKeyUsageOID

URI = "urn:test:plant"

VALUES = {
    "Boolean": (True, ua.VariantType.Boolean),
    "SByte": (-12, ua.VariantType.SByte),
    "Byte": (200, ua.VariantType.Byte),
    "Int16": (-30000, ua.VariantType.Int16),
    "UInt16": (60000, ua.VariantType.UInt16),
    "Int32": (-2000000000, ua.VariantType.Int32),
    "UInt32": (4000000000, ua.VariantType.UInt32),
    "Int64": (-9000000000000000000, ua.VariantType.Int64),
    "UInt64": (18000000000000000000, ua.VariantType.UInt64),
    "Float": (1.5, ua.VariantType.Float),
    "Double": (3.25, ua.VariantType.Double),
    "String": ("Füllstand", ua.VariantType.String),
    "DateTime": (datetime.datetime(2026, 11, 20, 12, 34, 56, 123456, datetime.timezone.utc), ua.VariantType.DateTime),
    "ByteString": (b"\x00\x01\xff", ua.VariantType.ByteString),
    "Int16Array": ([1, -2, 3], ua.VariantType.Int16),
    "Text": (ua.LocalizedText("läuft", "de"), ua.VariantType.LocalizedText),
}


class Users(UserManager):
    """One user; anonymous sessions only without --secure."""

    def __init__(self, secure):
        self.secure = secure

    def get_user(self, iserver, username=None, password=None, certificate=None):
        if username == "bridge" and password == "secret":
            return User(role=UserRole.User, name=username)
        if username is None and not self.secure:
            return User(role=UserRole.User)
        return None


async def make(options):
    server = Server(user_manager=Users(options.secure is not None))
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{options.port}/plant")
    await server.set_application_uri("urn:test:plc")
    if options.secure:
        folder = Path(options.secure)
        key, cert = folder / "key.pem", folder / "cert.der"
        await setup_self_signed_certificate(
            key, cert, "urn:test:plc", "127.0.0.1", [ExtendedKeyUsageOID.SERVER_AUTH], {"commonName": "Test PLC"}
        )
        await server.load_certificate(str(cert))
        await server.load_private_key(str(key))
        server.set_security_policy(
            [ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt, ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt]
        )
    else:
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    # The namespace is not always at the same index: clients look its URI up.
    for number in range(options.namespaces):
        await server.register_namespace(f"urn:test:other{number}")
    index = await server.register_namespace(URI)
    plant = await server.nodes.objects.add_object(index, "Plant")
    nodes = {}
    for name, (value, kind) in VALUES.items():
        node = await plant.add_variable(ua.NodeId(name, index), ua.QualifiedName(name, index), ua.Variant(value, kind))
        await node.set_writable()
        nodes[name] = node
    for number in range(options.items):
        name = f"Item{number}"
        nodes[name] = await plant.add_variable(ua.NodeId(name, index), ua.QualifiedName(name, index), ua.Variant(number, ua.VariantType.Int32))
    if options.rich:
        await rich(server, plant, index)
    if options.limit:
        for identifier in (11705, 11714):
            await server.get_node(ua.NodeId(identifier)).write_value(ua.Variant(options.limit, ua.VariantType.UInt32))
        limit_calls(server, options.limit)
    return server, plant, nodes, index


async def rich(server, plant, index):
    """What not every server has, and what no tag can be."""
    folder = await server.nodes.objects.add_object(index, "Rich")

    async def add(name, value, kind, **more):
        return await folder.add_variable(ua.NodeId(name, index), ua.QualifiedName(name, index), ua.Variant(value, kind, **more))

    level = await add("Level", 20.5, ua.VariantType.Double)
    await level.write_attribute(ua.AttributeIds.Description, ua.DataValue(ua.LocalizedText("Feed tank")))
    await level.add_property(0, "EURange", ua.Range(Low=-10.0, High=120.0))
    unit = ua.EUInformation(NamespaceUri="http://www.opcfoundation.org/UA/units/un/cefact", UnitId=4408652, DisplayName=ua.LocalizedText("°C"), Description=ua.LocalizedText("degree Celsius"))
    await level.add_property(0, "EngineeringUnits", unit)
    await level.add_variable(ua.NodeId("Raw", index), ua.QualifiedName("Raw", index), ua.Variant(7, ua.VariantType.Int16))
    await add("Recipe", [1, 2, 3], ua.VariantType.Int16)
    matrix = await add("Matrix", [[1, 2], [3, 4]], ua.VariantType.Int16)
    await matrix.write_attribute(ua.AttributeIds.ValueRank, ua.DataValue(ua.Variant(2, ua.VariantType.Int32)))
    await add("Structure", ua.Range(Low=1.0, High=2.0), ua.VariantType.ExtensionObject)
    secret = await add("Secret", 5, ua.VariantType.Int32)
    for attribute in (ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel):
        await secret.write_attribute(attribute, ua.DataValue(ua.Variant(0, ua.VariantType.Byte)))
    # A circle: the folder is found below itself.
    loop = await folder.add_object(index, "Loop")
    await loop.add_reference(folder, ua.ObjectIds.Organizes)


def limit_calls(server, limit):
    """Refuses larger calls as a server with this limit does."""
    from asyncua.server.internal_session import InternalSession

    create = InternalSession.create_monitored_items

    async def limited(self, params):
        if len(params.ItemsToCreate) > limit:
            raise ua.UaStatusCodeError(ua.StatusCodes.BadTooManyOperations)
        return await create(self, params)

    InternalSession.create_monitored_items = limited


def instant(text):
    return datetime.datetime.fromisoformat(text)


async def obey(line, server, plant, nodes, index):
    words = line.split()
    match words:
        case ["set", name, value]:
            kind = VALUES.get(name, (0, ua.VariantType.Int32))[1]
            number = {"true": True, "false": False}.get(value)
            number = (float(value) if kind in (ua.VariantType.Float, ua.VariantType.Double) else int(value)) if number is None else number
            await nodes[name].write_value(ua.Variant(number, kind))
        case ["all", count, value]:
            variant = ua.Variant(int(value), ua.VariantType.Int32)
            for number in range(int(count)):
                await nodes[f"Item{number}"].write_value(variant)
        case ["status", name, code, stamp]:
            # The same value with another status and a source timestamp of its own.
            value, kind = VALUES[name]
            bad = int(code, 16) >> 31
            data = ua.DataValue(
                ua.Variant() if bad else ua.Variant(value, kind), ua.StatusCode(int(code, 16)), SourceTimestamp=instant(stamp)
            )
            await server.write_attribute_value(nodes[name].nodeid, data)
        case ["pulse", name, milliseconds]:
            await nodes[name].write_value(ua.Variant(True, ua.VariantType.Boolean))
            await asyncio.sleep(int(milliseconds) / 1000)
            await nodes[name].write_value(ua.Variant(False, ua.VariantType.Boolean))
        case ["get", name]:
            data = await nodes[name].read_data_value(raise_on_bad_status=False)
            return f"value {name} {data.Value.Value} {data.Value.VariantType.name}"
        case ["add", name]:
            nodes[name] = await plant.add_variable(ua.NodeId(name, index), ua.QualifiedName(name, index), ua.Variant(1, ua.VariantType.Int32))
        case _:
            return f"unknown {line}"
    return f"done {line}"


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--secure")
    parser.add_argument("--items", type=int, default=0)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--namespaces", type=int, default=0)
    parser.add_argument("--rich", action="store_true")
    options = parser.parse_args()
    server, plant, nodes, index = await make(options)
    async with server:
        print(f"ready {index}", flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := (await reader.readline()).decode().strip():
            print(await obey(line, server, plant, nodes, index), flush=True)


asyncio.run(main())
