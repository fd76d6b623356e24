"""A PLC made with pymodbus: Modbus TCP, RTU over TCP, or RTU on one end of a pty pair.

Usage: modbus_plc.py tcp|rtu+tcp|rtu [mute]     (mute: units that do not exist say nothing, instead of exception 0B)

Prints `listening <port or path>`, then `request <unit> <function> <address> <count>` for every request. Standard input:
`set <unit> <function> <address> <value>...` (function 1-4 names the table) answered by `done`, and `get <unit> <function>
<address> <count>` answered by `values ...`.
"""

import asyncio
import logging
import os
import sys
import threading
import tty

from pymodbus.exceptions import NoSuchIdException
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


def device(unit):
    """Coils 0-2099, discrete inputs 0-99, holding registers 0-199 and 300-309 (nothing between), input registers 0-99."""
    coils = [SimData(0, values=[False] * 2100, datatype=DataType.BITS)]
    discrete = [SimData(0, values=[False] * 100, datatype=DataType.BITS)]
    holding = [
        SimData(0, values=[0] * 200, datatype=DataType.REGISTERS),
        SimData(300, values=[0] * 10, datatype=DataType.REGISTERS),
    ]
    inputs = [SimData(0, values=[0] * 100, datatype=DataType.REGISTERS)]
    return SimDevice(unit, simdata=(coils, discrete, holding, inputs))


class Devices(dict):
    """pymodbus 3.16 answers for an unknown unit with exception 04 (a KeyError), where a gateway says 0B or nothing."""

    def __missing__(self, unit):
        raise NoSuchIdException(str(unit))


def say(*words):
    print(*words, flush=True)


def trace(sending, pdu):
    if not sending:
        count = getattr(pdu, "count", 0) or 0
        say("request", pdu.dev_id, pdu.function_code, getattr(pdu, "address", 0), count)
    return pdu


def pump(source, target):
    while True:
        try:
            data = os.read(source, 4096)
            os.write(target, data)
        except OSError:
            return


def pty_pair():
    """Two ptys whose masters are joined: what goes into one end comes out of the other."""
    ends = [os.openpty() for _ in range(2)]
    for master, slave in ends:
        tty.setraw(master)
        tty.setraw(slave)
    for source, target in ((ends[0][0], ends[1][0]), (ends[1][0], ends[0][0])):
        threading.Thread(target=pump, args=(source, target), daemon=True).start()
    return [os.ttyname(slave) for _, slave in ends]


async def commands(server):
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().split():
        verb, unit, function, address, *rest = line
        unit, function, address, numbers = int(unit), int(function), int(address), [int(word) for word in rest]
        if verb == "set":
            values = [bool(number) for number in numbers] if function in (1, 2) else numbers
            await server.context.async_setValues(unit, function, address, values)
            say("done")
        else:
            found = await server.context.async_getValues(unit, function, address, numbers[0])
            say("values", *[int(value) for value in found])


async def main():
    kind, mute = sys.argv[1], "mute" in sys.argv[2:]
    options = {"ignore_missing_devices": mute, "trace_pdu": trace}
    devices = [device(1), device(2)]
    if kind == "rtu":
        ours, theirs = pty_pair()
        server = ModbusSerialServer(devices, port=ours, baudrate=19200, parity="N", **options)
        await server.serve_forever(background=True)
        say("listening", theirs)
    else:
        framer = FramerType.RTU if kind == "rtu+tcp" else FramerType.SOCKET
        server = ModbusTcpServer(devices, framer=framer, address=("127.0.0.1", 0), **options)
        await server.serve_forever(background=True)
        say("listening", server.transport.sockets[0].getsockname()[1])
    server.context.devices = Devices(server.context.devices)
    # Standard input ends with the test.
    await commands(server)


asyncio.run(main())
