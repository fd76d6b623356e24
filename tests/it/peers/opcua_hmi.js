// An HMI on node-opcua. Arguments: URL FOLDER. Prints each thing that it saw, then "passed".

const path = require("path");
const { createRequire } = require("module");
const need = createRequire(path.join(process.cwd(), "package.json"));
const opcua = need("node-opcua");
const { AttributeIds, DataType, MessageSecurityMode, SecurityPolicy, StatusCodes, UserTokenType } = opcua;

const [url, folder, secured] = [process.argv[2], process.argv[3], process.argv[4] === "secured"];
const expect = (found, wanted, what) => {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) throw new Error(`${what}: expected ${JSON.stringify(wanted)}, found ${JSON.stringify(found)}`);
};

async function main() {
  const certificates = new opcua.OPCUACertificateManager({ rootFolder: path.join(folder, "node-pki"), automaticallyAcceptUnknownCertificate: true });
  await certificates.initialize();
  const client = opcua.OPCUAClient.create({
    applicationName: "hmi",
    clientCertificateManager: certificates,
    endpointMustExist: true,
    connectionStrategy: { maxRetry: 0 },
    requestedSessionTimeout: 60000,
    defaultSecureTokenLifetime: 600000,
    securityMode: secured ? MessageSecurityMode.SignAndEncrypt : MessageSecurityMode.None,
    securityPolicy: secured ? SecurityPolicy.Basic256Sha256 : SecurityPolicy.None,
  });
  if (process.argv[4] === "certificate") {
    await client.createDefaultCertificate();
    console.log("made:", client.certificateFile);
    return;
  }
  await client.connect(url);
  const user = secured ? { type: UserTokenType.UserName, userName: "olga", password: "öl pump 7" } : { type: UserTokenType.Anonymous };
  const session = await client.createSession(user);

  const counter = await session.read({ nodeId: "ns=2;s=System/Gateway/Twilio/MessagesSent", attributeId: AttributeIds.Value });
  expect([counter.value.dataType, counter.value.value], [DataType.Int32, 15], "counter");
  const statistics = await session.read({ nodeId: "ns=2;s=System/Gateway/Twilio/UserStatistics", attributeId: AttributeIds.Value });
  expect(statistics.statusCode.value, 0, "status of the statistics");
  const rows = statistics.value.value.map((row) => [row.username, row.phoneNumber, row.messagesSent]);
  expect(rows, [["alice", "+1•••4444", 5], ["bob", "+1•••4444", 7]], "rows");

  // The type, loaded as node-opcua does it for whoever wants to make values of it.
  await session.extractNamespaceDataType();
  const made = await session.constructExtensionObject(opcua.resolveNodeId("ns=2;i=1"), { username: "carol", messagesSent: 1 });
  expect([made.username, made.messagesSent, made.callsSent], ["carol", 1, 0], "a made value");

  const objects = await session.browse("ObjectsFolder");
  expect(objects.references.map((r) => r.browseName.name).filter((name) => ["Plant", "System", "Alarms", "Server"].includes(name)).sort(), ["Alarms", "Plant", "Server", "System"], "objects");
  const line = await session.browse({ nodeId: "ns=2;s=Plant/Line1", referenceTypeId: "Organizes", browseDirection: opcua.BrowseDirection.Forward, resultMask: 63 });
  expect(line.references.length, 5, "tags of Line1");
  const paths = await session.translateBrowsePath(opcua.makeBrowsePath("RootFolder", "/Objects/2:Plant/2:Line1/2:TankLevel/0:EURange"));
  expect(paths.targets[0].targetId.toString(), "ns=2;s=Plant/Line1/TankLevel/0:EURange", "path");

  const status = await session.write({ nodeId: "ns=2;s=Plant/Line1/Pump", attributeId: AttributeIds.Value, value: { value: { dataType: DataType.Boolean, value: true } } });
  expect(status.name, secured ? "Good" : "BadUserAccessDenied", "write");
  const call = await session.call({ objectId: "ns=2;s=System/Gateway/Twilio", methodId: "ns=2;s=System/Gateway/Twilio/GetUser", inputArguments: [{ dataType: DataType.Int64, arrayType: opcua.VariantArrayType.Scalar, value: [0, 1] }] });
  expect(call.statusCode.name, secured ? "Good" : "BadUserAccessDenied", "call");
  if (secured) expect(call.outputArguments[0].value.username, "alice", "user");

  const subscription = await session.createSubscription2({ requestedPublishingInterval: 50, requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 10, publishingEnabled: true, maxNotificationsPerPublish: 0, priority: 1 });
  const item = await subscription.monitor({ nodeId: "ns=2;s=Plant/Line1/Counter", attributeId: AttributeIds.Value }, { samplingInterval: 0, queueSize: 10, discardOldest: true }, opcua.TimestampsToReturn.Both);
  item.on("changed", (value) => console.log("value", value.value.value, value.statusCode.name, value.sourceTimestamp.toISOString()));
  await new Promise((resolve) => process.stdin.once("data", resolve));
  await subscription.terminate();
  await session.close();
  await client.disconnect();
  console.log("passed");
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
