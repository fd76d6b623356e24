#!/usr/bin/env python3
"""The program among strangers: pymodbus is its PLC, asyncua browses it, plain HTTP is the rest.

    python tests/acceptance.py [--binary target/release/annunciator]

Starts the binary on the shipped configuration, trips a coil, finds exactly one text in the Twilio simulator's own request log,
posts a signed reply, sees the coil, the answer and all seven Twilio nodes by NodeId and type, kills it with SIGKILL, starts it
again and finds the same numbers. Only the environment that the shipped configuration names is set; every port is a free one.
Needs the packages of tests/it/peers/requirements.txt. Prints each check; the exit status is 1 when one fails.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import logging
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from asyncua import Client, ua
from asyncua.common.structures104 import load_data_type_definitions
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Of the shipped configuration.
ACCOUNT = "AC00000000000000000000000000000001"
TOKEN = "simulated-auth-token"
OUR_NUMBER = "+15550001111"
ALICE, ALICE_PIN = "+12223334444", "4711"
TANK_TRIP, TANK_ACK = 1, 11
TRIP_PATH = "Plant/Line1/TankTrip"
TWILIO = "System/Gateway/Twilio/"
COUNTERS = [
    "CallMinutesReceived",
    "CallMinutesSent",
    "CallsReceived",
    "CallsSent",
    "MessagesReceived",
    "MessagesSent",
]
NAMESPACE = "urn:annunciator:tags"
BOUND = 20.0  # seconds; what is waited for takes far less
QUIET = 3.0  # how long nothing more may happen


class Failed(Exception):
    """A check that does not hold."""


def check(holds, what, found=None):
    words = what if holds or found is None else f"{what}: found {found!r}"
    print(f"{'ok    ' if holds else 'FAILED'} {words}", flush=True)
    if not holds:
        raise Failed(what)


async def until(what, look, bound=BOUND):
    """Waits until `look()` gives something true, and returns it."""
    deadline = time.monotonic() + bound
    while True:
        found = await look()
        if found:
            check(True, what)
            return found
        if time.monotonic() > deadline:
            check(False, f"{what} within {bound:.0f} s")
        await asyncio.sleep(0.05)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def http(method, url, data=None, headers=None):
    """Status and body; status 0 when nobody answers."""
    request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (urllib.error.URLError, OSError):
        return 0, ""


async def ask(method, url, data=None, headers=None):
    return await asyncio.to_thread(http, method, url, data, headers)


def signature(url, parameters):
    """X-Twilio-Signature (Twilio, "Validating requests")."""
    signed = url + "".join(key + value for key, value in sorted(parameters.items()))
    return base64.b64encode(hmac.new(TOKEN.encode(), signed.encode(), hashlib.sha1).digest()).decode()


async def post_signed(url, parameters, sign=signature):
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": sign(url, parameters)}
    return await ask("POST", url, urllib.parse.urlencode(parameters).encode(), headers)


class Plc:
    """pymodbus with the addresses that the shipped tags name, all zero; it remembers every coil that was written."""

    def __init__(self):
        self.port = 0
        self.writes = []

    async def start(self):
        coils = [SimData(0, values=[False] * 64, datatype=DataType.BITS)]
        discrete = [SimData(0, values=[True] * 16, datatype=DataType.BITS)]
        holding = [SimData(0, values=[0] * 64, datatype=DataType.REGISTERS)]
        inputs = [SimData(0, values=[0] * 16, datatype=DataType.REGISTERS)]
        unit = SimDevice(1, simdata=(coils, discrete, holding, inputs))
        self.server = ModbusTcpServer([unit], address=("127.0.0.1", 0), trace_pdu=self.trace)
        await self.server.serve_forever(background=True)
        self.port = self.server.transport.sockets[0].getsockname()[1]

    def trace(self, sending, pdu):
        if not sending and pdu.function_code in (5, 15):
            self.writes.append((pdu.address, [bool(bit) for bit in pdu.bits[:1]]))
        return pdu

    async def set_coil(self, address, value):
        await self.server.context.async_setValues(1, 1, address, [value])

    async def coil(self, address):
        return bool((await self.server.context.async_getValues(1, 1, address, 1))[0])

    async def stop(self):
        await self.server.shutdown()


class Program:
    """The binary under test, and the Twilio that it comes with."""

    def __init__(self, binary, folder, plc):
        self.binary, self.folder, self.plc = binary, folder, plc
        self.webhooks, self.console, self.opcua = free_port(), free_port(), free_port()
        self.children = []
        self.daemon = None

    def spawn(self, arguments, name, environment=None):
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("TWILIO_", "ANNUNCIATOR_"))}
        log = open(self.folder / f"{name}.log", "ab")
        child = subprocess.Popen(
            [self.binary, *arguments],
            cwd=ROOT,
            env=clean | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if environment is None else log,
            stderr=log,
        )
        self.children.append(child)
        return child

    async def start_twilio(self):
        child = self.spawn(["simulate", "twilio", "--listen", "127.0.0.1:0"], "twilio")
        line = await asyncio.wait_for(asyncio.to_thread(child.stdout.readline), BOUND)
        check(b"http://" in line, "the Twilio simulator says where it listens", line)
        self.twilio = line.decode().split()[-1]

    async def start(self):
        environment = {
            "PLC_URL": f"tcp://127.0.0.1:{self.plc.port}",
            "TWILIO_BASE_URL": self.twilio,
            "EXTERNAL_URL": f"http://127.0.0.1:{self.webhooks}",
            "WEBHOOKS_LISTEN": f"127.0.0.1:{self.webhooks}",
            "CONSOLE_LISTEN": f"127.0.0.1:{self.console}",
            "OPCUA_ENDPOINT": f"opc.tcp://127.0.0.1:{self.opcua}/annunciator",
        }
        self.daemon = self.spawn(["run", "--data", str(self.folder / "data")], "daemon", environment)

        async def ready():
            if self.daemon.poll() is not None:
                check(False, "the daemon runs", self.log()[-2000:])
            return (await ask("GET", f"http://127.0.0.1:{self.console}/readyz"))[0] == 200

        await until("the daemon is ready", ready)

    def log(self):
        return (self.folder / "daemon.log").read_text(errors="replace")

    def kill(self):
        self.daemon.send_signal(signal.SIGKILL)
        check(self.daemon.wait(BOUND) == -signal.SIGKILL, "the daemon is gone after SIGKILL")

    async def sends(self):
        """The requests of the simulator's own log that asked for a text."""
        status, body = await ask("GET", f"{self.twilio}/simulator/requests")
        if status != 200:
            check(False, "the simulator shows its request log", status)
        return [request for request in json.loads(body)["requests"] if request["method"] == "POST"]

    async def phone(self, number):
        _, body = await ask("GET", f"{self.twilio}/simulator/phones/{urllib.parse.quote(number)}")
        return [text for text in json.loads(body)["messages"] if not text["sent_by_phone"]]

    def end(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()


class Scada:
    """asyncua as an anonymous viewer."""

    def __init__(self, program):
        self.client = Client(f"opc.tcp://127.0.0.1:{program.opcua}/annunciator", timeout=10)

    async def __aenter__(self):
        await self.client.connect()
        self.namespace = await self.client.get_namespace_index(NAMESPACE)
        return self

    async def __aexit__(self, *_):
        await self.client.disconnect()

    def node(self, path):
        return self.client.get_node(ua.NodeId(path, self.namespace))

    async def value(self, path):
        return await self.node(path).read_value()

    async def counters(self):
        return {name: await self.value(TWILIO + name) for name in COUNTERS}

    async def rows(self):
        """UserStatistics, decoded only with what the server itself says of the type."""
        await load_data_type_definitions(self.client)
        rows = await self.value(TWILIO + "UserStatistics")
        return {row.Username: (row.MessagesReceived, row.MessagesSent, row.CallsReceived, row.CallsSent) for row in rows}


async def check_trip(program, plc):
    await plc.set_coil(TANK_TRIP, True)

    async def first():
        return await program.sends()

    sends = await until("the tripped coil makes a text", first)
    await asyncio.sleep(QUIET)
    sends = await program.sends()
    check(len(sends) == 1, "exactly one text is in the simulator's request log", sends)
    send = sends[0]
    check(send["path"] == f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json" and send["status"] == 201, "Twilio accepted it", send)
    parameters = send["parameters"]
    check(parameters["To"] == ALICE and parameters["From"] == OUR_NUMBER, "it goes to the first of the roster", parameters)
    body = parameters["Body"]
    check("CRITICAL" in body and TRIP_PATH in body and "stop the feed" in body, f"it says what has happened: {body}")
    check(len(body) <= 160 and " #" in body, "it is one segment with a code")
    check(not await plc.coil(TANK_ACK), "nothing is written before somebody acknowledges")


async def check_refusals(program, plc):
    url = f"http://127.0.0.1:{program.webhooks}/main/system/twilio-sms/inbound/main"
    reply = inbound("SM" + "f" * 32)
    status, _ = await post_signed(url, reply, lambda *_: "bm90IHNpZ25lZA==")
    check(status == 403, "a reply with a wrong signature is refused", status)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, _ = await ask("POST", url, urllib.parse.urlencode(reply).encode(), headers)
    check(status == 403, "an unsigned reply is refused", status)
    await asyncio.sleep(1.0)
    check(not await plc.coil(TANK_ACK) and not plc.writes, "and nothing was written", plc.writes)


def inbound(sid, body=ALICE_PIN):
    return {
        "MessageSid": sid,
        "SmsSid": sid,
        "AccountSid": ACCOUNT,
        "From": ALICE,
        "To": OUR_NUMBER,
        "Body": body,
        "NumMedia": "0",
        "NumSegments": "1",
        "FromCity": "",
        "ApiVersion": "2010-04-01",
    }


async def check_reply(program, plc):
    url = f"http://127.0.0.1:{program.webhooks}/main/system/twilio-sms/inbound/main"
    reply = inbound("SM" + "a" * 32)
    status, _ = await post_signed(url, reply)
    check(status == 200, "the signed reply is taken", status)

    async def risen():
        return (TANK_ACK, [True]) in plc.writes

    async def fallen():
        return plc.writes[-1:] == [(TANK_ACK, [False])]

    await until("the acknowledge coil of the PLC rises", risen)
    await until("and falls again, as a pulse does", fallen)
    check(plc.writes == [(TANK_ACK, [True]), (TANK_ACK, [False])], "nothing else was written to the PLC", plc.writes)

    async def answered():
        return (await program.phone(ALICE))[1:]

    answers = await until("the sender is answered", answered)
    check(TRIP_PATH.split("/")[-1] in answers[0]["body"], f"the answer says what was acknowledged: {answers[0]['body']}")
    status, _ = await post_signed(url, reply)
    check(status == 200, "the same reply, delivered twice, is taken")
    await asyncio.sleep(QUIET)
    texts = [(send["parameters"]["To"], send["parameters"]["Body"]) for send in await program.sends()]
    check(len(texts) == 2, "there are two texts: the alarm and the answer", texts)
    check(len(plc.writes) == 2, "and one pulse", plc.writes)


async def check_types(scada):
    for name in COUNTERS:
        value = await scada.node(TWILIO + name).read_data_value()
        kind = value.Value.VariantType
        check(value.StatusCode.is_good() and kind == ua.VariantType.Int32, f"ns={NAMESPACE};s={TWILIO}{name} is Int32", kind)
    node = scada.node(TWILIO + "UserStatistics")
    value = await node.read_data_value()
    kind = value.Value.VariantType
    check(kind == ua.VariantType.ExtensionObject, f"ns={NAMESPACE};s={TWILIO}UserStatistics is structures", kind)
    check(await node.read_value_rank() == ua.ValueRank.OneDimension, "it is an array")
    data_type = await scada.client.get_node(await node.read_data_type()).read_browse_name()
    check(data_type.Name == "TwilioUserStatisticsType", "its DataType is TwilioUserStatisticsType", data_type)


EXPECTED = dict.fromkeys(COUNTERS, 0) | {"MessagesReceived": 1, "MessagesSent": 2}
ROWS = {"alice": (1, 2, 0, 0), "bob": (0, 0, 0, 0)}


async def check_numbers(scada, when):
    counters = await scada.counters()
    check(counters == EXPECTED, f"the counters {when}: {EXPECTED}", counters)
    rows = await scada.rows()
    check(rows == ROWS, f"the users' rows {when}: {ROWS}", rows)
    columns = await scada.value(TWILIO + "UserStatistics/Columns/MessagesSent")
    check(list(columns) == [row[1] for row in ROWS.values()], f"the column of texts sent {when}", columns)
    alarm = {name: await scada.value(f"{TRIP_PATH}/Alarms/Trip/{name}") for name in ("Active", "Acked", "State", "AckUser")}
    expected = {"Active": True, "Acked": True, "State": "ActiveAcked", "AckUser": "alice"}
    check(alarm == expected, f"the alarm {when}: {expected}", alarm)
    check(await scada.value(TRIP_PATH) is True, f"the PLC's coil can be read {when}")
    return await scada.value(f"{TRIP_PATH}/Alarms/Trip/EventId")


async def check_all(program, plc):
    await plc.start()
    await program.start_twilio()
    await program.start()
    await asyncio.sleep(QUIET)
    check(await program.sends() == [], "a plant at rest texts nobody")
    await check_trip(program, plc)
    await check_refusals(program, plc)
    await check_reply(program, plc)
    async with Scada(program) as scada:
        await check_types(scada)
        event = await check_numbers(scada, "before the kill")
    program.kill()
    await program.start()
    async with Scada(program) as scada:

        async def read():
            return await scada.value(TRIP_PATH) is True

        await until("the PLC is read again", read)
        check(await check_numbers(scada, "after the kill") == event, "it is the same alarm event", event)
    await asyncio.sleep(QUIET)
    check(len(await program.sends()) == 2, "nobody is texted again")
    check(len(plc.writes) == 2, "nothing is written again", plc.writes)
    log = program.log()
    check(not any(secret in log for secret in (TOKEN, ALICE_PIN)), "the log names neither the token nor a PIN")
    program.daemon.send_signal(signal.SIGTERM)
    check(await asyncio.to_thread(program.daemon.wait, 10) == 0, "SIGTERM ends it within 10 s, exit status 0")


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=str(ROOT / "target/release/annunciator"), help="the program under test")
    binary = os.path.abspath(parser.parse_args().binary)
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="annunciator-acceptance-") as folder:
        plc = Plc()
        program = Program(binary, pathlib.Path(folder), plc)
        try:
            await check_all(program, plc)
        except Exception as error:
            if not isinstance(error, Failed):
                print(f"FAILED {type(error).__name__}: {error}")
            print("--- the daemon's log\n" + (program.log() if program.daemon else ""), file=sys.stderr)
            return 1
        finally:
            program.end()
            await plc.stop()
    print(f"accepted in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
