// Runs a bundle over what cases.json says, and writes the outputs: node run.mjs BUNDLE CASES OUT
import { readFileSync, writeFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { Caller } from "./caller.mjs";

const [bundle, cases, out] = process.argv.slice(2);
ort.env.wasm.numThreads = 1;
const tensor = ({ type, data, dims }) =>
  new ort.Tensor(type, type === "int64" ? data.map(BigInt) : Float32Array.from(data), dims);
const tensors = (inputs) => Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name, tensor(value)]));
const caller = await Caller.open(ort, (name) => readFileSync(`${bundle}/${name}`));
const outputs = [];
for (const { call, inputs, length } of JSON.parse(readFileSync(cases))) {
  const y = call === "start" ? await caller.start(tensors(inputs), tensor(length)) : await caller[call](tensors(inputs));
  outputs.push({ dims: y.dims, data: Array.from(y.data) });
}
writeFileSync(out, JSON.stringify(outputs));
