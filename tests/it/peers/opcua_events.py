"""A client of events made of asyncua. Usage: opcua_events.py URL SCENARIO. Prints what it saw; ends with `passed` and 0."""

import asyncio
import logging
import sys

from asyncua import Client, ua

URL, SCENARIO = sys.argv[1:3]
TAGS = 2
logging.getLogger("asyncua").setLevel(logging.CRITICAL)


def say(*words):
    print(*words, flush=True)


def expect(found, wanted, what):
    assert found == wanted, f"{what}: expected {wanted!r}, found {found!r}"


def tag(path):
    return ua.NodeId(path, TAGS)


class Handler:
    def __init__(self):
        self.events = asyncio.Queue()

    def event_notification(self, event):
        self.events.put_nowait(event)

    async def next(self):
        return await asyncio.wait_for(self.events.get(), 30)


def field(name, of=ua.ObjectIds.BaseEventType, attribute=ua.AttributeIds.Value):
    path = [ua.QualifiedName(step) for step in name.split("/")] if name else []
    return ua.SimpleAttributeOperand(TypeDefinitionId=ua.NodeId(of), BrowsePath=path, AttributeId=attribute)


def literal(value, kind=None):
    return ua.LiteralOperand(Value=ua.Variant(value, kind))


def element(operator, *operands):
    return ua.ContentFilterElement(FilterOperator=getattr(ua.FilterOperator, operator), FilterOperands=list(operands))


def events(names, *elements):
    select = [name if isinstance(name, ua.SimpleAttributeOperand) else field(name) for name in names]
    return ua.EventFilter(SelectClauses=select, WhereClause=ua.ContentFilter(Elements=list(elements)))


ALL = ["EventId", "EventType", "SourceNode", "SourceName", "Time", "ReceiveTime", "Message", "Severity"]


async def create(client, subscription, node, wanted, queue=0, handle=77):
    """CreateMonitoredItems as it is on the wire: the result with its filter result."""
    item = ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.EventNotifier),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(ClientHandle=handle, Filter=wanted, QueueSize=queue, DiscardOldest=True),
    )
    parameters = ua.CreateMonitoredItemsParameters(
        SubscriptionId=subscription.subscription_id, TimestampsToReturn=ua.TimestampsToReturn.Neither, ItemsToCreate=[item]
    )
    return (await client.uaclient.create_monitored_items(parameters))[0]


async def audit(client):
    """Writes are told, through a where clause, on the Server object and on the folder above the tag."""
    server, line = Handler(), Handler()
    where = [
        element("And", ua.ElementOperand(Index=1), ua.ElementOperand(Index=2)),
        element("OfType", literal(ua.NodeId(ua.ObjectIds.AuditWriteUpdateEventType))),
        element("Equals", field("Status", ua.ObjectIds.AuditEventType), literal(True)),
    ]
    more = ["Status", "ClientUserId", "NewValue", "OldValue", "AttributeId", field("", attribute=ua.AttributeIds.NodeId)]
    on_server = await client.create_subscription(50, server)
    await on_server.subscribe_events(evfilter=events(ALL + more, *where))
    on_line = await client.create_subscription(50, line)
    folder = client.get_node(tag("Plant/Line1"))
    expect(await folder.read_event_notifier(), {ua.EventNotifier.SubscribeToEvents}, "EventNotifier of the folder")
    await on_line.subscribe_events(folder, evfilter=events(ALL + more, *where))
    pump, counter = client.get_node(tag("Plant/Line1/Pump")), client.get_node(tag("Plant/Line1/Counter"))
    for value in (True, False):
        await pump.write_value(ua.DataValue(ua.Variant(value)))
        try:
            await counter.write_value(ua.DataValue(ua.Variant(1, ua.VariantType.Int32)))
        except ua.UaStatusCodeError as error:
            expect(error.code, ua.StatusCodes.BadNotWritable, "a write that fails")
    ids = []
    for handler in (server, line):
        for value in (True, False):
            event = await handler.next()
            expect(event.EventType, ua.NodeId(ua.ObjectIds.AuditWriteUpdateEventType), "EventType")
            expect((event.SourceNode, event.SourceName), (tag("Plant/Line1/Pump"), "Attribute/Write"), "source")
            expect((event.NewValue, event.OldValue, event.AttributeId), (value, not value, 13), "values")
            expect((event.Status, event.ClientUserId), (True, "anonymous"), "who")
            expect(len(event.EventId) >= 16 and event.Severity >= 1 and event.Message.Text != "", True, "what all events have")
            ids.append(event.EventId)
    expect((ids[:2], len(set(ids))), (ids[2:], 2), "EventIds")
    expect(await client.get_node(2994).read_value(), True, "Auditing")
    expect((server.events.empty(), line.events.empty()), (True, True), "events left over")


async def sessions(client):
    """Who comes, what they call, and that they go."""
    handler = Handler()
    subscription = await client.create_subscription(50, handler)
    more = ["Status", "ClientUserId", "SessionId", "MethodId", "InputArguments", "RevisedSessionTimeout"]
    where = element("OfType", literal(ua.NodeId(ua.ObjectIds.AuditEventType)))
    await subscription.subscribe_events(evfilter=events(ALL + more, where))
    async with Client(URL, timeout=10) as other:
        twilio = other.get_node(tag("System/Gateway/Twilio"))
        arguments = [ua.Variant("bad"), ua.Variant("hello")]
        expect(await twilio.call_method(tag("System/Gateway/Twilio/SendMessage"), *arguments), False, "not accepted")
        try:
            await twilio.call_method(tag("System/Gateway/Twilio/GetUser"), ua.Variant(7, ua.VariantType.Int64))
        except ua.UaStatusCodeError as error:
            expect(error.code, ua.StatusCodes.BadNotFound, "no such user")
    seen = [await handler.next() for _ in range(5)]
    types = [event.EventType.Identifier for event in seen]
    update = ua.ObjectIds.AuditUpdateMethodEventType
    wanted = [ua.ObjectIds.AuditCreateSessionEventType, ua.ObjectIds.AuditActivateSessionEventType, update, update]
    expect(types, wanted + [ua.ObjectIds.AuditSessionEventType], "types")
    expect([event.Status for event in seen], [True, True, True, False, True], "Status")
    names = ["Session/CreateSession", "Session/ActivateSession", "Attribute/Call", "Attribute/Call", "Session/CloseSession"]
    expect([event.SourceName for event in seen], names, "SourceName")
    expect([event.ClientUserId for event in seen], [None] + 4 * ["anonymous"], "ClientUserId")
    session = seen[0].SessionId
    expect((session.NamespaceIndex, seen[1].SessionId, seen[4].SessionId), (1, session, session), "SessionId")
    expect((seen[2].MethodId, seen[2].SourceNode), (tag("System/Gateway/Twilio/SendMessage"), twilio.nodeid), "method")
    expect([argument.Value if isinstance(argument, ua.Variant) else argument for argument in seen[2].InputArguments], ["bad", "hello"], "arguments")
    expect(seen[0].RevisedSessionTimeout > 0, True, "timeout")


async def generated(client):
    """The filters that asyncua makes by itself, and its condition subscription, are taken as they are."""
    handler = Handler()
    subscription = await client.create_subscription(50, handler)
    await subscription.subscribe_events(evtypes=[ua.ObjectIds.AuditWriteUpdateEventType])
    await subscription.subscribe_alarms_and_conditions()
    await client.get_node(tag("Plant/Line1/Pump")).write_value(ua.DataValue(ua.Variant(True)))
    event = await handler.next()
    expect(event.EventType, ua.NodeId(ua.ObjectIds.AuditWriteUpdateEventType), "EventType")
    expect(event.NewValue, True, "NewValue")


async def viewer(client):
    """What others do is not for everybody."""
    handler = Handler()
    subscription = await client.create_subscription(50, handler)
    await subscription.subscribe_events(evfilter=events(ALL))
    say("subscribed")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    expect(handler.events.empty(), True, "nothing is told")


async def refused(client):
    """What cannot be watched, and filters that are wrong, with the reasons."""
    subscription = await client.create_subscription(50, Handler())
    server, good = ua.NodeId(ua.ObjectIds.Server), events(["EventId"])
    for node, wanted in [
        (ua.NodeId(ua.ObjectIds.ObjectsFolder), "BadNotSupported"),
        (tag("Plant/Line1/TankLevel/Alarms/HighHigh"), "BadNotSupported"),
        (tag("Plant/Line1/Pump"), "BadAttributeIdInvalid"),
        (tag("Plant/Nowhere"), "BadNodeIdUnknown"),
        (server, "Good"),
        (tag("Plant"), "Good"),
    ]:
        expect((await create(client, subscription, node, good)).StatusCode.name, wanted, f"item on {node}")
    for wanted_filter, wanted in [
        (None, "BadEventFilterInvalid"),
        (events([]), "BadEventFilterInvalid"),
        (ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.StatusValue), "BadFilterNotAllowed"),
    ]:
        expect((await create(client, subscription, server, wanted_filter)).StatusCode.name, wanted, f"{wanted_filter}")
    views, folder = literal(ua.NodeId(ua.ObjectIds.ViewsFolder)), literal(ua.NodeId(ua.ObjectIds.FolderType))
    hops = [literal(1, ua.VariantType.UInt32), literal(True), literal(True)]
    for where, wanted in [
        (element("Not", ua.ElementOperand(Index=0)), ("BadFilterOperandInvalid", "BadFilterElementInvalid")),
        # Permitted in queries only (Part 4, 7.22.3).
        (element("InView", views), ("BadFilterOperatorUnsupported", "Good")),
        (element("RelatedTo", folder, folder, literal(ua.NodeId(ua.ObjectIds.Organizes)), *hops), ("BadFilterOperatorUnsupported", "Good")),
    ]:
        result = await create(client, subscription, server, events(["EventId"], where))
        expect(result.StatusCode.name, "BadEventFilterInvalid", f"{where}")
        told = result.FilterResult.WhereClauseResult.ElementResults[0]
        expect((told.StatusCode.name, told.OperandStatusCodes[0].name), wanted, f"why {where}")
    result = await create(client, subscription, server, events(["EventId", "Nonsense", "Severity"]))
    expect(result.StatusCode.name, "Good", "an unknown field")
    names = [status.name for status in result.FilterResult.SelectClauseResults]
    expect(names, ["Good", "BadNodeIdUnknown", "Good"], "select clauses")
    for queue, revised in [(0, 1000), (1, 100), (2000, 2000), (0xFFFFFFFF, 10000)]:
        result = await create(client, subscription, server, good, queue)
        expect(result.RevisedQueueSize, revised, f"queue of {queue}")
        modified = ua.MonitoredItemModifyRequest(
            MonitoredItemId=result.MonitoredItemId,
            RequestedParameters=ua.MonitoringParameters(ClientHandle=1, Filter=events(["Nonsense"]), QueueSize=1),
        )
        parameters = ua.ModifyMonitoredItemsParameters(
            SubscriptionId=subscription.subscription_id,
            TimestampsToReturn=ua.TimestampsToReturn.Neither,
            ItemsToModify=[modified],
        )
        told = (await client.uaclient.modify_monitored_items(parameters))[0]
        expect((told.StatusCode.name, told.RevisedQueueSize), ("Good", 100), "modified")
        expect(told.FilterResult.SelectClauseResults[0].name, "BadNodeIdUnknown", "modified filter")


async def main():
    async with Client(URL, timeout=10) as client:
        await globals()[SCENARIO](client)
    say("passed")


asyncio.run(main())
