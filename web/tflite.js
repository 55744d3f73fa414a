// What the page has to know of a .tflite file: its record, and three things that LiteRT.js leaves to its user.
//
// A file is a FlatBuffer, described in LiteRT's schema.fbs, with a zip archive behind it that holds the record. Field
// numbers are those of that schema.

const RECORD = "mask_detector.json";
const ZIP_END = 0x06054b50; // "PK\5\6", the end of a zip archive's directory
const ZIP_END_BYTES = 22;
const ZIP_LOCAL_BYTES = 30;

const MODEL = { operatorCodes: 1, subgraphs: 2, buffers: 4 };
const GRAPH = { tensors: 0, inputs: 1, outputs: 2, operators: 3 };
const TENSOR = { shape: 0, type: 1, buffer: 2, shapeSignature: 7 };
const OPERATOR_CODE = { deprecatedBuiltinCode: 0, builtinCode: 3 };
const OPERATOR = { opcodeIndex: 0, inputs: 1, outputs: 2 };
const BUFFER = { data: 0 };
const DEQUANTIZE = 6; // BuiltinOperator
const FLOAT32 = 0; // TensorType
const FLOAT16 = 1;
const ALIGNMENT = 16; // bytes, of constant data

/**
 * Part a model file into its network and what it says of itself.
 * @param {Uint8Array} file
 * @returns {{network: Uint8Array, record: {class_names: string[], input_size: number, preprocessing: string}}}
 */
export function parseModel(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const end = file.length - ZIP_END_BYTES;
  if (end < 0 || view.getUint32(end, true) !== ZIP_END) throw new Error("the model holds no record of itself");
  const entry = view.getUint32(end + 16, true); // the archive holds the record alone, stored as it is
  const nameLength = view.getUint16(entry + 28, true);
  const size = view.getUint32(entry + 24, true);
  const start = view.getUint32(entry + 42, true);
  const text = new TextDecoder();
  if (text.decode(file.subarray(entry + 46, entry + 46 + nameLength)) !== RECORD) {
    throw new Error(`the model holds no ${RECORD}`);
  }
  const data = start + ZIP_LOCAL_BYTES + view.getUint16(start + 26, true) + view.getUint16(start + 28, true);
  return { network: file.subarray(0, start), record: JSON.parse(text.decode(file.subarray(data, data + size))) };
}

/**
 * A copy of a network for inputs of another shape, as LiteRT.js resizes none.
 * @param {Uint8Array} network
 * @param {number[]} inputShape of its one input, as many numbers as before
 * @param {number[]} outputShape of its one output, likewise
 */
export function withShapes(network, inputShape, outputShape) {
  const buffer = new FlatBuffer(network.slice());
  const graph = buffer.items(buffer.root, MODEL.subgraphs)[0];
  const tensors = buffer.items(graph, GRAPH.tensors);
  for (const [ends, shape] of [[GRAPH.inputs, inputShape], [GRAPH.outputs, outputShape]]) {
    const [index] = buffer.numbers(graph, ends);
    buffer.setNumbers(tensors[index], TENSOR.shape, shape);
    buffer.setNumbers(tensors[index], TENSOR.shapeSignature, shape);
  }
  return buffer.bytes;
}

/**
 * A copy of a network whose float16 weights are float32. LiteRT.js would expand them anew at every run, which takes
 * longer than the run itself.
 * @param {Uint8Array} network
 */
export function withExpandedWeights(network) {
  const half = halfWeights(new FlatBuffer(network));
  const length = half.reduce((end, { values }) => dataStart(end) + 4 * values.length, network.length);
  const bytes = new Uint8Array(length);
  bytes.set(network);
  const buffer = new FlatBuffer(bytes);
  let end = network.length;
  for (const { source, target, tensor, data, values } of half) {
    const start = dataStart(end);
    buffer.view.setUint32(start - 4, values.length * 4, true);
    new Float32Array(buffer.bytes.buffer, start, values.length).set(values);
    buffer.view.setUint32(data, start - 4 - data, true);
    buffer.view.setUint8(buffer.field(tensor, TENSOR.type), FLOAT32);
    useInstead(buffer, target, source);
    end = start + 4 * values.length;
  }
  removeOperators(buffer, new Set(half.map(({ operator }) => operator)));
  return buffer.bytes;
}

/** Where the data of a vector begin that is appended at `end`, after its length. */
function dataStart(end) {
  return Math.ceil((end + 4) / ALIGNMENT) * ALIGNMENT;
}

/** The constant float16 tensors, each with the operator that expands it into another tensor. */
function halfWeights(buffer) {
  const graph = buffer.items(buffer.root, MODEL.subgraphs)[0];
  const tensors = buffer.items(graph, GRAPH.tensors);
  const buffers = buffer.items(buffer.root, MODEL.buffers);
  const codes = buffer.items(buffer.root, MODEL.operatorCodes).map((code) =>
    Math.max(buffer.int8(code, OPERATOR_CODE.deprecatedBuiltinCode), buffer.int32(code, OPERATOR_CODE.builtinCode)),
  );
  return buffer.items(graph, GRAPH.operators).flatMap((operator) => {
    if (codes[buffer.int32(operator, OPERATOR.opcodeIndex)] !== DEQUANTIZE) return [];
    const [source] = buffer.numbers(operator, OPERATOR.inputs);
    const [target] = buffer.numbers(operator, OPERATOR.outputs);
    const tensor = tensors[source];
    const data = buffer.field(buffers[buffer.int32(tensor, TENSOR.buffer)], BUFFER.data);
    if (buffer.int8(tensor, TENSOR.type) !== FLOAT16 || !data) return [];
    return [{ operator, source, target, tensor, data, values: expanded(buffer.bytesAt(data)) }];
  });
}

/** Let every operator that reads one tensor read another. */
function useInstead(buffer, before, after) {
  const graph = buffer.items(buffer.root, MODEL.subgraphs)[0];
  for (const operator of buffer.items(graph, GRAPH.operators)) {
    const inputs = buffer.numbers(operator, OPERATOR.inputs);
    if (inputs.includes(before)) {
      buffer.setNumbers(operator, OPERATOR.inputs, inputs.map((index) => (index === before ? after : index)));
    }
  }
}

function removeOperators(buffer, removed) {
  const graph = buffer.items(buffer.root, MODEL.subgraphs)[0];
  const kept = buffer.items(graph, GRAPH.operators).filter((operator) => !removed.has(operator));
  const vector = buffer.follow(buffer.field(graph, GRAPH.operators));
  buffer.view.setUint32(vector, kept.length, true);
  kept.forEach((operator, i) => {
    const place = vector + 4 + 4 * i;
    buffer.view.setUint32(place, operator - place, true);
  });
}

let halves; // the value of each of the 65,536 float16 numbers

/** Float16 numbers, two bytes each, as float32. */
function expanded(bytes) {
  halves ??= Float32Array.from({ length: 1 << 16 }, (_, bits) => halfValue(bits));
  const bits = new Uint16Array(bytes.slice().buffer);
  return Float32Array.from(bits, (value) => halves[value]);
}

/** The value of a float16 number (IEEE 754 binary16). */
function halfValue(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits >> 15 ? -1 : 1;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

/** Reads a FlatBuffer, and changes numbers in it that are there. Tables are given by where they begin. */
class FlatBuffer {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.root = this.follow(0);
  }

  /** Where an offset leads. */
  follow(place) {
    return place + this.view.getUint32(place, true);
  }

  /** Where a table's field is; 0 for one that is left at its default. */
  field(table, id) {
    const vtable = table - this.view.getInt32(table, true);
    const entry = 4 + 2 * id;
    const offset = entry < this.view.getUint16(vtable, true) ? this.view.getUint16(vtable + entry, true) : 0;
    return offset && table + offset;
  }

  int8(table, id) {
    const place = this.field(table, id);
    return place ? this.view.getInt8(place) : 0;
  }

  int32(table, id) {
    const place = this.field(table, id);
    return place ? this.view.getInt32(place, true) : 0;
  }

  /** The tables of a field that is a vector of them. */
  items(table, id) {
    const vector = this.follow(this.field(table, id));
    const length = this.view.getUint32(vector, true);
    return Array.from({ length }, (_, i) => this.follow(vector + 4 + 4 * i));
  }

  /** The numbers of a field that is a vector of int32. */
  numbers(table, id) {
    const place = this.field(table, id);
    if (!place) return [];
    const vector = this.follow(place);
    const length = this.view.getUint32(vector, true);
    return Array.from({ length }, (_, i) => this.view.getInt32(vector + 4 + 4 * i, true));
  }

  /** Write other numbers into such a vector; one that is not there stays so. */
  setNumbers(table, id, numbers) {
    const place = this.field(table, id);
    if (!place) return;
    const vector = this.follow(place);
    if (this.view.getUint32(vector, true) !== numbers.length) throw new Error("the network has another shape");
    numbers.forEach((number, i) => this.view.setInt32(vector + 4 + 4 * i, number, true));
  }

  /** The bytes of a vector that an offset leads to. */
  bytesAt(place) {
    const vector = this.follow(place);
    return this.bytes.subarray(vector + 4, vector + 4 + this.view.getUint32(vector, true));
  }
}
