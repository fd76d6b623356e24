"""An HMI made of asyncua. Usage: opcua_hmi.py URL SCENARIO [key=value ...]. Prints what it saw; ends with `passed` and 0."""

import asyncio
import logging
import sys
from pathlib import Path

from asyncua import Client, ua
from asyncua.crypto import security_policies
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from cryptography.x509.oid import ExtendedKeyUsageOID

URL, SCENARIO = sys.argv[1:3]
OPTIONS = dict(argument.split("=", 1) for argument in sys.argv[3:])
TAGS = "urn:annunciator:tags"
URI = "urn:test:hmi"
logging.getLogger("asyncua").setLevel(logging.CRITICAL)


def say(*words):
    print(*words, flush=True)


def expect(found, wanted, what):
    assert found == wanted, f"{what}: expected {wanted!r}, found {found!r}"


async def heard():
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def secured(client):
    """Security and user as the options say."""
    if "mode" in OPTIONS:
        folder = Path(OPTIONS["certificates"])
        policy = getattr(security_policies, "SecurityPolicy" + OPTIONS.get("policy", "Basic256Sha256"))
        key, certificate = folder / "key.pem", folder / "certificate.der"
        await client.set_security(
            policy, str(certificate), str(key), mode=getattr(ua.MessageSecurityMode, OPTIONS["mode"])
        )
    client.application_uri = URI
    if "user" in OPTIONS:
        client.set_user(OPTIONS["user"])
        client.set_password(OPTIONS["password"])
    if "token" in OPTIONS:
        client.secure_channel_timeout = int(OPTIONS["token"])
    return client


async def certificate():
    folder = Path(OPTIONS["certificates"])
    usage = [ExtendedKeyUsageOID.CLIENT_AUTH]
    await setup_self_signed_certificate(folder / "key.pem", folder / "certificate.der", URI, "localhost", usage, {})


async def failure(awaitable):
    try:
        await awaitable
    except ua.UaError as error:
        return error.code if isinstance(error, ua.UaStatusCodeError) else 0
    return ua.StatusCodes.Good


async def browse(client):
    index = await client.get_namespace_index(TAGS)
    expect(index, 2, "namespace index")
    level = await client.nodes.objects.get_child([f"{index}:{name}" for name in ("Plant", "Line1", "TankLevel")])
    expect(level.nodeid, ua.NodeId("Plant/Line1/TankLevel", index), "NodeId by path")
    expect(await level.read_value(), 12.5, "value")
    value = await level.read_data_value()
    expect(value.SourceTimestamp.isoformat(), "2024-02-29T12:00:00+00:00", "source timestamp")
    expect((await level.read_type_definition()).Identifier, 2368, "type definition")
    expect((await level.read_data_type()).Identifier, 10, "data type")
    expect((await level.read_description()).Text, "Feed tank level", "description")
    units = await (await level.get_child(["0:EngineeringUnits"])).read_value()
    expect((units.UnitId, units.DisplayName.Text), (20529, "%"), "units")
    limits = await (await level.get_child(["0:EURange"])).read_value()
    expect((limits.Low, limits.High), (0.0, 100.0), "range")
    recipe = client.get_node(ua.NodeId("Plant/Line1/Recipe", index))
    expect(await recipe.read_value(), [1, 2, 3, 4], "array")
    expect(await recipe.read_array_dimensions(), [4], "dimensions")
    names = ["CallMinutesReceived", "CallMinutesSent", "CallsReceived", "CallsSent", "MessagesReceived", "MessagesSent"]
    for count, name in enumerate(names, 10):
        node = client.get_node(ua.NodeId(f"System/Gateway/Twilio/{name}", index))
        value = await node.read_data_value()
        expect((value.Value.Value, value.Value.VariantType), (count, ua.VariantType.Int32), name)
        expect((await node.read_data_type()).Identifier, 6, f"type of {name}")
        expect(ua.AccessLevel.CurrentWrite in await node.get_user_access_level(), False, f"write access to {name}")
    await client.load_data_type_definitions()
    statistics = client.get_node(ua.NodeId("System/Gateway/Twilio/UserStatistics", index))
    rows = await statistics.read_value()
    expect([(row.Username, row.PhoneNumber, row.MessagesSent) for row in rows], [("alice", "+1•••4444", 5), ("bob", "+1•••4444", 7)], "rows")
    alarm = await client.nodes.objects.get_child([f"{index}:{name}" for name in ("Alarms", "Plant", "Line1", "TankLevel", "HighHigh")])
    expect(alarm.nodeid.Identifier, "Plant/Line1/TankLevel/Alarms/HighHigh", "alarm's NodeId")
    plain = [node for node in await alarm.get_children() if "0:" not in node.nodeid.Identifier]
    expect(len(plain), 12, "plain variables of the alarm")
    waiting = await client.get_node(ua.NodeId("Plant/Line1/Broken", index)).read_data_value(raise_on_bad_status=False)
    expect((waiting.StatusCode.value, waiting.Value.Value), (ua.StatusCodes.BadWaitingForInitialData, None), "not loaded yet")
    status = await client.nodes.server_state.read_value()
    expect(status, 0, "server state")
    expect(len(await client.get_namespace_array()), 3, "namespaces")
    limits = client.get_node(ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead)
    expect(await limits.read_value(), 10000, "limit of Read")
    seen = []
    await walk(client.nodes.objects, seen, 0)
    say("nodes", len(seen))
    await in_pieces(client.get_node(ua.NodeId("Plant/Line1", index)))
    missing = client.get_node(ua.NodeId("Plant/Nowhere", index))
    expect(await failure(missing.read_value()), ua.StatusCodes.BadNodeIdUnknown, "unknown node")


async def in_pieces(node):
    """Browses two references at a time."""
    question = ua.BrowseDescription(
        NodeId=node.nodeid, BrowseDirection=ua.BrowseDirection.Forward, ReferenceTypeId=ua.NodeId(35), IncludeSubtypes=True,
        NodeClassMask=0, ResultMask=63,
    )
    parameters = ua.BrowseParameters(RequestedMaxReferencesPerNode=2, NodesToBrowse=[question])
    result = (await node.session.browse(parameters))[0]
    sizes, names = [len(result.References)], [reference.BrowseName.Name for reference in result.References]
    point = None
    while result.ContinuationPoint:
        point = result.ContinuationPoint
        result = (await node.session.browse_next(ua.BrowseNextParameters(False, [point])))[0]
        sizes.append(len(result.References))
        names += [reference.BrowseName.Name for reference in result.References]
    expect((sizes, sorted(names)), ([2, 2, 1], ["Broken", "Counter", "Pump", "Recipe", "TankLevel"]), "pieces")
    used = (await node.session.browse_next(ua.BrowseNextParameters(False, [point])))[0]
    expect(used.StatusCode.name, "BadContinuationPointInvalid", "a used continuation point")


async def walk(node, seen, depth):
    for child in await node.get_children():
        if child.nodeid.NamespaceIndex == 2 and child.nodeid not in seen:
            seen.append(child.nodeid)
            await child.read_browse_name()
            await walk(child, seen, depth + 1)


class Printer:
    def datachange_notification(self, node, value, data):
        item = data.monitored_item.Value
        stamp = item.SourceTimestamp.isoformat() if item.SourceTimestamp else None
        status = item.StatusCode.value if item.StatusCode else 0
        say("value", node.nodeid.Identifier, value, f"0x{status:08X}", stamp)

    def status_change_notification(self, status):
        say("status", status.Status.name if hasattr(status, "Status") else status)


async def subscribe(client):
    subscription = await client.create_subscription(float(OPTIONS.get("publishing", 50)), Printer())
    nodes = [client.get_node(ua.NodeId(path, 2)) for path in OPTIONS["paths"].split(",")]
    queue, sampling = int(OPTIONS.get("queue", 1)), float(OPTIONS.get("sampling", 0))
    if "deadband" in OPTIONS:
        kind, amount = OPTIONS["deadband"].split(":")
        kind = ua.DeadbandType.Percent if kind == "percent" else ua.DeadbandType.Absolute
        await subscription.deadband_monitor(nodes, float(amount), kind)
    else:
        await subscription.subscribe_data_change(nodes, queuesize=queue, sampling_interval=sampling)
    await heard()
    await subscription.delete()


async def put(client):
    """Writes one Boolean."""
    node = client.get_node(ua.NodeId(OPTIONS["path"], 2))
    value = ua.DataValue(ua.Variant(OPTIONS["value"] == "true", ua.VariantType.Boolean))
    say("code", ua.StatusCode(await failure(node.write_value(value))).name)


async def write(client):
    level = client.get_node(ua.NodeId("Plant/Line1/TankLevel", 2))
    pump = client.get_node(ua.NodeId("Plant/Line1/Pump", 2))
    broken = client.get_node(ua.NodeId("Plant/Line1/Broken", 2))
    ack = client.get_node(ua.NodeId("Plant/Line1/TankLevel/Alarms/HighHigh/Ack", 2))
    counter = client.get_node(ua.NodeId("System/Gateway/Twilio/MessagesSent", 2))
    plain = lambda value, kind: ua.DataValue(ua.Variant(value, kind))
    codes = [
        await failure(pump.write_value(plain(True, ua.VariantType.Boolean))),
        await failure(level.write_value(plain(50.0, ua.VariantType.Float))),
        await failure(broken.write_value(plain(1, ua.VariantType.Int32))),
        await failure(broken.write_value(plain("x", ua.VariantType.String))),
        await failure(broken.write_value(plain(1, ua.VariantType.Int16))),
        await failure(ack.write_value(plain(True, ua.VariantType.Boolean))),
        await failure(counter.write_value(plain(1, ua.VariantType.Int32))),
    ]
    say("codes", " ".join(ua.StatusCode(code).name for code in codes))
    level_access = ua.AccessLevel.CurrentWrite in await level.get_user_access_level()
    pump_access = ua.AccessLevel.CurrentWrite in await pump.get_user_access_level()
    say("access", level_access, pump_access)


async def call(client):
    await client.load_data_type_definitions()
    twilio = client.get_node(ua.NodeId("System/Gateway/Twilio", 2))
    number = lambda value: ua.Variant(value, ua.VariantType.Int64)
    expect(await twilio.call_method("2:SendMessage", "+15550002222", "hello"), True, "accepted")
    expect(await twilio.call_method("2:SendMessage", "bad", "hello"), False, "refused")
    user = await twilio.call_method("2:GetUser", number(1001))
    expect((user.Username, user.PhoneNumber, user.MessagesSent), ("bob", "+12223334444", 7), "user")
    expect(await failure(twilio.call_method("2:GetUser", number(0))), ua.StatusCodes.BadNotFound, "unknown user")
    expect(await failure(twilio.call_method("2:GetUser", "x")), ua.StatusCodes.BadInvalidArgument, "wrong type")
    expect(await failure(twilio.call_method("2:GetUser")), ua.StatusCodes.BadArgumentsMissing, "no argument")
    expect(await twilio.call_method("2:PlaceCall", "+15550002222", "hello"), True, "call accepted")
    expect(await twilio.call_method("2:PlaceCall", "bad", "hello"), False, "call refused")


async def refused(client):
    twilio = client.get_node(ua.NodeId("System/Gateway/Twilio", 2))
    code = await failure(twilio.call_method("2:SendMessage", "+15550002222", "hello"))
    say("call", ua.StatusCode(code).name)


async def stay(client):
    node = client.get_node(ua.NodeId("Plant/Line1/Counter", 2))
    for _ in range(int(OPTIONS["reads"])):
        await node.read_value()
        await asyncio.sleep(0.1)


async def unsupported(client):
    item = ua.DeleteNodesItem(client.nodes.objects.nodeid, True)
    code = await failure(client.uaclient.delete_nodes(ua.DeleteNodesParameters([item])))
    expect(code, ua.StatusCodes.BadServiceUnsupported, "DeleteNodes")
    await client.nodes.objects.get_children()


async def denied():
    client = await secured(Client(URL, timeout=10))
    try:
        async with client:
            say("denied by nothing")
    except ua.UaStatusCodeError as error:
        say("denied", ua.StatusCode(error.code).name)
    except Exception as error:
        say("denied", type(error).__name__)


async def main():
    if SCENARIO == "certificate":
        await certificate()
    elif SCENARIO == "denied":
        await denied()
    elif SCENARIO == "endpoints":
        for endpoint in await Client(URL).connect_and_get_server_endpoints():
            policy = endpoint.SecurityPolicyUri.split("#")[1]
            say("endpoint", endpoint.EndpointUrl, policy, endpoint.SecurityMode.name, sorted(t.TokenType.name for t in endpoint.UserIdentityTokens))
        found = await Client(URL).connect_and_find_servers()
        say("server", found[0].ApplicationUri)
    else:
        async with await secured(Client(URL, timeout=10)) as client:
            await globals()[SCENARIO](client)
    say("passed")


asyncio.run(main())
