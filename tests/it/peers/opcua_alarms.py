"""A SCADA made of asyncua that works with alarms. Usage: opcua_alarms.py URL SCENARIO [key=value ...]. Ends with `passed` and 0."""

import asyncio
import logging
import sys

from asyncua import Client, ua

URL, SCENARIO = sys.argv[1:3]
OPTIONS = dict(argument.split("=", 1) for argument in sys.argv[3:])
TAGS = 2
HIGH, SIDES, TRIP, MANUAL, RATE = (
    "Plant/Level/Alarms/High",
    "Plant/Level/Alarms/Sides",
    "Plant/Pump/Alarms/Trip",
    "Plant/Mode/Alarms/Manual",
    "Plant/Level/Alarms/Rate",
)
BOUND = 20
# The type's methods.
ACKNOWLEDGE, CONFIRM, ADD_COMMENT, ENABLE, DISABLE = 9111, 9113, 9029, 9027, 9028
TIMED_SHELVE, ONE_SHOT_SHELVE, UNSHELVE = 2949, 2948, 2947
TIMED_SHELVE_2, ONE_SHOT_SHELVE_2, UNSHELVE_2 = 24756, 24760, 24758
REMOVE_FROM_SERVICE, PLACE_IN_SERVICE, SUPPRESS, SILENCE, RESET = 17869, 17870, 16403, 16402, 18199
REFRESH, REFRESH_2, CONDITION_TYPE = 3875, 12912, 2782
logging.getLogger("asyncua").setLevel(logging.CRITICAL)


def say(*words):
    print(*words, flush=True)


def expect(found, wanted, what):
    assert found == wanted, f"{what}: expected {wanted!r}, found {found!r}"


def text(words, locale="en"):
    return ua.Variant(ua.LocalizedText(words, locale), ua.VariantType.LocalizedText)


def event_id(event):
    return ua.Variant(event if isinstance(event, bytes) else event.EventId, ua.VariantType.ByteString)


def words(event):
    """Such as `AkR` for active, unacknowledged, retained; what is more behind it."""
    if not hasattr(event, "Retain") or event.Retain is None:
        return f"type {event.EventType.Identifier}"
    flags = [(event.__dict__["ActiveState/Id"], "a"), (event.__dict__["AckedState/Id"], "k"), (event.Retain, "r")]
    said = "".join("?" if on is None or not isinstance(on, bool) else (name.upper() if on else name) for on, name in flags)
    return said if event.BranchId is None or event.BranchId.is_null() else said + " branch"


class Seen:
    def __init__(self):
        self.events = asyncio.Queue()

    def event_notification(self, event):
        self.events.put_nowait(event)

    async def next(self):
        return await asyncio.wait_for(self.events.get(), BOUND)

    async def expect(self, *wanted):
        """The next events, as `name words`, in whatever order they come; gives them in the order of `wanted`."""
        events = [await self.next() for _ in wanted]
        found = [((event.ConditionName or "") + " " + words(event)).strip() for event in events]
        expect(sorted(found), sorted(wanted), "events")
        return [events[found.index(one)] for one in wanted]

    async def refreshed(self):
        """What a refresh sends between its start and its end."""
        start = await self.next()
        expect(start.EventType.Identifier, 2787, "the start of a refresh")
        events = []
        while (event := await self.next()).EventType.Identifier != 2788:
            events.append(event)
        return events


class Plant:
    def __init__(self, client):
        self.client = client

    def node(self, path):
        return self.client.get_node(ua.NodeId(path, TAGS))

    async def write(self, path, value, kind=ua.VariantType.Double):
        await self.node(path).write_value(ua.DataValue(ua.Variant(value, kind)))

    async def code(self, target, method, *arguments):
        """The name of the code that a call gives."""
        target = ua.NodeId(target, TAGS if isinstance(target, str) else 0)
        method = ua.NodeId(method, TAGS if isinstance(method, str) else 0)
        request = ua.CallMethodRequest(target, method, list(arguments))
        result = (await self.client.uaclient.call([request]))[0]
        return result.StatusCode.name

    async def codes(self, *rows):
        for target, method, arguments, wanted in rows:
            expect(await self.code(target, method, *arguments), wanted, f"{target} {method} {arguments}")

    async def subscribe(self, source=ua.ObjectIds.Server):
        seen = Seen()
        subscription = await self.client.create_subscription(50, seen)
        types = [
            ua.ObjectIds.ExclusiveLevelAlarmType,
            ua.ObjectIds.NonExclusiveLevelAlarmType,
            ua.ObjectIds.OffNormalAlarmType,
            ua.ObjectIds.DiscreteAlarmType,
        ]
        source = ua.NodeId(source, TAGS) if isinstance(source, str) else source
        item = await subscription.subscribe_alarms_and_conditions(source, types)
        return seen, subscription, item


async def events(client):
    """Every change is one event with all fields."""
    plant = Plant(client)
    seen, subscription, _ = await plant.subscribe()
    await plant.write("Plant/Level", 91.0)
    (event,) = await seen.expect("High AkR")
    wanted = {
        "EventType": ua.NodeId(9482),
        "SourceNode": ua.NodeId("Plant/Level", TAGS),
        "SourceName": "Level",
        "InputNode": ua.NodeId("Plant/Level", TAGS),
        "NodeId": ua.NodeId(HIGH, TAGS),
        "ConditionClassId": ua.NodeId(11164),
        "Severity": 900,
        "LastSeverity": 0,
        "EnabledState/Id": True,
        "SuppressedOrShelved": False,
        "SuppressedState/Id": False,
        "OutOfServiceState/Id": False,
        "ShelvingState/CurrentState/Id": ua.NodeId(2930),
        "ShelvingState/UnshelveTime": 0.0,
        "MaxTimeShelved": 30 * 60e3,
        "HighLimit": 90.0,
        "LimitState/CurrentState/Id": ua.NodeId(9331),
        "ClientUserId": "",
    }
    for name, value in wanted.items():
        expect(event.__dict__[name], value, name)
    expect(event.Message.Text, "Level high", "message")
    expect((event.ActiveState.Text, event.AckedState.Text), ("Active", "Unacknowledged"), "states")
    expect(event.Quality.name, "Good", "quality")
    expect(len(event.EventId), 24, "length of an EventId")
    await plant.write("Plant/Level", -20.0)
    events = await seen.expect("High akR", "Sides AkR")
    sides = events[1].__dict__
    expect((sides["EventType"].Identifier, sides["LowState/Id"], sides["HighState/Id"]), (10060, True, False), "sides")
    # From one limit beyond the other: a change of the limit state alone.
    await plant.write("Plant/Level", 99.0)
    events = await seen.expect("High akR branch", "High AkR", "Sides AkR")
    expect((events[2].__dict__["LowState/Id"], events[2].__dict__["HighState/Id"]), (False, True), "sides")
    await plant.write("Plant/Off", True, ua.VariantType.Boolean)
    (event,) = await seen.expect("High AkR")
    expect((event.__dict__["SuppressedState/Id"], event.SuppressedOrShelved), (True, True), "suppressed")
    await plant.write("Plant/Mode", 3, ua.VariantType.Int32)
    (event,) = await seen.expect("Manual AKR")
    expect((event.EventType.Identifier, event.Severity), (10523, 300), "discrete")
    await plant.write("Plant/Pump", True, ua.VariantType.Boolean)
    (event,) = await seen.expect("Trip AkR")
    expect((event.EventType.Identifier, event.__dict__["LatchedState/Id"]), (10637, False), "off normal")
    await plant.write("Plant/Pump", False, ua.VariantType.Boolean)
    (event,) = await seen.expect("Trip akR")
    expect(event.__dict__["LatchedState/Id"], True, "latched")
    await subscription.delete()


async def acknowledge(client):
    """An EventId acknowledges its event, and never a newer one."""
    plant = Plant(client)
    seen, _, _ = await plant.subscribe()
    await plant.write("Plant/Level", 92.0)
    (first,) = await seen.expect("High AkR")
    await plant.write("Plant/Level", 0.0)
    (cleared,) = await seen.expect("High akR")
    await plant.write("Plant/Level", 92.0)
    branch, second = await seen.expect("High akR branch", "High AkR")
    ids = [event.EventId for event in (first, cleared, branch, second)]
    expect(len(set(ids)), 4, "different EventIds")
    expect(branch.Message.Text, "Level high", "message of the branch")
    await plant.codes(
        (HIGH, ACKNOWLEDGE, (event_id(b"\1" * 24), text("x")), "BadEventIdUnknown"),
        (HIGH, ACKNOWLEDGE, (event_id(b""), text("x")), "BadEventIdUnknown"),
        (SIDES, ACKNOWLEDGE, (event_id(first), text("x")), "BadEventIdUnknown"),
        (HIGH, ACKNOWLEDGE, (), "BadArgumentsMissing"),
        (HIGH, ACKNOWLEDGE, (event_id(first), text("x"), text("x")), "BadTooManyArguments"),
        (HIGH, ACKNOWLEDGE, (text("x"), text("x")), "BadInvalidArgument"),
        (HIGH, ACKNOWLEDGE, (event_id(first), event_id(first)), "BadInvalidArgument"),
        # The older event, by the id of its first notification; the newer one stays.
        (HIGH, ACKNOWLEDGE, (event_id(first), text("late")), "Good"),
    )
    (ended,) = await seen.expect("High aKr branch")
    expect((ended.BranchId, ended.Comment.Text), (branch.BranchId, "late"), "the branch that ended")
    expect(await plant.node(f"{HIGH}/Acked").read_value(), False, "the newer event")
    await plant.codes(
        (HIGH, ACKNOWLEDGE, (event_id(cleared), text("x")), "BadConditionBranchAlreadyAcked"),
        (HIGH, ACKNOWLEDGE, (event_id(branch), text("x")), "BadConditionBranchAlreadyAcked"),
        # The instance's own method.
        (HIGH, f"{HIGH}/0:Acknowledge", (event_id(second), text("seen")), "Good"),
        (HIGH, ACKNOWLEDGE, (event_id(second), text("x")), "BadConditionBranchAlreadyAcked"),
    )
    (acked,) = await seen.expect("High AKR")
    expect((acked.Comment.Text, bool(acked.ClientUserId)), ("seen", True), "comment")
    await plant.codes(
        (HIGH, ADD_COMMENT, (event_id(acked), text("valve")), "Good"),
        # Neither text nor locale: it stays.
        (HIGH, ADD_COMMENT, (event_id(acked), text(None, None)), "Good"),
        (HIGH, ADD_COMMENT, (event_id(acked), text("", "en")), "Good"),
        (HIGH, ADD_COMMENT, (event_id(b"\2" * 24), text("x")), "BadEventIdUnknown"),
    )
    for comment in ("valve", None):
        (event,) = await seen.expect("High AKR")
        expect(event.Comment.Text or None, comment, "comment")
    await plant.write("Plant/Level", 0.0)
    await seen.expect("High aKr")


async def methods(client):
    """Each method and each of its codes; what is no method of ours."""
    plant = Plant(client)
    seen, _, _ = await plant.subscribe()
    minute = ua.Variant(60e3, ua.VariantType.Double)
    shelving = f"{HIGH}/0:ShelvingState"
    await plant.write("Plant/Level", 92.0)
    (first,) = await seen.expect("High AkR")
    await plant.codes(
        (HIGH, UNSHELVE, (), "BadConditionNotShelved"),
        (HIGH, TIMED_SHELVE, (ua.Variant(31 * 60e3, ua.VariantType.Double),), "BadShelvingTimeOutOfRange"),
        (HIGH, TIMED_SHELVE, (ua.Variant(-1.0, ua.VariantType.Double),), "BadShelvingTimeOutOfRange"),
        (HIGH, TIMED_SHELVE, (ua.Variant(float("nan"), ua.VariantType.Double),), "BadShelvingTimeOutOfRange"),
        (HIGH, TIMED_SHELVE, (minute,), "Good"),
        (HIGH, TIMED_SHELVE, (minute,), "BadConditionAlreadyShelved"),
        (HIGH, ONE_SHOT_SHELVE, (), "BadConditionAlreadyShelved"),
    )
    (event,) = await seen.expect("High AkR")
    expect(event.__dict__["ShelvingState/CurrentState/Id"], ua.NodeId(2932), "shelved")
    expect((event.__dict__["ShelvingState/UnshelveTime"], event.SuppressedOrShelved), (60e3, True), "shelved")
    await plant.codes(
        (shelving, UNSHELVE, (), "Good"),
        (shelving, 9212, (), "Good"),
        (shelving, f"{shelving}/0:Unshelve", (), "Good"),
        (HIGH, TIMED_SHELVE_2, (minute, text("quiet")), "Good"),
        (HIGH, UNSHELVE_2, (text("loud"),), "Good"),
        (HIGH, ONE_SHOT_SHELVE_2, (text("once"),), "Good"),
        (HIGH, UNSHELVE, (), "Good"),
        (shelving, ACKNOWLEDGE, (event_id(first), text("x")), "BadMethodInvalid"),
        # May not be shelved.
        (RATE, TIMED_SHELVE, (minute,), "BadMethodInvalid"),
        (RATE, RESET, (), "BadMethodInvalid"),
        (TRIP, RESET, (), "BadInvalidState"),
        (HIGH, f"{SIDES}/0:Acknowledge", (event_id(first), text("x")), "BadMethodInvalid"),
        (HIGH, CONFIRM, (event_id(first), text("x")), "BadMethodInvalid"),
        (HIGH, SUPPRESS, (), "BadMethodInvalid"),
        (HIGH, SILENCE, (), "BadMethodInvalid"),
        (2915, ACKNOWLEDGE, (event_id(first), text("x")), "BadNodeIdInvalid"),
        (CONDITION_TYPE, ENABLE, (), "BadNodeIdInvalid"),
        ("Plant/None/Alarms/High", ACKNOWLEDGE, (event_id(first), text("x")), "BadNodeIdUnknown"),
    )
    comments = [event.Comment.Text for event in [await seen.next() for _ in range(7)]]
    expect(comments[3:6], ["quiet", "loud", "once"], "comments")
    await plant.codes(
        (HIGH, REMOVE_FROM_SERVICE, (), "Good"),
        (HIGH, PLACE_IN_SERVICE, (), "Good"),
        (HIGH, ENABLE, (), "BadConditionAlreadyEnabled"),
        (HIGH, DISABLE, (), "Good"),
        (HIGH, DISABLE, (), "BadConditionAlreadyDisabled"),
        (HIGH, ACKNOWLEDGE, (event_id(first), text("x")), "BadConditionDisabled"),
        (HIGH, TIMED_SHELVE, (minute,), "BadConditionDisabled"),
        (HIGH, ADD_COMMENT, (event_id(first), text("x")), "BadConditionDisabled"),
        (HIGH, PLACE_IN_SERVICE, (), "BadConditionDisabled"),
    )
    out, back, disabled = [await seen.next() for _ in range(3)]
    expect([event.__dict__["OutOfServiceState/Id"] for event in (out, back)], [True, False], "out of service")
    expect((disabled.Retain, disabled.__dict__["EnabledState/Id"]), (False, False), "disabled")
    expect(disabled.__dict__["ActiveState/Id"].name, "BadConditionDisabled", "what is known of a disabled alarm")
    await plant.codes((HIGH, f"{HIGH}/0:Enable", (), "Good"), (HIGH, ACKNOWLEDGE, (event_id(first), text("")), "Good"))
    await seen.expect("High AkR", "High AKR")


async def refresh(client):
    """ConditionRefresh sends what is retained again, with the same EventIds, to its own subscription only."""
    plant = Plant(client)
    seen, subscription, item = await plant.subscribe()
    other, _, _ = await plant.subscribe()
    number = ua.Variant(subscription.subscription_id, ua.VariantType.UInt32)
    await plant.codes((CONDITION_TYPE, REFRESH, (number,), "Good"))
    expect(await seen.refreshed(), [], "what is retained")
    await plant.write("Plant/Level", 92.0)
    await plant.write("Plant/Level", 0.0)
    await plant.write("Plant/Level", 92.0)
    told = [await seen.next() for _ in range(4)][2:]
    await plant.codes((CONDITION_TYPE, REFRESH, (number,), "Good"))
    again = await seen.refreshed()
    fields = lambda event: {name: value for name, value in event.__dict__.items() if name not in ("select_clauses", "event_fields", "server_handle")}
    expect(sorted(map(words, again)), ["AkR", "akR branch"], "what is retained")
    expect(sorted(event.EventId for event in again), sorted(event.EventId for event in told), "EventIds")
    for event in again:
        expect(fields(event), fields(next(one for one in told if one.EventId == event.EventId)), "the event sent again")
    await plant.codes((CONDITION_TYPE, REFRESH_2, (number, ua.Variant(item, ua.VariantType.UInt32)), "Good"))
    expect(len(await seen.refreshed()), 2, "a refresh of one item")
    none = ua.Variant(4_000_000, ua.VariantType.UInt32)
    await plant.codes(
        (CONDITION_TYPE, REFRESH, (none,), "BadSubscriptionIdInvalid"),
        (CONDITION_TYPE, REFRESH_2, (number, none), "BadMonitoredItemIdInvalid"),
        (CONDITION_TYPE, REFRESH, (text("x"),), "BadInvalidArgument"),
        (CONDITION_TYPE, REFRESH, (), "BadArgumentsMissing"),
        (HIGH, REFRESH, (number,), "BadMethodInvalid"),
    )
    empty = await client.create_subscription(50, Seen())
    nothing = ua.Variant(empty.subscription_id, ua.VariantType.UInt32)
    await plant.codes((CONDITION_TYPE, REFRESH, (nothing,), "BadNothingToDo"))
    for _ in range(4):
        await other.next()
    assert other.events.empty(), "a refresh reached another subscription"
    # A flood of refreshes is slowed down.
    codes = [await plant.code(CONDITION_TYPE, REFRESH, number) for _ in range(12)]
    expect(codes[-1], "BadRefreshInProgress", "a flood")
    for event in again:
        say("retained", words(event).replace(" ", "-"), event.EventId.hex())


async def quality(client):
    """A change of quality is told of what is retained."""
    plant = Plant(client)
    seen, _, _ = await plant.subscribe("Plant")
    await plant.write("Plant/Level", 92.0)
    (event,) = await seen.expect("High AkR")
    expect(event.Quality.name, "Good", "quality")
    say("active")
    (event,) = await seen.expect("High AkR")
    expect(event.Quality.name, "BadDeviceFailure", "quality")
    expect(await plant.node(f"{HIGH}/0:Quality").read_value(), event.Quality, "the member")
    expect(await plant.node(f"{HIGH}/0:ActiveState/0:Id").read_value(), True, "the member")


async def retained(client):
    """What is retained after a restart: no event by itself, the same EventIds when asked for, and an older one still acknowledges."""
    plant = Plant(client)
    seen, subscription, _ = await plant.subscribe()
    number = ua.Variant(subscription.subscription_id, ua.VariantType.UInt32)
    await plant.codes((CONDITION_TYPE, REFRESH, (number,), "Good"))
    again = await seen.refreshed()
    for event in again:
        say("retained", words(event).replace(" ", "-"), event.EventId.hex())
    branch = next(event for event in again if not event.BranchId.is_null())
    await plant.codes((HIGH, ACKNOWLEDGE, (event_id(branch), text("after the restart")), "Good"))
    await seen.expect("High aKr branch")


async def refused(client):
    """A viewer only looks on."""
    plant = Plant(client)
    identifier = event_id(b"\1" * 24)
    rows = [(HIGH, ACKNOWLEDGE, (identifier, text("x"))), (HIGH, ADD_COMMENT, (identifier, text("x"))), (HIGH, UNSHELVE, ())]
    rows = rows if OPTIONS["role"] == "viewer" else []
    rows += [(HIGH, method, ()) for method in (ENABLE, DISABLE, REMOVE_FROM_SERVICE, PLACE_IN_SERVICE)]
    await plant.codes(*[(*row, "BadUserAccessDenied") for row in rows])
    _, subscription, _ = await plant.subscribe()
    number = ua.Variant(subscription.subscription_id, ua.VariantType.UInt32)
    await plant.codes((CONDITION_TYPE, REFRESH, (number,), "Good"))


async def main():
    async with Client(URL, timeout=BOUND) as client:
        await globals()[SCENARIO](client)
    say("passed")


asyncio.run(main())
