// Both networks, run by LiteRT.js: an image goes in, faces come out. The page's worker is its only user.

import { cellCount, join, keepFaces, proposals, weighWornWrong } from "./decoding.js";
import { classifierInput, cropSquare, detectorInput, isKnownPreprocessing } from "./preprocessing.js";
import { parseModel, withExpandedWeights, withShapes } from "./tflite.js";
import { Tracker } from "./tracking.js";

const MAX_SHAPES = 4; // of inputs that are kept ready, as compiling takes longer than running: photos of two shapes
const N_CHANNELS = 3;

/** Finds and classifies faces. */
export class Engine {
  #liteRt;
  #detector;
  #classifier;
  #settings;
  #tracker;

  /**
   * Load LiteRT.js and both networks.
   * @param {object} settings what settings.json holds
   * @param {URL} base where the site lies
   */
  static async load(settings, base) {
    const { models, liteRt } = settings;
    const files = [models.detector, models.classifier].map((name) => fetchModel(new URL(name, base)));
    globalThis.Module = { locateFile: (name) => new URL(name, new URL(liteRt.runtime, base)).href };
    const library = await import(new URL(liteRt.library, base).href);
    const loaded = await library.loadLiteRt(new URL(liteRt.runtime, base).href);
    const engine = new Engine();
    const [detector, classifier] = await Promise.all(files);
    engine.#settings = settings;
    engine.#liteRt = loaded;
    engine.#detector = new Network(library, detector);
    engine.#classifier = new Network(library, { ...classifier, network: withExpandedWeights(classifier.network) });
    engine.restart();
    return engine;
  }

  /** The classes in the order of the faces' probabilities. */
  classNames(isTwoStage) {
    return (isTwoStage ? this.#classifier : this.#detector).record.class_names;
  }

  /** How much memory LiteRT.js has taken, in bytes. */
  get heapBytes() {
    return this.#liteRt.liteRtWasm.HEAPU8.length;
  }

  /** Forget the tracks: what comes next is another video. */
  restart() {
    this.#tracker = new Tracker(this.#settings.tracking);
  }

  /**
   * Find the faces of a photo and classify each.
   * @param {import("./preprocessing.js").Photo} photo
   * @param {boolean} isTwoStage whether the classifier has a say
   * @returns {Promise<{faces: object[], times: {detector: number, classifier: number}}>} times in milliseconds
   */
  async detect(photo, isTwoStage) {
    const stopwatch = new Stopwatch();
    const found = await stopwatch.measure("detector", () => this.#find(photo, this.#settings.detector.photo_passes));
    if (isTwoStage) {
      for (const face of found) {
        face.probabilities = await stopwatch.measure("classifier", () => this.#classify(photo, face));
      }
    }
    return { faces: this.#labelled(found, isTwoStage), times: stopwatch.times };
  }

  /** Like `detect`, for the next frame of a video, at a time in seconds; faces have a `track` besides. */
  async track(frame, time, isTwoStage) {
    const stopwatch = new Stopwatch();
    const found = await stopwatch.measure("detector", () => this.#find(frame, this.#settings.detector.video_passes));
    const classify = (face) => stopwatch.measure("classifier", () => this.#classify(frame, face));
    const faces = await this.#tracker.update(found, time, isTwoStage ? classify : undefined);
    return { faces: this.#labelled(faces, isTwoStage), times: stopwatch.times };
  }

  /** The faces of an image with the detector's own class scores, from all of its passes. */
  async #find(image, passes) {
    const found = [];
    for (const pass of passes) found.push(...(await this.#propose(image, pass)));
    return keepFaces(found, image, this.#settings.detector);
  }

  async #propose(image, pass) {
    const { detector, confidence } = this.#settings;
    const { class_names, preprocessing } = this.#detector.record;
    const input = detectorInput(image, pass.size, detector.input_multiple, preprocessing);
    const nCells = cellCount(input.width, input.height, detector.strides);
    const shapes = [
      [1, input.height, input.width, N_CHANNELS],
      [1, nCells, detector.first_class_column + class_names.length],
    ];
    const outputs = await this.#detector.run(input.data, ...shapes);
    return proposals(outputs, input, pass, class_names.length, confidence, detector);
  }

  /** The same faces with their most probable class each, and whether that is too improbable to rely on. */
  #labelled(faces, isTwoStage) {
    const names = this.classNames(isTwoStage);
    const certainFrom = Math.fround(this.#settings.certain_from);
    return faces.map((face) => {
      const probability = Math.max(...face.probabilities);
      const label = names[face.probabilities.indexOf(probability)];
      return { ...face, label, probability, isUncertain: Math.fround(probability) < certainFrom };
    });
  }

  /** The probabilities of a face's classes: the classifier's, weighed by the face's size, joined with the detector's. */
  async #classify(image, face) {
    const { class_names, input_size, preprocessing } = this.#classifier.record;
    const square = cropSquare(face.box, image, this.#settings.classifier.crop_margin);
    const input = classifierInput(image, square, input_size, preprocessing);
    const shapes = [
      [1, input_size, input_size, N_CHANNELS],
      [1, class_names.length],
    ];
    const probabilities = await this.#classifier.run(input, ...shapes);
    const weighed = weighWornWrong(probabilities, face.box, this.#settings.worn_wrong);
    return join(weighed, face.probabilities, this.#settings.join);
  }
}

async function fetchModel(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address.pathname} could not be loaded (${response.status})`);
  const model = parseModel(new Uint8Array(await response.arrayBuffer()));
  if (!isKnownPreprocessing(model.record.preprocessing)) {
    throw new Error(`${address.pathname} wants the preprocessing ${model.record.preprocessing}, which is not known`);
  }
  return model;
}

/** A network that runs at several input shapes: one compiled model each, as LiteRT.js resizes none. */
class Network {
  #library;
  #network;
  #compiled = new Map(); // by input shape, the one used last at the end

  constructor(library, { network, record }) {
    this.#library = library;
    this.#network = network;
    this.record = record;
  }

  /** Run it once: numbers in and out, their shapes given. */
  async run(data, inputShape, outputShape) {
    const model = await this.#ready(inputShape, outputShape);
    const input = new this.#library.Tensor(data, inputShape);
    try {
      const [output] = await model.run([input]);
      const numbers = output.toTypedArray();
      output.delete();
      return numbers;
    } finally {
      input.delete();
    }
  }

  async #ready(inputShape, outputShape) {
    const key = inputShape.join();
    const model = this.#compiled.get(key) ?? (await this.#compile(inputShape, outputShape));
    this.#compiled.delete(key);
    this.#compiled.set(key, model);
    return model;
  }

  async #compile(inputShape, outputShape) {
    while (this.#compiled.size >= MAX_SHAPES) {
      const [oldest] = this.#compiled.keys();
      this.#compiled.get(oldest).delete();
      this.#compiled.delete(oldest);
    }
    const network = withShapes(this.#network, inputShape, outputShape);
    return this.#library.loadAndCompile(network, { accelerator: "wasm" });
  }
}

/** Sums up what each stage takes, in milliseconds. */
class Stopwatch {
  times = { detector: 0, classifier: 0 };

  async measure(stage, work) {
    const start = performance.now();
    try {
      return await work();
    } finally {
      this.times[stage] += performance.now() - start;
    }
  }
}
