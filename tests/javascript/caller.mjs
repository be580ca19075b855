// A bundle as a program without refar runs it, in a browser or in node. `ort` is onnxruntime-web or onnxruntime-node.
export class Caller {
  static async open(ort, read) {
    // `read(name)` gives the bytes of a file of the bundle
    const self = new Caller();
    self.ort = ort;
    self.models = {};
    for (const name of ["prefill", "step", "block"]) {
      self.models[name] = await ort.InferenceSession.create(await read(`${name}.onnx`));
    }
    return self;
  }
  // Prompts, padded on the right to T positions, T ≥ 1; of a strict network T > every length.
  start(inputs, length) {
    this.state = { "past.clock": new this.ort.Tensor("int64", [0n], []) };
    return this.#run("prefill", { ...inputs, length });
  }
  // One token of each sequence, and the local conditions of the position of its output.
  step(inputs) {
    return this.#run("step", inputs);
  }
  block(inputs) {
    return this.#run("block", inputs);
  }
  async #run(name, inputs) {
    const given = { ...inputs, ...this.state };
    const model = this.models[name];
    const results = await model.run(Object.fromEntries(model.inputNames.map((port) => [port, given[port]])));
    for (const port of model.outputNames) {
      if (port !== "output") this.state[port.replace("present.", "past.")] = results[port]; // fixed.* keep their names
    }
    return results.output;
  }
}
