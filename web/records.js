// What is known of an image, as the lines of JSON that the command line writes: the same text for the same numbers.

/**
 * @param {{name: string, width: number, height: number, faces: object[], classNames: string[]}} image
 * @returns {string} one line
 */
export function jsonLine({ name, width, height, faces, classNames }) {
  const records = faces.map((face) => faceRecord(face, classNames)).join(", ");
  return `{"image": ${text(name)}, "width": ${width}, "height": ${height}, "faces": [${records}]}\n`;
}

function faceRecord(face, classNames) {
  const probabilities = classNames.map((name, i) => `${text(name)}: ${decimal(face.probabilities[i])}`);
  const fields = [
    `"box": [${face.box.join(", ")}]`,
    `"label": ${text(face.label)}`,
    `"probability": ${decimal(face.probability)}`,
    `"face_confidence": ${decimal(face.confidence)}`,
    ...(face.isUncertain ? ['"uncertain": true'] : []),
    ...(face.track === undefined ? [] : [`"track": ${face.track}`]),
    `"probabilities": {${probabilities.join(", ")}}`,
  ];
  return `{${fields.join(", ")}}`;
}

/** A number with four decimals at most and one at least, as Python prints it. */
function decimal(number) {
  const digits = String(Number(number.toFixed(4)));
  return digits.includes(".") ? digits : `${digits}.0`;
}

/** A string in JSON of nothing but ASCII. */
function text(string) {
  const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(string).replace(/[\u007f-\uffff]/g, escaped);
}
