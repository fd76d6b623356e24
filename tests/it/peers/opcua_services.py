"""Services that an HMI seldom asks for, by asyncua. Usage: opcua_services.py URL SCENARIO [key=value ...]. Ends with `passed` and 0."""

import asyncio
import logging
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from asyncua import Client, ua
from asyncua.crypto import security_policies
from asyncua.ua.ua_binary import struct_from_binary

URL, SCENARIO = sys.argv[1:3]
OPTIONS = dict(argument.split("=", 1) for argument in sys.argv[3:])
logging.getLogger("asyncua").setLevel(logging.CRITICAL)


def say(*words):
    print(*words, flush=True)


def expect(found, wanted, what):
    assert found == wanted, f"{what}: expected {wanted!r}, found {found!r}"


def tag(path):
    return ua.NodeId(path, 2)


async def heard():
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def send(client, request, response, timeout=10):
    return struct_from_binary(response, await client.uaclient._send_request(request, timeout))


async def refusal(awaitable):
    try:
        await awaitable
    except ua.UaStatusCodeError as error:
        return ua.StatusCode(error.code).name
    return "Good"


async def services(client):
    """What is registered, cancelled, refused."""
    nodes = [tag("Plant/Line1/Counter"), tag("Plant/Nowhere")]
    expect(await client.uaclient.register_nodes(nodes), nodes, "registered")
    await client.uaclient.unregister_nodes(nodes)
    expect(await refusal(client.uaclient.register_nodes([])), "BadNothingToDo", "nothing to register")
    for request in (ua.AddNodesRequest, ua.AddReferencesRequest, ua.DeleteNodesRequest, ua.DeleteReferencesRequest,
                    ua.HistoryUpdateRequest, ua.QueryFirstRequest, ua.QueryNextRequest, ua.RegisterServerRequest):
        expect(await refusal(client.uaclient._send_request(request())), "BadServiceUnsupported", request.__name__)
    identifier = await create(client)
    publish = ua.PublishRequest()
    waiting = [asyncio.create_task(send(client, publish, ua.PublishResponse)) for _ in range(2)]
    first = await waiting[0]
    expect(first.Parameters.NotificationMessage.NotificationData or [], [], "keep-alive")
    await asyncio.sleep(0)
    cancel = ua.CancelRequest()
    cancel.Parameters.RequestHandle = 123_456
    expect((await send(client, cancel, ua.CancelResponse)).Parameters.CancelCount, 0, "cancelled of another handle")
    handle = client.uaclient.protocol._request_id if hasattr(client.uaclient.protocol, "_request_id") else None
    say("handle", handle)
    waiting[1].cancel()
    delete = [status.value for status in await client.uaclient.delete_subscriptions([identifier, 99_999])]
    expect(delete, [0, ua.StatusCodes.BadSubscriptionIdInvalid], "deleted")


async def ranges(client):
    """A part of an attribute that is no Value, and of a Value that is no tag's."""
    identifier = await create(client)
    request = ua.CreateMonitoredItemsRequest()
    places = [
        (tag("Plant/Line1/Recipe"), ua.AttributeIds.ArrayDimensions, "0"),
        (tag("Plant/Line1/Recipe"), ua.AttributeIds.ArrayDimensions, "1:2"),
        (tag("Plant/Line1/Recipe"), ua.AttributeIds.BrowseName, "0:1"),
        (ua.NodeId(2255), ua.AttributeIds.Value, "2:9"),
        (tag("Plant/Line1/Recipe"), ua.AttributeIds.UserRolePermissions, "0"),
    ]
    items = [
        ua.MonitoredItemCreateRequest(ua.ReadValueId(node, attribute, IndexRange=part), ua.MonitoringMode.Reporting,
                                      ua.MonitoringParameters(handle, 0.0, None, 1, True))
        for handle, (node, attribute, part) in enumerate(places)
    ]
    request.Parameters = ua.CreateMonitoredItemsParameters(identifier, ua.TimestampsToReturn.Both, items)
    results = (await send(client, request, ua.CreateMonitoredItemsResponse)).Results
    expect([result.StatusCode.value for result in results], [0] * 5, "created")
    expect(results[0].RevisedSamplingInterval, 100.0, "what is no tag is sampled no faster")
    [data] = (await news(client)).NotificationMessage.NotificationData
    found = {item.ClientHandle: item.Value for item in data.MonitoredItems}
    expect(found[0].Value.Value, [4], "a part of ArrayDimensions")
    expect([found[place].StatusCode.name for place in (1, 2)], ["BadIndexRangeNoData"] * 2, "what is not there, and what has no parts")
    expect(found[3].Value.Value, ["urn:annunciator:tags"], "a part of the NamespaceArray")
    expect([right.RoleId.Identifier for right in found[4].Value.Value], [15668], "a part of the permissions")


async def create(client, lifetime=10_000, priority=0):
    request = ua.CreateSubscriptionRequest()
    request.Parameters = ua.CreateSubscriptionParameters(50, lifetime, 2, 0, True, priority)
    return (await send(client, request, ua.CreateSubscriptionResponse)).Parameters.SubscriptionId


async def watch(client, identifier, path, handle, mode=ua.MonitoringMode.Reporting, queue=10, sampling=0.0, filter=None):
    request = ua.CreateMonitoredItemsRequest()
    parameters = ua.MonitoringParameters(handle, sampling, filter, queue, True)
    item = ua.MonitoredItemCreateRequest(ua.ReadValueId(tag(path), ua.AttributeIds.Value), mode, parameters)
    request.Parameters = ua.CreateMonitoredItemsParameters(identifier, ua.TimestampsToReturn.Both, [item])
    result = (await send(client, request, ua.CreateMonitoredItemsResponse)).Results[0]
    return ua.StatusCode(result.StatusCode.value).name, result.MonitoredItemId, result


async def publish(client, acknowledge=()):
    request = ua.PublishRequest()
    request.Parameters.SubscriptionAcknowledgements = [ua.SubscriptionAcknowledgement(*pair) for pair in acknowledge]
    return (await send(client, request, ua.PublishResponse)).Parameters


def told(answer):
    lists = answer.NotificationMessage.NotificationData or []
    return [(item.ClientHandle, item.Value.Value.Value) for data in lists for item in getattr(data, "MonitoredItems", [])]


async def news(client):
    """The next publish answer that is no keep-alive."""
    while True:
        answer = await publish(client)
        if answer.NotificationMessage.NotificationData:
            return answer


async def trigger(client):
    """An item that is only sampled is told when another one has news."""
    identifier = await create(client)
    _, triggering, _ = await watch(client, identifier, "Plant/Line1/Pump", 1)
    _, linked, _ = await watch(client, identifier, "Plant/Line1/Counter", 2, ua.MonitoringMode.Sampling)
    request = ua.SetTriggeringRequest()
    request.Parameters = ua.SetTriggeringParameters(identifier, triggering, [linked, 999], [linked])
    answer = (await send(client, request, ua.SetTriggeringResponse)).Parameters
    codes = [code.value for code in answer.AddResults + answer.RemoveResults]
    expect(codes, [0] + 2 * [ua.StatusCodes.BadMonitoredItemIdInvalid], "links")
    request.Parameters = ua.SetTriggeringParameters(identifier, 999, [linked], [])
    expect(await refusal(client.uaclient._send_request(request)), "BadMonitoredItemIdInvalid", "unknown trigger")
    request.Parameters = ua.SetTriggeringParameters(identifier, triggering, [], [])
    expect(await refusal(client.uaclient._send_request(request)), "BadNothingToDo", "no links")
    # Items of events trigger and are triggered too.
    request = ua.CreateMonitoredItemsRequest()
    select = ua.SimpleAttributeOperand(ua.NodeId(2041), [ua.QualifiedName("Message")], ua.AttributeIds.Value)
    parameters = ua.MonitoringParameters(3, 0.0, ua.EventFilter([select], ua.ContentFilter()), 10, True)
    item = ua.MonitoredItemCreateRequest(ua.ReadValueId(ua.NodeId(2253), ua.AttributeIds.EventNotifier), ua.MonitoringMode.Sampling, parameters)
    request.Parameters = ua.CreateMonitoredItemsParameters(identifier, ua.TimestampsToReturn.Both, [item])
    events = (await send(client, request, ua.CreateMonitoredItemsResponse)).Results[0].MonitoredItemId
    request = ua.SetTriggeringRequest()
    for first, second in ((triggering, events), (events, linked)):
        request.Parameters = ua.SetTriggeringParameters(identifier, first, [second], [])
        answer = (await send(client, request, ua.SetTriggeringResponse)).Parameters
        expect([code.value for code in answer.AddResults], [0], "a link with an item of events")
    expect(told(await news(client)), [(1, False)], "first value")
    for _ in range(2):
        say("ready")
        await heard()
        say("told", told(await news(client)))


async def leave(client):
    """Leaves a subscription with an unacknowledged message behind."""
    identifier = await create(client)
    await watch(client, identifier, "Plant/Line1/Counter", 7)
    expect(told(await news(client)), [(7, 0)], "first value")
    say("subscription", identifier)
    await heard()
    await client.uaclient.close_session(False)
    say("left")


async def transfer(client):
    """Takes a subscription over, and what it had sent."""
    identifier = int(OPTIONS["subscription"])
    parameters = ua.TransferSubscriptionsParameters([identifier, 99_999], OPTIONS.get("initial") == "true")
    result, unknown = await client.uaclient.transfer_subscriptions(parameters)
    expect(unknown.StatusCode.value, ua.StatusCodes.BadSubscriptionIdInvalid, "unknown subscription")
    numbers = list(result.AvailableSequenceNumbers or [])
    say("transferred", ua.StatusCode(result.StatusCode.value).name, numbers)
    if result.StatusCode.value:
        return
    again = (await client.uaclient.transfer_subscriptions(parameters))[0]
    expect(again.StatusCode.value, ua.StatusCodes.BadNothingToDo, "transferred to itself")
    for number in numbers:
        message = await client.uaclient.session.republish(identifier, number)
        expect(message.SequenceNumber, number, "republished")
    expect(await refusal(client.uaclient.session.republish(identifier, 77)), "BadMessageNotAvailable", "unknown message")
    answer = await publish(client, [(identifier, number) for number in numbers])
    expect([code.value for code in answer.Results or []], [0] * len(numbers), "acknowledged")
    while not answer.NotificationMessage.NotificationData:
        answer = await publish(client)
    expect(answer.SubscriptionId, identifier, "subscription")
    say("told", answer.NotificationMessage.SequenceNumber, told(answer))


async def lose(client):
    """Loses a subscription to somebody else."""
    identifier = await create(client)
    await watch(client, identifier, "Plant/Line1/Counter", 7)
    await news(client)
    say("subscription", identifier)
    answer = await news(client)
    change = answer.NotificationMessage.NotificationData[0]
    say("lost", answer.SubscriptionId == identifier, ua.StatusCode(change.Status.value).name)
    expect(await refusal(publish(client)), "BadNoSubscription", "nothing left")


async def pairs(client):
    """Watches one tag at many sampling and publishing intervals until each has told the last value."""
    handles = {}
    for interval in (10, 50, 100):
        request = ua.CreateSubscriptionRequest()
        request.Parameters = ua.CreateSubscriptionParameters(interval, 10_000, 1_000, 0, True, 0)
        identifier = (await send(client, request, ua.CreateSubscriptionResponse)).Parameters.SubscriptionId
        for sampling in (-1.0, 0.0, 10.0, 33.0, 250.0):
            for queue in (1, 2, 10):
                handle = len(handles)
                handles[handle] = None
                await watch(client, identifier, "Plant/Line1/Counter", handle, queue=queue, sampling=sampling)
    say("ready", len(handles))
    while True:
        last = int(await heard())
        while any(value != last for value in handles.values()):
            try:
                answer = await asyncio.wait_for(publish(client), 10)
            except asyncio.TimeoutError:
                raise AssertionError(f"{last} was never told: {handles}")
            handles.update(told(answer))
        say("all", last)
        if last < 0:
            return


async def raw(client, path, start=None, end=None, most=0, bounds=False, modified=False, range=None, point=None, release=False,
              timestamps=ua.TimestampsToReturn.Both):
    details = ua.ReadRawModifiedDetails()
    details.IsReadModified = modified
    details.StartTime, details.EndTime = start or ua.get_win_epoch(), end or ua.get_win_epoch()
    details.NumValuesPerNode, details.ReturnBounds = most, bounds
    node = ua.HistoryReadValueId()
    node.NodeId, node.IndexRange, node.ContinuationPoint = tag(path), range, point
    parameters = ua.HistoryReadParameters()
    parameters.HistoryReadDetails, parameters.TimestampsToReturn = details, timestamps
    parameters.ReleaseContinuationPoints, parameters.NodesToRead = release, [node]
    result = (await client.uaclient.history_read(parameters))[0]
    data = result.HistoryData.DataValues if isinstance(result.HistoryData, ua.HistoryData) else []
    return ua.StatusCode(result.StatusCode.value).name, data, result.ContinuationPoint


async def history(client):
    """What was written comes back, by time, in pages, backwards."""
    level, array, other = "Plant/Level", "Plant/Array", "Plant/Other"
    node = client.get_node(tag(level))
    access = (await node.read_attribute(ua.AttributeIds.AccessLevel)).Value.Value
    expect((access & 4, (await node.read_attribute(ua.AttributeIds.Historizing)).Value.Value), (4, True), "access level")
    written = [float(text) for text in OPTIONS["values"].split(",")]
    now = datetime.now(timezone.utc) + timedelta(seconds=60)
    past = now - timedelta(days=1)
    values = lambda data: [item.Value.Value for item in data]
    status, data, point = await raw(client, level, past, now)
    expect((status, values(data), point), ("Good", written, None), "all")
    expect(sorted(item.SourceTimestamp for item in data), [item.SourceTimestamp for item in data], "order")
    assert all(item.ServerTimestamp for item in data), "server timestamps"
    expect(values(await node.read_raw_history(past, now, return_bounds=False)), written, "asyncua's own way")
    expect(values((await raw(client, level, now, past))[1]), written[::-1], "backwards")
    expect(values((await raw(client, level, past, most=2))[1]), written[:2], "the first two")
    expect(values((await raw(client, level, end=now, most=2))[1]), written[:-3:-1], "the last two")
    pages, point = [], None
    while True:
        status, page, point = await raw(client, level, past, now, most=2, point=point)
        assert len(page) <= 2
        pages += values(page)
        if not point:
            break
    expect(pages, written, "pages")
    _, page, point = await raw(client, level, past, now, most=2)
    expect((await raw(client, level, past, now, most=2, point=point, release=True))[0], "Good", "release")
    expect((await raw(client, level, past, now, most=2, point=point))[0], "BadContinuationPointInvalid", "released")
    _, _, point = await raw(client, level, past, now, most=2)
    expect((await raw(client, array, past, now, most=2, point=point))[0], "BadContinuationPointInvalid", "point of another tag")
    third = data[2].SourceTimestamp
    status, bounded, _ = await raw(client, level, third - timedelta(microseconds=1), third + timedelta(microseconds=1), bounds=True)
    expect(values(bounded), written[1:4], "bounds")
    status, bounded, _ = await raw(client, level, past, third, bounds=True)
    expect([ua.StatusCode(bounded[0].StatusCode.value).name, *values(bounded)], ["BadBoundNotFound", None, *written[:3]], "no bound")
    expect((await raw(client, level, now, now + timedelta(days=1)))[0], "GoodNoData", "the future")
    only = (await raw(client, level, past, now, timestamps=ua.TimestampsToReturn.Source))[1]
    assert all(item.ServerTimestamp is None and item.SourceTimestamp for item in only), "source timestamps only"
    expect(values((await raw(client, array, past, now, range="1:2"))[1])[-1], [8, 9], "index range")
    codes = [
        (await raw(client, other, past, now))[0],
        (await raw(client, level, past, now, modified=True))[0],
        (await raw(client, "Plant/Nowhere", past, now))[0],
        (await raw(client, level, past))[0],
        await refusal(raw(client, level, past, now, timestamps=ua.TimestampsToReturn.Neither)),
        await refusal(node.read_event_history(past, now)),
    ]
    wanted = [
        "BadHistoryOperationUnsupported", "BadHistoryOperationUnsupported", "BadNodeIdUnknown", "BadHistoryOperationInvalid",
        "BadTimestampsToReturnInvalid", "BadHistoryOperationUnsupported",
    ]
    expect(codes, wanted, "refused")


async def main():
    client = Client(URL, timeout=10)
    if "certificates" in OPTIONS:
        folder = Path(OPTIONS["certificates"])
        policy, mode = security_policies.SecurityPolicyBasic256Sha256, ua.MessageSecurityMode.Sign
        await client.set_security(policy, str(folder / "certificate.der"), str(folder / "key.pem"), mode=mode)
        client.application_uri = "urn:test:hmi"
    if "user" in OPTIONS:
        client.set_user(OPTIONS["user"])
        client.set_password(OPTIONS["password"])
    await client.connect()
    try:
        await globals()[SCENARIO](client)
    finally:
        if SCENARIO == "leave":
            client.disconnect_socket()
        else:
            await client.disconnect()
    say("passed")


asyncio.run(main())
