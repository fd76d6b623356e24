"""Looks at the address space with asyncua. Usage: opcua_space.py URL SCENARIO. Prints what it saw; ends with `passed` and 0."""

import asyncio
import dataclasses
import logging
import sys

from asyncua import Client, ua

URL, SCENARIO = sys.argv[1:3]
TAGS = 2
logging.getLogger("asyncua").setLevel(logging.CRITICAL)
HIERARCHICAL, HAS_NOTIFIER, HAS_EVENT_SOURCE, HAS_CONDITION, HAS_TYPE = 33, 48, 36, 9006, 40
BATCH = 500
Attributes = ua.AttributeIds
# What nodes of a class must have (Part 3, 5.2 to 5.8) besides what all have, and what they may have.
ALL = {"NodeId", "NodeClass", "BrowseName", "DisplayName"}
MAY_ALL = {"Description", "WriteMask", "UserWriteMask", "RolePermissions", "UserRolePermissions", "AccessRestrictions"}
VARIABLE = {"Value", "DataType", "ValueRank", "AccessLevel", "UserAccessLevel", "Historizing"}
MUST = {
    ua.NodeClass.Object: {"EventNotifier"},
    ua.NodeClass.Variable: VARIABLE,
    ua.NodeClass.Method: {"Executable", "UserExecutable"},
    ua.NodeClass.ObjectType: {"IsAbstract"},
    ua.NodeClass.VariableType: {"DataType", "ValueRank", "IsAbstract"},
    ua.NodeClass.DataType: {"IsAbstract"},
    ua.NodeClass.ReferenceType: {"IsAbstract", "Symmetric"},
}
MAY = {
    ua.NodeClass.Variable: {"ArrayDimensions", "MinimumSamplingInterval", "AccessLevelEx"},
    ua.NodeClass.VariableType: {"Value", "ArrayDimensions"},
    ua.NodeClass.DataType: {"DataTypeDefinition"},
    ua.NodeClass.ReferenceType: {"InverseName"},
}


def say(*words):
    print(*words, flush=True)


def expect(found, wanted, what):
    assert found == wanted, f"{what}: expected {wanted!r}, found {found!r}"


def ours(path):
    return ua.NodeId(path, TAGS)


async def references(client, nodes, kind=31, direction=ua.BrowseDirection.Both):
    """All references of each of the nodes."""
    found = []
    for begin in range(0, len(nodes), BATCH):
        wanted = [
            ua.BrowseDescription(NodeId=node, BrowseDirection=direction, ReferenceTypeId=ua.NodeId(kind),
                                 IncludeSubtypes=True, NodeClassMask=0, ResultMask=63)
            for node in nodes[begin : begin + BATCH]
        ]
        results = await client.uaclient.browse(ua.BrowseParameters(RequestedMaxReferencesPerNode=0, NodesToBrowse=wanted))
        for result in results:
            result.StatusCode.check()
            found.append(result.References)
    return found


async def targets(client, node, kind, direction=ua.BrowseDirection.Forward):
    return [reference.NodeId for reference in (await references(client, [node], kind, direction))[0]]


async def everything(client):
    """All nodes below Objects, with their references forward."""
    known, rest = {}, [ua.NodeId(85)]
    known[rest[0]] = []
    while rest:
        found = await references(client, rest, HIERARCHICAL, ua.BrowseDirection.Forward)
        level = []
        for node, told in zip(rest, found):
            known[node] = told
            for reference in told:
                if reference.NodeId not in known:
                    known[reference.NodeId] = []
                    level.append(reference.NodeId)
        rest = level
    return known


async def attributes(client):
    known = await everything(client)
    say("nodes", len(known))
    expect(len([node for node in known if node.NamespaceIndex == TAGS]) > 500, True, "nodes of ours")
    nodes = list(known)
    wanted = [(node, attribute) for node in nodes for attribute in range(1, 28)]
    answers = {}
    for begin in range(0, len(wanted), 5000):
        part = wanted[begin : begin + 5000]
        parameters = ua.ReadParameters(NodesToRead=[ua.ReadValueId(NodeId=node, AttributeId=attribute) for node, attribute in part])
        for key, value in zip(part, await client.uaclient.read(parameters)):
            answers[key] = value
    bad, values = [], {}
    for node in nodes:
        kind = ua.NodeClass(answers[node, Attributes.NodeClass].Value.Value)
        must, may = ALL | MUST[kind], MAY_ALL | MAY.get(kind, set())
        for attribute in range(1, 28):
            name, answer = Attributes(attribute).name, answers[node, attribute]
            status = answer.StatusCode.name if answer.StatusCode else "Good"
            if name == "Value" and kind == ua.NodeClass.Variable:
                values[status] = values.get(status, 0) + 1
                fine = status == "Good" or (status, why(node)) in EXPECTED
            elif name in must:
                fine = status == "Good" and answer.Value is not None
            elif name in may:
                fine = status in ("Good", "BadAttributeIdInvalid") or (name, status) == ("RolePermissions", "BadUserAccessDenied")
            else:
                fine = status == "BadAttributeIdInvalid"
            if not fine:
                bad.append(f"{node.to_string()} {name} {status} {answer.Value}")
        if kind == ua.NodeClass.Object and answers[node, Attributes.EventNotifier].Value.Value & 1:
            below = [reference for reference in known[node] if reference.ReferenceTypeId.Identifier in (HAS_NOTIFIER, HAS_EVENT_SOURCE)]
            condition = await targets(client, node, HAS_CONDITION)
            expect(bool(below or condition), True, f"something notifies through {node}")
    say("values", values)
    expect(bad, [], f"{len(bad)} attributes")
    # What is told forward is told backward by the other end.
    backward = await references(client, nodes, HIERARCHICAL, ua.BrowseDirection.Inverse)
    inverse = {(node, ref.ReferenceTypeId, ref.NodeId) for node, told in zip(nodes, backward) for ref in told}
    for node, told in known.items():
        for reference in told:
            back = (reference.NodeId, reference.ReferenceTypeId, node)
            expect(back in inverse, True, f"{node} -> {reference.NodeId} by {reference.ReferenceTypeId} both ways")


# Values that cannot be read, and why.
EXPECTED = {
    ("BadWaitingForInitialData", "tag"),
    ("BadNotSupported", "diagnostics"),
    ("BadUserAccessDenied", "what others may"),
}


def why(node):
    if node in (ua.NodeId(18, TAGS), ua.NodeId(3708)) or "SessionSecurityDiagnostics" in str(node.Identifier):
        return "what others may"
    if node.NamespaceIndex == TAGS:
        return "member" if "0:" in str(node.Identifier) else "tag"
    return "diagnostics" if node.Identifier == 2289 else "server"


async def condition(client):
    path = "Plant/Line1/TankLevel/Alarms/HighHigh"
    alarm = client.get_node(ours(path))
    names = [f"{TAGS}:{name}" for name in ("Alarms", "Plant", "Line1", "TankLevel", "HighHigh")]
    expect((await client.nodes.objects.get_child(names)).nodeid, alarm.nodeid, "where it is browsed")
    expect((await alarm.read_type_definition()).Identifier, 9482, "ExclusiveLevelAlarmType")
    level = ours("Plant/Line1/TankLevel")
    expect(await targets(client, level, HAS_CONDITION), [alarm.nodeid], "conditions of the tag")
    expect(await targets(client, alarm.nodeid, HAS_CONDITION, ua.BrowseDirection.Inverse), [level], "the condition's tag")
    for member, kind, type_definition in [
        (["ActiveState"], ua.NodeClass.Variable, 8995),
        (["ActiveState", "Id"], ua.NodeClass.Variable, 68),
        (["EnabledState"], ua.NodeClass.Variable, 8995),
        (["Quality"], ua.NodeClass.Variable, 9002),
        (["Retain"], ua.NodeClass.Variable, 68),
        (["LimitState"], ua.NodeClass.Object, 9318),
        (["LimitState", "CurrentState", "Id"], ua.NodeClass.Variable, 68),
        (["ShelvingState"], ua.NodeClass.Object, 2929),
        (["ShelvingState", "CurrentState"], ua.NodeClass.Variable, 2760),
        (["ShelvingState", "TimedShelve"], ua.NodeClass.Method, None),
        (["Acknowledge"], ua.NodeClass.Method, None),
        (["Acknowledge", "InputArguments"], ua.NodeClass.Variable, 68),
    ]:
        node = await alarm.get_child([f"0:{name}" for name in member])
        expect(node.nodeid, ours("/0:".join([path, *member])), f"NodeId of {member}")
        expect(await node.read_node_class(), kind, f"NodeClass of {member}")
        types = [target.Identifier for target in await targets(client, node.nodeid, HAS_TYPE)]
        expect(types, [type_definition] if type_definition else [], f"type of {member}")
    expect(await (await alarm.get_child(["0:ActiveState", "0:Id"])).read_value(), False, "ActiveState/Id")
    expect(await (await alarm.get_child(["0:ConditionName"])).read_value(), "HighHigh", "ConditionName")
    expect(await (await alarm.get_child(["0:InputNode"])).read_value(), level, "InputNode")
    expect(await (await alarm.get_child(["0:HighLimit"])).read_value(), 90.0, "HighLimit")
    arguments = await (await alarm.get_child(["0:Acknowledge", "0:InputArguments"])).read_value()
    expect([argument.Name for argument in arguments], ["EventId", "Comment"], "arguments of Acknowledge")


async def tree(client):
    server = ua.NodeId(2253)
    top = await targets(client, server, HAS_NOTIFIER)
    expect(top, [ours("Plant"), ours("System")], "notifiers of the server")
    expect(await targets(client, ours("Plant"), HAS_NOTIFIER), [ours("Plant/Line1")], "notifiers below Plant")
    sources = [node for node in await targets(client, ours("Plant/Line1"), HAS_EVENT_SOURCE)]
    expect(sources, [ours("Plant/Line1/TankLevel")], "sources in Line1")
    up = await targets(client, ours("Plant/Line1/TankLevel"), HAS_EVENT_SOURCE, ua.BrowseDirection.Inverse)
    expect(up, [ours("Plant/Line1")], "notifier of the tag")
    expect(await targets(client, ours("Plant"), HAS_NOTIFIER, ua.BrowseDirection.Inverse), [server], "notifier of Plant")
    for node, bits in [(server, 1), (ours("Plant"), 1), (ours("Plant/Line1"), 1), (ours("Alarms"), 0), (ua.NodeId(85), 0)]:
        expect((await client.get_node(node).read_attribute(Attributes.EventNotifier)).Value.Value, bits, f"EventNotifier of {node}")


async def diagnostics(client):
    await client.load_data_type_definitions()
    summary = await client.get_node(2275).read_value()
    expect((summary.CurrentSessionCount, summary.CumulatedSessionCount), (1, 1), "sessions")
    expect(await client.get_node(2277).read_value(), 1, "CurrentSessionCount")
    expect(await client.get_node(2267).read_value(), 255, "ServiceLevel")
    index = ua.NodeId(11715)
    children = await client.get_node(index).get_children()
    own = [node for node in children if (await node.read_browse_name()).Name == "urn:annunciator:tags"]
    expect(len(own), 1, "NamespaceMetadata of ours")
    values = {(await node.read_browse_name()).Name: await node.read_data_value(False) for node in await own[0].get_children()}
    expect(values["NamespaceUri"].Value.Value, "urn:annunciator:tags", "NamespaceUri")
    expect(values["NamespaceVersion"].Value.Value, str(values["ConfigurationVersion"].Value.Value), "version")
    rights = values["DefaultUserRolePermissions"].Value.Value
    expect([(right.RoleId.Identifier, right.Permissions) for right in rights], [(15668, 0x821)], "what a viewer may")


class Quiet:
    def datachange_notification(self, node, value, data):
        pass


async def arrays(client):
    """Sessions and subscriptions one by one, as asyncua's own types."""
    [session] = await client.get_node(3707).read_value()
    expect(type(session), ua.SessionDiagnosticsDataType, "type of a session")
    own = client.get_node(session.SessionId).nodeid
    expect((own.NamespaceIndex, session.SessionName.startswith(client.description)), (1, True), "session")
    expect(session.ClientDescription.ApplicationUri, client.application_uri, "ApplicationUri")
    expect((session.EndpointUrl, session.ActualSessionTimeout > 0), (client.server_url.geturl(), True), "endpoint and timeout")
    expect((session.CurrentSubscriptionsCount, session.CurrentMonitoredItemsCount), (0, 0), "nothing watched")
    age = session.ClientLastContactTime - session.ClientConnectionTime
    expect(0 <= age.total_seconds() < 60, True, "times")
    reads = session.ReadCount.TotalCount
    await client.get_node(2258).read_value()
    [session] = await client.get_node(3707).read_value()
    expect(session.ReadCount.TotalCount - reads, 2, "one Read and this one")
    try:
        await client.uaclient.call([])
    except ua.UaStatusCodeError:
        pass
    [session] = await client.get_node(3707).read_value()
    expect((session.CallCount.TotalCount, session.CallCount.ErrorCount), (1, 1), "a Call that is refused")
    expect(session.TotalRequestCount.ErrorCount, 1, "refused requests")

    subscription = await client.create_subscription(100, Quiet())
    await subscription.subscribe_data_change([client.get_node(ours("Plant/Line1/Counter")), client.get_node(2258)])
    items = subscription
    for _ in range(100):
        [told] = await client.get_node(2290).read_value()
        if told.DataChangeNotificationsCount >= 2:
            break
        await asyncio.sleep(0.05)
    expect(type(told), ua.SubscriptionDiagnosticsDataType, "type of a subscription")
    expect((told.SessionId, told.SubscriptionId), (session.SessionId, items.subscription_id), "whose")
    expect((told.PublishingInterval, told.PublishingEnabled, told.MonitoredItemCount), (100.0, True, 2), "terms")
    expect((told.DisabledMonitoredItemCount, told.EventNotificationsCount), (0, 0), "items")
    expect(told.NotificationsCount, told.DataChangeNotificationsCount, "notifications")
    expect((told.NextSequenceNumber > 1, told.PublishRequestCount > 0, told.MaxLifetimeCount >= 3 * told.MaxKeepAliveCount), (True,) * 3, "counts")
    await client.uaclient.set_publishing_mode(ua.SetPublishingModeParameters(PublishingEnabled=False, SubscriptionIds=[items.subscription_id]))
    [told] = await client.get_node(2290).read_value()
    expect((told.PublishingEnabled, told.DisableCount, told.EnableCount, told.ModifyCount), (False, 1, 0, 0), "disabled")
    [session] = await client.get_node(3707).read_value()
    expect((session.CurrentSubscriptionsCount, session.CurrentMonitoredItemsCount), (1, 2), "what is watched")
    expect(session.CurrentPublishRequestsInQueue > 0, True, "Publish requests wait")
    await subscription.delete()
    expect(await client.get_node(2290).read_value(), [], "deleted")


SESSIONS, SESSION_TYPE = 3706, 2029


async def session_objects(client):
    """Each session is an object whose NodeId is the SessionId, for as long as it lives."""
    summary = client.get_node(ua.NodeId(SESSIONS))
    of_type = dict(refs=47, nodeclassmask=ua.NodeClass.Object)
    [own] = await summary.get_children(**of_type)
    [listed] = await client.get_node(3707).read_value()
    expect(own.nodeid, listed.SessionId, "the object of the session")
    expect((await own.read_type_definition()).Identifier, SESSION_TYPE, "its type")
    name = await own.read_browse_name()
    expect((name.NamespaceIndex, name.Name), (1, listed.SessionName), "its name")
    expect((await own.get_parent()).nodeid, summary.nodeid, "where it hangs")

    members = {(await node.read_browse_name()).Name: node for node in await own.get_children()}
    expect(sorted(members), ["SessionDiagnostics", "SessionSecurityDiagnostics", "SubscriptionDiagnosticsArray"], "its members")
    told = await members["SessionDiagnostics"].read_value()
    expect((type(told), told.SessionName), (ua.SessionDiagnosticsDataType, listed.SessionName), "SessionDiagnostics")
    expect(await members["SubscriptionDiagnosticsArray"].read_value(), [], "no subscription yet")
    changing = {"ClientLastContactTime", "TotalRequestCount", "ReadCount", "BrowseCount"}
    await fields(members["SessionDiagnostics"], told, changing)
    path = ["0:SessionDiagnostics", "0:ReadCount"]
    reads = await own.get_child(path)
    before = (await reads.read_value()).TotalCount
    expect((await reads.read_value()).TotalCount - before, 1, "one Read more")

    security = members["SessionSecurityDiagnostics"]
    if SCENARIO == "session_objects_of_engineer":
        # asyncua 2.1 takes the structure's Encoding, a text, for its own encoding mask; node-opcua reads the whole.
        told = {(await node.read_browse_name()).Name: await node.read_value() for node in await security.get_children()}
        expect((told.pop("SessionId"), told.pop("SecurityMode")), (own.nodeid, ua.MessageSecurityMode.None_), "security")
        expect(told.pop("SecurityPolicyUri").split("#")[1], "None", "policy")
        expect(told, {
            "ClientUserIdOfSession": "anonymous", "ClientUserIdHistory": ["anonymous"], "AuthenticationMechanism": "Anonymous",
            "Encoding": "UA Binary", "TransportProtocol": "opc.tcp", "ClientCertificate": None,
        }, "who came in how")
        expect(await security.get_user_access_level(), {ua.AccessLevel.CurrentRead}, "an engineer reads it")
    else:
        for node in [security, *await security.get_children()]:
            found = await node.read_data_value(raise_on_bad_status=False)
            expect(found.StatusCode.name, "BadUserAccessDenied", f"{node} for a viewer")
        expect(await security.get_user_access_level(), set(), "a viewer does not read it")

    async with Client(URL, timeout=20) as other:
        both = await summary.get_children(**of_type)
        expect(len(both), 2, "two sessions")
        [theirs] = [node for node in both if node.nodeid != own.nodeid]
        await other.create_subscription(100, Quiet())
        array = await theirs.get_child(["0:SubscriptionDiagnosticsArray"])
        expect([len(await array.read_value()), len(await client.get_node(2290).read_value())], [1, 1], "its subscription")
        expect(await members["SubscriptionDiagnosticsArray"].read_value(), [], "and none of this session")
        watched = await client.create_subscription(50, told_of := Values())
        count = await theirs.get_child(path)
        await watched.subscribe_data_change(count)
        expect((await told_of.next()).StatusCode.name, "Good", "a member is watched")
    expect((await told_of.next_bad()).StatusCode.name, "BadNodeIdUnknown", "and its end is told")
    await watched.delete()
    expect([node.nodeid for node in await summary.get_children(**of_type)], [own.nodeid], "gone with the session")
    for node in [theirs, array, count]:
        found = await node.read_data_value(raise_on_bad_status=False)
        expect(found.StatusCode.name, "BadNodeIdUnknown", f"{node}")


session_objects_of_engineer = session_objects


async def fields(variable, told, changing):
    """Each field of the structure is a variable with the same value."""
    names = set()
    for node in await variable.get_children():
        name = (await node.read_browse_name()).Name
        value = await node.read_value()
        names.add(name)
        if name not in changing:
            expect(value, getattr(told, name), name)
        expect(isinstance(getattr(told, name), type(value)), True, f"type of {name}")
        expect((await node.read_type_definition()).Identifier, 63, f"type definition of {name}")
    expect(names, {field.name for field in dataclasses.fields(told)}, "fields")


class Values:
    def __init__(self):
        self.all = asyncio.Queue()

    def datachange_notification(self, node, value, data):
        self.all.put_nowait(data.monitored_item.Value)

    async def next(self):
        return await asyncio.wait_for(self.all.get(), 30)

    async def next_bad(self):
        while (value := await self.next()).StatusCode.is_good():
            pass
        return value


async def no_security(client):
    try:
        await client.get_node(3708).read_value()
    except ua.UaStatusCodeError as refused:
        expect(refused.code, ua.StatusCodes.BadUserAccessDenied, "who came in how, for a viewer")
        return
    raise AssertionError("a viewer sees who came in how")


class Changes:
    def event_notification(self, event):
        changes = sorted((str(change.Affected.Identifier), int(change.Verb)) for change in event.Changes)
        say("changes", changes)


async def changes(client):
    await client.load_data_type_definitions()
    line = client.get_node(ours("Plant/Line1/0:NodeVersion"))
    say("version", await line.read_value())
    subscription = await client.create_subscription(50, Changes())
    await subscription.subscribe_events(2253, ua.ObjectIds.GeneralModelChangeEventType)
    say("subscribed")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    say("version", await line.read_value())
    await subscription.delete()


async def main():
    async with Client(URL, timeout=20) as client:
        await globals()[SCENARIO](client)
    say("passed")


asyncio.run(main())
