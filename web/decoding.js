// From the numbers that networks give to faces: what mask_detection/models/fcos.py, models/face_detector.py and
// inference/joining.py do. NumPy computes in float32 there, and so does `Math.fround` here.
//
// Boxes are [x1, y1, x2, y2] in pixels of the image, x2 and y2 exclusive.

import { roundHalfEven } from "./preprocessing.js";

const { fround } = Math;

/** @param {number[]} box */
export function area([x1, y1, x2, y2]) {
  return Math.max(x2 - x1, 0) * Math.max(y2 - y1, 0);
}

/** The area that two boxes share. */
export function sharedArea(a, b) {
  return area([Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
}

/** Intersection over union of two boxes; 0 where both are empty. */
export function iou(a, b) {
  const shared = sharedArea(a, b);
  const union = area(a) + area(b) - shared;
  return union > 0 ? shared / union : 0;
}

/** How many cells the detector's network has for an input of a size, of all its levels. */
export function cellCount(width, height, strides) {
  return strides.reduce((sum, stride) => sum + (width / stride) * (height / stride), 0);
}

/**
 * What the detector's network proposes in one of its passes, before anything else is dropped.
 * @param {Float32Array} outputs a row a cell: face logit, log of the distances to four sides in strides, a logit a
 *     class
 * @param {{width: number, height: number, scale: number}} input of the network
 * @param {{min_face: number, max_face: number | null}} pass faces to keep, from and below so many pixels of the input
 * @param {number} nClasses
 * @param {number} confidence proposals below it are dropped
 * @param {{strides: number[], first_class_column: number, max_log_distance: number}} settings
 * @returns {{box: number[], confidence: number, probabilities: number[]}[]} boxes perhaps outside the image
 */
export function proposals(outputs, input, pass, nClasses, confidence, settings) {
  const found = [];
  const length = settings.first_class_column + nClasses;
  let row = 0;
  for (const stride of settings.strides) {
    for (let y = stride / 2; y < input.height; y += stride) {
      for (let x = stride / 2; x < input.width; x += stride, row += length) {
        const score = sigmoid(outputs[row]);
        if (!(score >= confidence)) continue;
        const box = cellBox(x, y, stride, outputs.subarray(row + 1), settings.max_log_distance);
        const side = Math.sqrt(area(box));
        if (side < pass.min_face || side >= (pass.max_face ?? Infinity)) continue;
        const logits = outputs.subarray(row + settings.first_class_column, row + length);
        const place = box.map((edge) => fround(edge / fround(input.scale)));
        found.push({ box: place, confidence: score, probabilities: softmax(logits) });
      }
    }
  }
  return found;
}

/** The box that a cell at (x, y) proposes, in pixels of the input. */
function cellBox(x, y, stride, logDistances, maxLogDistance) {
  const [left, top, right, bottom] = Array.from(logDistances.subarray(0, 4), (logDistance) =>
    fround(fround(Math.exp(Math.min(logDistance, maxLogDistance))) * stride),
  );
  return [x - left, y - top, x + right, y + bottom].map(fround);
}

function sigmoid(logit) {
  return fround(1 / fround(1 + fround(Math.exp(-logit))));
}

function softmax(logits) {
  const most = Math.max(...logits);
  const powers = Array.from(logits, (logit) => fround(Math.exp(fround(logit - most))));
  const sum = powers.reduce((total, power) => fround(total + power), 0);
  return powers.map((power) => fround(power / sum));
}

/**
 * Drop what lies outside the image, or was found twice, or is a part of a face; clip the rest to the image.
 * @param {ReturnType<typeof proposals>} found
 * @param {{width: number, height: number}} image
 * @param {{min_fraction_inside: number, nms_iou: number, max_fraction_within: number}} settings
 * @returns the same kind of list, the most confident first
 */
export function keepFaces(found, image, settings) {
  const limits = [image.width, image.height, image.width, image.height];
  const inside = found
    .filter(({ box }) => box.every(Number.isFinite))
    .map((face) => {
      const box = face.box.map((place, i) => Math.min(Math.max(roundHalfEven(place), 0), limits[i]) + 0); // no -0
      return { ...face, box, outer: area(face.box) };
    })
    .filter(({ box, outer }) => area(box) > settings.min_fraction_inside * outer)
    .sort((a, b) => b.confidence - a.confidence); // stable, as OpenCV's is
  const chosen = [];
  for (const { outer, ...face } of inside) {
    if (chosen.every((other) => overlap(other.box, face.box) <= fround(settings.nms_iou))) chosen.push(face);
  }
  return chosen.filter(({ box }, i) =>
    chosen.slice(0, i).every((other) => sharedArea(box, other.box) <= settings.max_fraction_within * area(box)),
  );
}

/** Intersection over union in the precision of OpenCV's NMSBoxes. */
function overlap(a, b) {
  return fround(1 - fround(1 - iou(a, b)));
}

/**
 * Make masks worn wrong less probable on small faces.
 * @param {ArrayLike<number>} ofClassifier
 * @param {number[]} box
 * @param {{columns: number[], nose_seen_from: number}} rule the columns concerned, and from which size on in pixels the
 *     probabilities stay as they are
 */
export function weighWornWrong(ofClassifier, box, rule) {
  const size = Math.sqrt(area(box));
  const weighed = Array.from(ofClassifier);
  if (!rule.columns.length || size >= rule.nose_seen_from) return weighed;
  const weight = fround(size / rule.nose_seen_from);
  for (const column of rule.columns) weighed[column] = fround(weighed[column] * weight);
  const sum = weighed.reduce((total, probability) => fround(total + probability), 0);
  return weighed.map((probability) => fround(probability / sum));
}

/**
 * Join the probabilities of the classifier and of the detector for one face.
 * @param {ArrayLike<number>} ofClassifier
 * @param {number[]} ofDetector
 * @param {{shared: number[], order: number[], alone: number[]} | null} rule which of the classifier's columns the
 *     detector knows, in which of its own columns, and which it doesn't; null where the classifier decides alone
 */
export function join(ofClassifier, ofDetector, rule) {
  const joined = Array.from(ofClassifier);
  if (!rule) return joined;
  const rest = fround(1 - rule.alone.reduce((sum, column) => fround(sum + ofClassifier[column]), 0));
  rule.shared.forEach((column, i) => {
    joined[column] = fround(fround(ofClassifier[column] + fround(rest * ofDetector[rule.order[i]])) / 2);
  });
  return joined;
}
