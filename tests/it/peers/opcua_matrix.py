"""Each method of a condition with each of its StatusCodes. Usage: opcua_matrix.py URL ROLE, the role of an anonymous user there.

Every row brings the alarm into a state, calls, and expects a code: by the type's MethodId and by the instance's own method, and for
shelving also on the ShelvingState. Prints `rows N`; ends with `passed` and 0."""

import asyncio
import logging
import sys

from asyncua import Client, ua

URL, ROLE = sys.argv[1:3]
HIGH, SIDES, RATE, TRIP = [f"Plant/{alarm}" for alarm in ("Level/Alarms/High", "Level/Alarms/Sides", "Level/Alarms/Rate", "Pump/Alarms/Trip")]
CONDITION_TYPE, REFRESH, REFRESH_2 = 2782, 3875, 12912
ROLES = ["viewer", "operator", "engineer"]
logging.getLogger("asyncua").setLevel(logging.CRITICAL)

EVENT, COMMENT, MINUTE = "the EventId of the state", "a comment", "a minute"
# name: MethodIds of the type, arguments, the least role, the state in which it is Good, the alarm.
METHODS = {
    "Enable": ([9027], [], "engineer", "disabled", HIGH),
    "Disable": ([9028], [], "engineer", "active", HIGH),
    "AddComment": ([9029], [EVENT, COMMENT], "operator", "active", HIGH),
    "Acknowledge": ([9111], [EVENT, COMMENT], "operator", "active", HIGH),
    "TimedShelve": ([2949, 9213], [MINUTE], "operator", "active", HIGH),
    "TimedShelve2": ([24756], [MINUTE, COMMENT], "operator", "active", HIGH),
    "OneShotShelve": ([2948, 9212], [], "operator", "active", HIGH),
    "OneShotShelve2": ([24760], [COMMENT], "operator", "active", HIGH),
    "Unshelve": ([2947, 9211], [], "operator", "shelved", HIGH),
    "Unshelve2": ([24758], [COMMENT], "operator", "shelved", HIGH),
    "RemoveFromService": ([17869], [], "engineer", "active", HIGH),
    "RemoveFromService2": ([24320], [COMMENT], "engineer", "active", HIGH),
    "PlaceInService": ([17870], [], "engineer", "out", HIGH),
    "PlaceInService2": ([24322], [COMMENT], "engineer", "out", HIGH),
    "Reset": ([18199], [], "operator", "latched", TRIP),
    "Reset2": ([24324], [COMMENT], "operator", "latched", TRIP),
}
# Methods of Part 9 that are none of ours: Bad_MethodInvalid, whatever else Part 9 knows for them.
SKIPPED = {
    "Confirm": (9113, "SPEC 5: there is no ConfirmedState"),
    "Suppress": (16403, "SPEC 5: suppression only follows suppressed_by"),
    "Suppress2": (24316, "SPEC 5: suppression only follows suppressed_by"),
    "Unsuppress": (17868, "SPEC 5: suppression only follows suppressed_by"),
    "Unsuppress2": (24318, "SPEC 5: suppression only follows suppressed_by"),
    "Silence": (16402, "no alarm is audible"),
    "Respond": (9069, "there are no dialogs"),
    "Respond2": (24312, "there are no dialogs"),
}
# Of which there is no row, and why.
WITHOUT_ROW = {
    # An unknown comment is none: a LocalizedText of any text is taken, so only another type is wrong.
    ("Enable", "BadConditionDisabled"): "it is what enables",
    ("Disable", "BadConditionDisabled"): "Bad_ConditionAlreadyDisabled instead",
}


def wrong(arguments):
    """The same arguments, each of another type."""
    return [COMMENT if argument in (EVENT, MINUTE) else MINUTE for argument in arguments]


def rows():
    """Method, state, what is called on, arguments, code. `None` for what is called on is the condition."""
    for name, (ids, arguments, role, good, alarm) in METHODS.items():
        if ROLES.index(ROLE) < ROLES.index(role):
            yield name, "active", None, arguments, "BadUserAccessDenied"
            continue
        yield name, good, None, arguments, "Good"
        yield name, good, None, [*arguments, COMMENT], "BadTooManyArguments"
        yield name, good, CONDITION_TYPE, arguments, "BadNodeIdInvalid"
        yield name, good, "Plant/Nowhere/Alarms/High", arguments, "BadNodeIdUnknown"
        yield name, good, "System/Gateway/Twilio", arguments, "BadNodeIdUnknown|BadMethodInvalid|BadNodeIdInvalid"
        if arguments:
            yield name, good, None, arguments[1:], "BadArgumentsMissing"
            yield name, good, None, wrong(arguments), "BadInvalidArgument"
        if name not in ("Enable", "Disable") and ROLE == "engineer":
            yield name, "disabled", None, arguments, "BadConditionDisabled"
        if "Shelve" in name or "shelve" in name:
            yield name, "active", RATE, arguments, "BadMethodInvalid"
        if "Reset" in name:
            yield name, "active", HIGH, arguments, "BadMethodInvalid"
    operator, engineer = ROLE != "viewer", ROLE == "engineer"
    if engineer:
        yield "Disable", "disabled", None, [], "BadConditionAlreadyDisabled"
        yield "Enable", "active", None, [], "BadConditionAlreadyEnabled"
    if operator:
        for method in ("AddComment", "Acknowledge"):
            for unknown in (b"", b"\1" * 24, b"\1" * 16, b"\xff" * 2_000, None):
                yield method, "active", None, [unknown, COMMENT], "BadEventIdUnknown"
            # An EventId of another alarm.
            yield method, "active", SIDES, [EVENT, COMMENT], "BadEventIdUnknown"
        yield "Acknowledge", "acked", None, [EVENT, COMMENT], "BadConditionBranchAlreadyAcked"
        yield "Acknowledge", "normal", None, [EVENT, COMMENT], "BadConditionBranchAlreadyAcked"
        # The id of the older event acknowledges that and leaves the newer one: `again` expects so.
        yield "Acknowledge", "again", None, [EVENT, COMMENT], "Good"
        for shelve, first in (("TimedShelve", [MINUTE]), ("TimedShelve2", [MINUTE, COMMENT]), ("OneShotShelve", []), ("OneShotShelve2", [COMMENT])):
            yield shelve, "shelved", None, first, "BadConditionAlreadyShelved"
            if first[:1] == [MINUTE]:
                for time in (-1.0, 0.0, 31 * 60e3, 1e300, float("nan"), float("inf"), float("-inf")):
                    yield shelve, "active", None, [time, *first[1:]], "BadShelvingTimeOutOfRange"
        yield "Unshelve", "active", None, [], "BadConditionNotShelved"
        yield "Unshelve2", "active", None, [COMMENT], "BadConditionNotShelved"
        for reset in ("Reset", "Reset2"):
            for state in ("normal", "active", "unacked latched"):
                yield reset, state, None, METHODS[reset][1], "BadInvalidState"


class Alarm:
    # EventIds that may not be acknowledged yet.
    events = []

    def __init__(self, client, path):
        self.client, self.path = client, path
        self.event = None

    def node(self, name):
        return self.client.get_node(ua.NodeId(f"{self.path}/{name}", 2))

    async def drive(self, active):
        tag = self.path.rsplit("/Alarms/", 1)[0]
        value = ua.Variant(active, ua.VariantType.Boolean) if self.path == TRIP else ua.Variant(92.0 if active else 0.0, ua.VariantType.Double)
        await self.client.get_node(ua.NodeId(tag, 2)).write_value(ua.DataValue(value))

    async def event_id(self):
        return await self.node("0:EventId").read_value()

    async def plain(self, name, *arguments):
        """Without looking at the code."""
        return await call(self.client, self.path, METHODS[name][0][0], arguments)

    async def acknowledge(self):
        await self.plain("Acknowledge", self.variant(await self.event_id()), self.variant(COMMENT))

    def variant(self, argument):
        if argument is EVENT:
            argument = self.event
        if argument is COMMENT:
            return ua.Variant(ua.LocalizedText("said", "en"), ua.VariantType.LocalizedText)
        if argument is MINUTE:
            argument = 60e3
        if isinstance(argument, float):
            return ua.Variant(argument, ua.VariantType.Double)
        return ua.Variant(argument, ua.VariantType.ByteString)

    async def bring(self, state):
        """Normal first, then into the state."""
        if ROLE == "viewer":
            self.event = b"\1" * 24
            return
        if ROLE == "engineer":
            await self.plain("Enable")
            await self.plain("PlaceInService")
        await self.plain("Unshelve")
        # Every event that is not acknowledged yet.
        for event in reversed(self.events):
            await self.plain("Acknowledge", self.variant(event), self.variant(COMMENT))
        self.events.clear()
        await self.drive(True)
        await self.acknowledge()
        await self.drive(False)
        await self.acknowledge()
        if self.path == TRIP:
            await self.plain("Reset")
        self.event = await self.event_id()
        if state == "normal":
            return
        await self.drive(True)
        self.event = await self.event_id()
        self.events.append(self.event)
        if state in ("acked", "latched"):
            await self.acknowledge()
        if state in ("again", "latched", "unacked latched"):
            await self.drive(False)
        if state == "again":
            await self.drive(True)
            self.events.append(await self.event_id())
        if state == "shelved":
            assert await self.plain("TimedShelve", self.variant(MINUTE)) == "Good"
        if state == "disabled":
            assert await self.plain("Disable") == "Good"
        if state == "out":
            assert await self.plain("RemoveFromService") == "Good"


async def call(client, target, method, arguments):
    target = ua.NodeId(target, 2 if isinstance(target, str) else 0)
    method = ua.NodeId(method, 2 if isinstance(method, str) else 0)
    result = (await client.uaclient.call([ua.CallMethodRequest(target, method, list(arguments))]))[0]
    return result.StatusCode.name


def ways(name, path, target):
    """Object and method by which the same is called."""
    for method in METHODS[name][0]:
        yield target or path, method
    if target is None:
        shelving = "helve" in name
        own = f"0:ShelvingState/0:{name}" if shelving else f"0:{name}"
        yield path, f"{path}/{own}"
        if shelving:
            yield f"{path}/0:ShelvingState", METHODS[name][0][0]
            yield f"{path}/0:ShelvingState", f"{path}/{own}"


async def try_row(client, name, state, target, arguments, wanted, done):
    path = METHODS[name][4]
    for place, method in ways(name, path, target):
        alarm = Alarm(client, path)
        if state != "disabled" or ROLE == "engineer":
            await alarm.bring(state)
        found = await call(client, place, method, [alarm.variant(argument) for argument in arguments])
        what = f"{ROLE}: {name} as {method} on {place}, {state}, {arguments}"
        assert found in wanted.split("|"), f"{what}: expected {wanted}, found {found}"
        if state == "again":
            assert await alarm.node("Acked").read_value() is False, f"{what}: the newer event was acknowledged"
        done.add((name, wanted))


async def refresh(client, done):
    """ConditionRefresh and ConditionRefresh2: rows of their own."""

    class Seen:
        def event_notification(self, event):
            pass

    number = lambda value: ua.Variant(value, ua.VariantType.UInt32)
    subscription = await client.create_subscription(100, Seen())
    empty = await client.create_subscription(100, Seen())
    item = await subscription.subscribe_events(ua.ObjectIds.Server, ua.ObjectIds.BaseEventType)
    value = await empty.subscribe_data_change(client.nodes.server_state) if hasattr(empty, "subscribe_data_change") else None
    mine, items = number(subscription.subscription_id), number(item)
    async with Client(URL, timeout=20) as stranger:
        foreign = await stranger.create_subscription(100, Seen())
        await foreign.subscribe_events(ua.ObjectIds.Server, ua.ObjectIds.BaseEventType)
        theirs = number(foreign.subscription_id)
        table = [
            (REFRESH, CONDITION_TYPE, [mine], "Good"),
            (REFRESH, CONDITION_TYPE, [], "BadArgumentsMissing"),
            (REFRESH, CONDITION_TYPE, [mine, mine], "BadTooManyArguments"),
            (REFRESH, CONDITION_TYPE, [ua.Variant("x", ua.VariantType.String)], "BadInvalidArgument"),
            (REFRESH, CONDITION_TYPE, [number(4_000_000_000)], "BadSubscriptionIdInvalid"),
            (REFRESH, CONDITION_TYPE, [theirs], "BadUserAccessDenied"),
            (REFRESH, HIGH, [mine], "BadMethodInvalid"),
            (REFRESH_2, CONDITION_TYPE, [mine, items], "Good"),
            (REFRESH_2, CONDITION_TYPE, [mine], "BadArgumentsMissing"),
            (REFRESH_2, CONDITION_TYPE, [mine, items, items], "BadTooManyArguments"),
            (REFRESH_2, CONDITION_TYPE, [number(4_000_000_000), items], "BadSubscriptionIdInvalid"),
            (REFRESH_2, CONDITION_TYPE, [theirs, items], "BadUserAccessDenied"),
            (REFRESH_2, CONDITION_TYPE, [mine, number(4_000_000_000)], "BadMonitoredItemIdInvalid"),
            (REFRESH_2, CONDITION_TYPE, [number(empty.subscription_id), number(value or 1)], "BadNothingToDo|BadMonitoredItemIdInvalid"),
        ]
        for method, target, arguments, wanted in table:
            found = await call(client, target, method, arguments)
            while found == "BadRefreshInProgress" and wanted != found:
                # Too many of late: that is a row of its own.
                await asyncio.sleep(0.2)
                found = await call(client, target, method, arguments)
            name = "ConditionRefresh" if method == REFRESH else "ConditionRefresh2"
            assert found in wanted.split("|"), f"{name} {arguments}: expected {wanted}, found {found}"
            done.add((name, wanted))
    nothing = "BadRefreshInProgress"
    while nothing == "BadRefreshInProgress":
        await asyncio.sleep(0.2)
        nothing = await call(client, CONDITION_TYPE, REFRESH, [number(empty.subscription_id)])
    assert nothing == "BadNothingToDo", nothing
    done.add(("ConditionRefresh", nothing))
    found = [await call(client, CONDITION_TYPE, REFRESH, [mine]) for _ in range(50)]
    assert "BadRefreshInProgress" in found, found
    done.add(("ConditionRefresh", "BadRefreshInProgress"))


async def main():
    done = set()
    async with Client(URL, timeout=20) as client:
        for row in rows():
            await try_row(client, *row, done)
            print("row of", row[0], flush=True)
        for name, (method, reason) in SKIPPED.items():
            found = await call(client, HIGH, method, [])
            assert found == "BadMethodInvalid", f"{name}, of which {reason}: {found}"
            done.add((name, found))
        await refresh(client, done)
    print("rows", len(done), flush=True)
    print("passed", flush=True)


asyncio.run(main())
