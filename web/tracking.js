// Faces tracked through a video, so that each has a number of its own and a label that doesn't flicker; a face is
// classified when its track needs it, not in every frame. The rule is that of mask_detection/inference/tracking.py.

import { iou } from "./decoding.js";

/** Tracks the faces of one video. It has to see the frames in order. */
export class Tracker {
  #tracks = [];
  #started = 0;

  /** @param {object} settings what settings.json says of tracking */
  constructor(settings) {
    this.settings = settings;
  }

  /**
   * Give each face the number and the averaged probabilities of its track.
   * @param {{box: number[], probabilities: number[]}[]} found the faces of the next frame, with the detector's own
   *     class scores
   * @param {number} time of that frame, in seconds
   * @param {(face: object) => Promise<number[]>} [classify] gives a face's probabilities; without it, those found count
   * @returns the same faces in the same order, each with its `track`
   */
  async update(found, time, classify) {
    const tracks = this.#matched(found, time);
    for (const [i, face] of found.entries()) {
      if (!classify) tracks[i].learn(face, face.probabilities, time);
      else if (tracks[i].isDue(face, time)) tracks[i].learn(face, await classify(face), time);
    }
    return found.map((face, i) => {
      tracks[i].see(face, time);
      return { ...face, probabilities: tracks[i].probabilities, track: tracks[i].number };
    });
  }

  /** The track of each face, a new one where none is near: pairs taken greedily, the largest overlap first. */
  #matched(found, time) {
    this.#tracks = this.#tracks.filter((track) => time - track.seen <= this.settings.max_gap_s);
    const pairs = found
      .flatMap(({ box }, i) => this.#tracks.map((track) => ({ i, track, overlap: iou(box, track.box) })))
      .filter(({ overlap }) => overlap >= this.settings.min_iou)
      .sort((a, b) => b.overlap - a.overlap);
    const matches = new Map();
    const taken = new Set();
    for (const { i, track } of pairs) {
      if (matches.has(i) || taken.has(track)) continue;
      matches.set(i, track);
      taken.add(track);
    }
    return found.map((_, i) => matches.get(i) ?? this.#startTrack());
  }

  #startTrack() {
    this.#tracks.push(new Track(++this.#started, this.settings));
    return this.#tracks.at(-1);
  }
}

/** One face: where it was last, and how it was classified. */
class Track {
  #predictions = 0;
  #frames = 0; // seen since the last prediction
  #classified = { time: -Infinity }; // what the last prediction was made of
  #weight = 0;
  #weightedSum = [];

  constructor(number, settings) {
    Object.assign(this, { number, settings, box: [0, 0, 0, 0], seen: -Infinity });
  }

  /** The mean of the predictions; recent ones weigh more, and so do confident ones. */
  get probabilities() {
    return this.#weightedSum.map((sum) => sum / this.#weight);
  }

  /** Whether to classify the face now, at its box and with the detector's own class scores. */
  isDue({ box, probabilities: scores }, time) {
    const { settings } = this;
    const last = this.#classified;
    return (
      this.#predictions < settings.min_predictions ||
      this.#frames >= settings.classify_every ||
      time - last.time > settings.classify_within_s - settings.time_step_s ||
      Math.max(...this.probabilities) < settings.certain_from ||
      iou(box, last.box) < settings.same_view_iou ||
      scores.some((score, i) => Math.abs(score - last.scores[i]) > settings.same_scores)
    );
  }

  /** Take in where the face is, whether it was classified there or not. */
  see({ box }, time) {
    Object.assign(this, { box, seen: time });
    this.#frames += 1;
  }

  /** Take in a prediction of a face. */
  learn({ box, probabilities: scores }, prediction, time) {
    const { settings } = this;
    const decay = Math.max(Math.exp((this.#classified.time - time) / settings.memory_s), settings.min_decay);
    const mean = prediction.reduce((sum, probability) => sum + probability, 0) / prediction.length;
    const weight = Math.max(...prediction) - mean + settings.min_weight;
    this.#weightedSum = prediction.map((value, i) => decay * (this.#weightedSum[i] ?? 0) + weight * value);
    this.#weight = decay * this.#weight + weight;
    this.#predictions += 1;
    this.#frames = 0;
    this.#classified = { time, box, scores };
  }
}
