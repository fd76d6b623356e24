// An OPC UA PLC on node-opcua, told what to do over standard input.
//
// Arguments: PORT FOLDER; the certificate of the server is FOLDER/pki/own/certs/certificate.pem.
// Prints "ready" when it serves. Each command line is answered with one line.

const path = require("path");
const { createRequire } = require("module");
const need = createRequire(path.join(process.cwd(), "package.json"));
const opcua = need("node-opcua");
const { DataType, Variant } = opcua;

const [port, folder] = [Number(process.argv[2]), process.argv[3]];

const VALUES = {
  Boolean: [true, DataType.Boolean],
  SByte: [-12, DataType.SByte],
  Byte: [200, DataType.Byte],
  Int16: [-30000, DataType.Int16],
  UInt16: [60000, DataType.UInt16],
  Int32: [-2000000000, DataType.Int32],
  UInt32: [4000000000, DataType.UInt32],
  Float: [1.5, DataType.Float],
  Double: [3.25, DataType.Double],
  String: ["Füllstand", DataType.String],
};

async function main() {
  const certificates = new opcua.OPCUACertificateManager({ rootFolder: path.join(folder, "pki"), automaticallyAcceptUnknownCertificate: true });
  await certificates.initialize();
  const server = new opcua.OPCUAServer({
    port,
    host: "127.0.0.1",
    hostname: "127.0.0.1",
    resourcePath: "/plant",
    serverCertificateManager: certificates,
    serverInfo: { applicationUri: "urn:test:node" },
    securityPolicies: [opcua.SecurityPolicy.None, opcua.SecurityPolicy.Basic256Sha256, opcua.SecurityPolicy.Aes128_Sha256_RsaOaep],
    securityModes: [opcua.MessageSecurityMode.None, opcua.MessageSecurityMode.Sign, opcua.MessageSecurityMode.SignAndEncrypt],
    allowAnonymous: true,
    userManager: { isValidUser: (user, password) => user === "bridge" && password === "secret" },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const namespace = space.registerNamespace("urn:test:plant");
  const plant = namespace.addObject({ organizedBy: space.rootFolder.objects, browseName: "Plant" });
  const nodes = {};
  for (const [name, [value, dataType]] of Object.entries(VALUES)) {
    nodes[name] = namespace.addVariable({
      componentOf: plant,
      nodeId: `s=${name}`,
      browseName: name,
      dataType,
      minimumSamplingInterval: 10,
      value: new Variant({ dataType, value }),
    });
  }
  await server.start();
  console.log("ready");

  const lines = require("readline").createInterface({ input: process.stdin });
  for await (const line of lines) {
    const words = line.trim().split(" ");
    const name = words[1];
    if (words[0] === "set") {
      const value = words[2] === "true" ? true : words[2] === "false" ? false : Number(words[2]);
      nodes[name].setValueFromSource(new Variant({ dataType: VALUES[name][1], value }));
    } else if (words[0] === "ramp") {
      for (let value = 0; value < Number(words[2]); value++) {
        nodes[name].setValueFromSource(new Variant({ dataType: VALUES[name][1], value }));
        await new Promise((resolve) => setTimeout(resolve, Number(words[3])));
      }
    } else if (words[0] === "status") {
      nodes[name].setValueFromSource(
        new Variant({ dataType: VALUES[name][1], value: VALUES[name][0] }),
        opcua.coerceStatusCode(parseInt(words[2], 16)),
        new Date(words[3]),
      );
    } else if (words[0] === "get") {
      const value = nodes[name].readValue().value;
      console.log(`value ${name} ${value.value} ${DataType[value.dataType]}`);
      continue;
    }
    console.log(`done ${line}`);
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
