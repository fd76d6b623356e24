// A SCADA made of node-opcua that monitors alarms. Usage: node opcua_scada.js URL FOLDER [security].
// With `security` it only reads who came in how, which asyncua cannot decode (it takes the field Encoding for its own). Prints what it saw, then "passed".

const path = require("path");
const { createRequire } = require("module");
const need = createRequire(path.join(process.cwd(), "package.json"));
const opcua = need("node-opcua");
const { AttributeIds, DataType } = opcua;

const [url, folder] = process.argv.slice(2);
const HIGH = "ns=2;s=Plant/Level/Alarms/High";
const BOUND = 30000;

const expect = (found, wanted, what) => {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) throw new Error(`${what}: expected ${JSON.stringify(wanted)}, found ${JSON.stringify(found)}`);
};

// What the list of alarms shows of one, such as "active unacked".
const words = (alarm) => {
  const field = (name) => alarm.fields[name];
  const shelved = field("shelvingState").currentState.value.text;
  const comment = field("comment").value ? field("comment").value.text : "";
  return [field("activeState").id.value ? "active" : "inactive", field("ackedState").id.value ? "acked" : "unacked", shelved, field("retain").value ? "kept" : "gone", comment || "-"].join(" ");
};

async function until(alarms, wanted) {
  const end = Date.now() + BOUND;
  let found;
  while (Date.now() < end) {
    const alarm = alarms.alarms().find((alarm) => alarm.conditionId.toString() === HIGH);
    found = alarm && words(alarm);
    if (found === wanted) {
      console.log("alarm", found);
      return alarm;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`expected ${wanted}, found ${found}`);
}

async function main() {
  const certificates = new opcua.OPCUACertificateManager({ rootFolder: path.join(folder, "node-pki"), automaticallyAcceptUnknownCertificate: true });
  await certificates.initialize();
  const client = opcua.OPCUAClient.create({ applicationName: "scada", clientCertificateManager: certificates, endpointMustExist: false, connectionStrategy: { maxRetry: 0 } });
  await client.connect(url);
  const session = await client.createSession();
  const level = (value) => session.write({ nodeId: "ns=2;s=Plant/Level", attributeId: AttributeIds.Value, value: { value: { dataType: DataType.Double, value } } });
  const call = async (methodId, ...inputArguments) => (await session.call({ objectId: HIGH, methodId, inputArguments })).statusCode.name;

  if (process.argv[4] === "security") {
    const told = (await session.read({ nodeId: "i=3708", attributeId: AttributeIds.Value })).value.value;
    const own = told.find((told) => told.sessionId.toString() === session.sessionId.toString());
    const found = [own.constructor.name, own.clientUserIdOfSession, own.clientUserIdHistory, own.authenticationMechanism, own.encoding, own.transportProtocol];
    expect(found, ["SessionSecurityDiagnosticsDataType", "anonymous", ["anonymous"], "Anonymous", "UA Binary", "opc.tcp"], "who came in how");
    expect([own.securityMode, own.securityPolicyUri.split("#")[1]], [opcua.MessageSecurityMode.None, "None"], "security");
    const node = `ns=1;s=${session.sessionId.value}/0:SessionSecurityDiagnostics`;
    const member = (await session.read({ nodeId: node, attributeId: AttributeIds.Value })).value.value;
    expect(member.toString(), own.toString(), "the same in the session's object");
    await session.close();
    await client.disconnect();
    console.log("passed");
    return;
  }

  // Sessions and subscriptions one by one, as node-opcua's own types.
  const array = async (nodeId) => (await session.read({ nodeId, attributeId: AttributeIds.Value })).value.value;
  const [own] = (await array("i=3707")).filter((told) => told.sessionId.toString() === session.sessionId.toString());
  expect([own.constructor.name, own.clientDescription.applicationName.text], ["SessionDiagnosticsDataType", "scada"], "session");
  expect([own.totalRequestCount.totalCount > 0, own.callCount.totalCount], [true, 0], "its requests");

  const alarms = await opcua.installAlarmMonitoring(session);
  const watched = (await array("i=2290")).find((told) => told.sessionId.toString() === session.sessionId.toString());
  expect([watched.constructor.name, watched.publishingEnabled, watched.monitoredItemCount], ["SubscriptionDiagnosticsDataType", true, 1], "subscription");
  const security = await session.read({ nodeId: "i=3708", attributeId: AttributeIds.Value });
  expect(security.statusCode.name, "BadUserAccessDenied", "who came in how, for an operator");
  expect((await level(92)).name, "Good", "write");
  let alarm = await until(alarms, "active unacked Unshelved kept -");
  expect([alarm.fields.severity.value, alarm.fields.conditionName.value, alarm.fields.sourceName.value], [900, "High", "Level"], "fields");

  // What came first is what a click acknowledges; a second click is told so.
  const first = alarm.eventId;
  expect((await alarm.acknowledge(session, "seen")).name, "Good", "acknowledge");
  await until(alarms, "active acked Unshelved kept seen");
  expect((await session.acknowledgeCondition(alarm.conditionId, first, "again")).name, "BadConditionBranchAlreadyAcked", "a second acknowledgement");
  expect((await session.acknowledgeCondition(alarm.conditionId, Buffer.from("unknown"), "x")).name, "BadEventIdUnknown", "an unknown event");
  alarm = await until(alarms, "active acked Unshelved kept seen");
  expect((await session.addCommentCondition(alarm.conditionId, alarm.eventId, "valve")).name, "Good", "comment");
  await until(alarms, "active acked Unshelved kept valve");

  const minute = { dataType: DataType.Double, value: 60000 };
  expect(await call("i=2949", minute), "Good", "TimedShelve");
  await until(alarms, "active acked TimedShelved kept valve");
  expect(await call("i=2949", minute), "BadConditionAlreadyShelved", "TimedShelve again");
  expect(await call("i=2947"), "Good", "Unshelve");
  await until(alarms, "active acked Unshelved kept valve");
  expect(await call("i=2948"), "Good", "OneShotShelve");
  await until(alarms, "active acked OneShotShelved kept valve");
  expect(await call("i=2947"), "Good", "Unshelve");
  expect((await level(0)).name, "Good", "write");
  await until(alarms, "inactive acked Unshelved gone valve");
  await opcua.uninstallAlarmMonitoring(session);

  // A list made anew has what is retained, by ConditionRefresh.
  expect((await level(92)).name, "Good", "write");
  const again = await opcua.installAlarmMonitoring(session);
  await until(again, "active unacked Unshelved kept -");
  await session.close();
  await client.disconnect();
  console.log("passed");
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
