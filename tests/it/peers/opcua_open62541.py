"""A SCADA made of open62541's client, which the package `o6` brings compiled. Usage: opcua_open62541.py URL. Browses, reads, watches
values and events, acknowledges an alarm. Ends with `passed` and 0."""

import sys
import time

import o6

URL = sys.argv[1]
BOUND = 60
LEVEL, HIGH = "ns=2;s=Plant/Level", "ns=2;s=Plant/Level/Alarms/High"
SELECT = "SELECT /EventId, /EventType, /SourceName, /Severity, /Retain, /AckedState/Id, /ActiveState/Id"


def expect(found, wanted, what):
    assert found == wanted, f"{what}: expected {wanted!r}, found {found!r}"


def until(what, found):
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(0.02)
    raise AssertionError(f"no {what} within {BOUND} s")


def main():
    client = o6.Client(URL)
    client.connect()
    expect(client["i=2259"](), 0, "State of the server")
    expect("plant" in dir(client.objects), True, "the plant below Objects")
    client[LEVEL](0.0)
    expect(float(client[LEVEL]()), 0.0, "the level")

    values, events = [], []
    client.monitor(LEVEL, lambda value: values.append(float(value)))
    client.monitorEvent("i=2253", events.append, SELECT, queueSize=1000)
    until("first value", lambda: values == [0.0])
    client[LEVEL](92.0)
    until("new value", lambda: values[-1] == 92.0)
    of_level = lambda: [event for event in events if str(event["/SourceName"]) == "Level"]
    [raised] = until("event of the alarm", of_level)
    expect((int(raised["/Severity"]), bool(raised["/Retain"]), bool(raised["/AckedState/Id"]), bool(raised["/ActiveState/Id"])),
           (900, True, False, True), "raised")

    said = o6.LocalizedText("seen", "en")
    acknowledge = lambda event_id: client.call(HIGH, "i=9111", [event_id, said])[0]
    event_id = bytes(raised["/EventId"])
    expect(int(acknowledge(event_id)), 0, "Acknowledge")
    acked = until("event of the acknowledgement", lambda: [event for event in of_level() if bool(event["/AckedState/Id"])])
    expect(bool(acked[0]["/ActiveState/Id"]), True, "still active")
    expect(int(acknowledge(event_id)), 0x80CF0000, "BadConditionBranchAlreadyAcked")
    expect(int(acknowledge(b"unknown")), 0x809A0000, "BadEventIdUnknown")
    expect(str(client[f"{HIGH}/AckUser"]()), "anonymous", "who acknowledged")
    client.disconnect()
    print("passed", flush=True)


main()
