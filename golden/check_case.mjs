// Checks every golden case of causal_conv1d in JavaScript: node check_case.mjs [FOLDER]

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ARRAYS = { F32: Float32Array, F64: Float64Array, I64: BigInt64Array };

// safetensors: the length of the header, the header in JSON, then the numbers, little-endian, the last axis fastest
function load(path) {
  const file = readFileSync(path);
  const data = file.buffer.slice(file.byteOffset, file.byteOffset + file.length);
  const length = Number(new DataView(data).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(data.slice(8, 8 + length)));
  const tensors = {};
  for (const [name, about] of Object.entries(header)) {
    const [begin, end] = about.data_offsets;
    tensors[name] = new ARRAYS[about.dtype](data.slice(8 + length + begin, 8 + length + end));
  }
  return tensors;
}

// y[b,o,t] = b[o] + Σ_{i,k} w[o,i,k] · x[b,i, t - strict - (K-1-k)·dilation], x = 0 before the start
function causalConv1d(x, w, b, [batch, channels, length, outputs], kernel, { dilation, groups, strict }) {
  const size = channels / groups;
  const y = [];
  for (let n = 0; n < batch; n++)
    for (let o = 0; o < outputs; o++) {
      const first = Math.floor(o / (outputs / groups)) * size;
      for (let t = 0; t < length; t++) {
        let total = b ? b[o] : 0;
        for (let i = 0; i < size; i++)
          for (let k = 0; k < kernel; k++) {
            const s = t - strict - (kernel - 1 - k) * dilation;
            if (s >= 0) total += w[(o * size + i) * kernel + k] * x[(n * channels + first + i) * length + s];
          }
        y.push(total);
      }
    }
  return y;
}

const folder = process.argv[2] ?? dirname(fileURLToPath(import.meta.url));
const manifest = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
const unit = manifest.units.float64; // JavaScript computes in float64
const cases = manifest.cases.filter((each) => each.operator === "causal_conv1d");
for (const each of cases) {
  const tensors = load(join(folder, each.file));
  const [x, w, b, expected, bound] = ["x", "w", "b", "y", "bound.y"].map((name) => tensors[`${each.id}/${name}`]);
  const [batch, channels, length] = each.arrays.x.shape;
  const [outputs, , kernel] = each.arrays.w.shape;
  const y = causalConv1d(x, w, b, [batch, channels, length, outputs], kernel, each.attributes);
  y.forEach((came, n) => {
    const most = bound ? bound[n] * unit : 0;
    if (!(Math.abs(came - expected[n]) <= most)) {
      console.error(`${each.id}: number ${n}: expected ${expected[n]}, got ${came}, may be off by ${most}`);
      process.exit(1);
    }
  });
  console.log(each.id, "holds", each.exact ? "by ==" : "within its bound");
}
console.log(cases.length, "cases hold");
