// From an image to the numbers that a network sees, as mask_detection/models/preprocessing.py does it.
//
// Photos are scaled exactly as OpenCV's resize does, to the last bit: with `Math.fround`, as it computes in float32.
// Frames of a video are scaled by the browser's canvas, which is faster and near enough.
//
// Boxes are [x1, y1, x2, y2] in pixels, x2 and y2 exclusive. Pixels are RGBA bytes, row by row.

const WEIGHT_BITS = 2048; // fixed-point weights of OpenCV's linear interpolation: INTER_RESIZE_COEF_SCALE
const SMALLEST_WEIGHT = 1e-3; // of a pixel in a mean; OpenCV leaves smaller ones out
const { fround } = Math;

/** Round to the nearest whole number, halves to the even one, as Python, NumPy and OpenCV do. */
export function roundHalfEven(x) {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 ? floor + 1 : floor;
}

// What a network's input is made of pixel values 0..255, by the name that its record gives it.
const PREPROCESSING = {
  mobilenet_v2: Float32Array.from({ length: 256 }, (_, value) => fround(fround(value / 127.5) - 1)),
};

/** A photo's pixels. */
export class Photo {
  constructor(data, width, height) {
    Object.assign(this, { data, width, height });
  }

  /** Part of it, scaled to a size: RGBA bytes. */
  scaled(box, width, height) {
    return scaled(this.#crop(box), width, height).data;
  }

  #crop([x1, y1, x2, y2]) {
    const [width, height] = [x2 - x1, y2 - y1];
    if (width === this.width && height === this.height) return this;
    const data = new Uint8ClampedArray(4 * width * height);
    for (let y = 0; y < height; y++) {
      const start = 4 * ((y1 + y) * this.width + x1);
      data.set(this.data.subarray(start, start + 4 * width), 4 * y * width);
    }
    return { data, width, height };
  }
}

/** A frame of a video, an ImageBitmap. */
export class Frame {
  static #context; // one canvas for all

  constructor(bitmap) {
    Object.assign(this, { bitmap, width: bitmap.width, height: bitmap.height });
  }

  /** Part of it, scaled to a size: RGBA bytes. */
  scaled([x1, y1, x2, y2], width, height) {
    Frame.#context ??= new OffscreenCanvas(1, 1).getContext("2d", { alpha: false, willReadFrequently: true });
    const { canvas } = Frame.#context;
    if (canvas.width < width || canvas.height < height) {
      Object.assign(canvas, { width: Math.max(width, canvas.width), height: Math.max(height, canvas.height) });
    }
    Frame.#context.imageSmoothingQuality = "medium"; // which takes the mean of what it shrinks
    Frame.#context.drawImage(this.bitmap, x1, y1, x2 - x1, y2 - y1, 0, 0, width, height);
    return Frame.#context.getImageData(0, 0, width, height).data;
  }
}

/**
 * Scale a whole image for the face detector, and fill it up with grey to the right and below.
 * @param {Photo | Frame} image
 * @param {number} longSide what its longer side is scaled to, in pixels
 * @param {number} multiple of what height and width of the input are whole multiples, in pixels
 * @param {string} preprocessing its name
 * @returns {{data: Float32Array, width: number, height: number, scale: number}} (height, width, 3) RGB, and the factor
 *     by which the image was scaled
 */
export function detectorInput(image, longSide, multiple, preprocessing) {
  const scale = longSide / Math.max(image.width, image.height);
  const [width, height] = [image.width, image.height].map((side) => Math.max(1, roundHalfEven(side * scale)));
  const [paddedWidth, paddedHeight] = [width, height].map((side) => Math.ceil(side / multiple) * multiple);
  const pixels = image.scaled([0, 0, image.width, image.height], width, height);
  const data = new Float32Array(3 * paddedWidth * paddedHeight); // 0 is grey
  normalise(pixels, width, data, paddedWidth, preprocessing);
  return { data, width: paddedWidth, height: paddedHeight, scale };
}

/** A face as the classifier sees it: (size, size, 3) RGB as a Float32Array, of the square that `cropSquare` gives. */
export function classifierInput(image, square, size, preprocessing) {
  const data = new Float32Array(3 * size * size);
  normalise(image.scaled(square, size, size), size, data, size, preprocessing);
  return data;
}

/** What of an image the classifier sees of a face: the square around its box with a margin, cut off at the edges. */
export function cropSquare([x1, y1, x2, y2], image, margin) {
  const halfSide = Math.max(x2 - x1, y2 - y1) * (0.5 + margin);
  const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const square = [x - halfSide, y - halfSide, x + halfSide, y + halfSide].map(roundHalfEven);
  const limits = [image.width, image.height, image.width, image.height];
  return square.map((place, i) => Math.min(Math.max(place, 0), limits[i]));
}

/** Write RGBA pixels into the upper left of a wider RGB input, as what the network was trained on. */
function normalise(pixels, width, input, inputWidth, preprocessing) {
  const value = PREPROCESSING[preprocessing];
  const step = 3 * (inputWidth - width);
  for (let from = 0, to = 0, x = 0; from < pixels.length; from += 4) {
    input[to++] = value[pixels[from]];
    input[to++] = value[pixels[from + 1]];
    input[to++] = value[pixels[from + 2]];
    if (++x === width) {
      x = 0;
      to += step;
    }
  }
}

/** Whether a network's preprocessing is one that this file knows. */
export function isKnownPreprocessing(name) {
  return Object.hasOwn(PREPROCESSING, name);
}

/**
 * Scale an image, shrinking by the mean of areas.
 * @param {{data: Uint8ClampedArray, width: number, height: number}} image RGBA; the fourth channel is not looked at
 * @returns the same kind of image
 */
export function scaled(image, width, height) {
  while (image.width >= 2 * width && image.height >= 2 * height) image = halved(image);
  if (image.width === width && image.height === height) return image;
  return image.width > width && image.height > height ? shrunk(image, width, height) : interpolated(image, width, height);
}

/** Half the size: means of 2 x 2 pixels, and at an odd edge of what there is. */
function halved({ data, width, height }) {
  const [newWidth, newHeight] = [roundHalfEven(width / 2), roundHalfEven(height / 2)];
  const result = new Uint8ClampedArray(4 * newWidth * newHeight);
  for (let y = 0, to = 0; y < newHeight; y++) {
    const isWhole = 2 * y + 1 < height;
    const below = isWhole ? 4 * width : 0;
    for (let x = 0; x < newWidth; x++, to += 4) {
      const from = 4 * (2 * y * width + 2 * x);
      const right = 2 * x + 1 < width ? 4 : 0;
      for (let c = 0; c < 3; c++) {
        const at = from + c;
        const sum = data[at] + data[at + right] + data[at + below] + data[at + below + right];
        result[to + c] = right && isWhole ? (sum + 2) >> 2 : roundHalfEven(sum / 4);
      }
    }
  }
  return { data: result, width: newWidth, height: newHeight };
}

/** OpenCV's INTER_AREA: each pixel is the mean of the area that it covers. */
function shrunk({ data, width, height }, newWidth, newHeight) {
  const columns = areaWeights(width, newWidth);
  const result = new Uint8ClampedArray(4 * newWidth * newHeight);
  const row = new Float32Array(3 * newWidth);
  const sums = new Float32Array(3 * newWidth);
  areaWeights(height, newHeight).forEach((cells, y) => {
    sums.fill(0);
    for (const { source, weight } of cells) {
      meansOfRow(data, 4 * source * width, columns, row);
      for (let i = 0; i < row.length; i++) sums[i] += fround(weight * row[i]);
    }
    for (let x = 0, from = 0, to = 4 * y * newWidth; x < newWidth; x++, to += 4) {
      for (let c = 0; c < 3; c++) result[to + c] = roundHalfEven(sums[from++]);
    }
  });
  return { data: result, width: newWidth, height: newHeight };
}

function meansOfRow(data, start, columns, row) {
  row.fill(0);
  columns.forEach((cells, x) => {
    for (const { source, weight } of cells) {
      const from = start + 4 * source;
      for (let c = 0; c < 3; c++) row[3 * x + c] += fround(data[from + c] * weight);
    }
  });
}

/** For each place of the result, the places that its mean is taken of, with their weights. */
function areaWeights(size, newSize) {
  const scale = 1 / (newSize / size);
  return Array.from({ length: newSize }, (_, place) => {
    const [begin, end] = [place * scale, place * scale + scale];
    const width = Math.min(scale, size - begin);
    const last = Math.min(Math.floor(end), size - 1);
    const first = Math.min(Math.ceil(begin), last);
    const cells = [];
    const add = (source, part) => cells.push({ source, weight: fround(part / width) });
    if (first - begin > SMALLEST_WEIGHT) add(first - 1, first - begin);
    for (let source = first; source < last; source++) add(source, 1);
    if (end - last > SMALLEST_WEIGHT) add(last, Math.min(end - last, 1, width));
    return cells;
  });
}

/** OpenCV's INTER_LINEAR for bytes, which computes in whole numbers. */
function interpolated({ data, width, height }, newWidth, newHeight) {
  const columns = linearWeights(width, newWidth, false);
  const result = new Uint8ClampedArray(4 * newWidth * newHeight);
  linearWeights(height, newHeight, true).forEach(([top, bottom, ofTop, ofBottom], y) => {
    const [above, below] = [4 * top * width, 4 * bottom * width];
    columns.forEach(([left, right, ofLeft, ofRight], x) => {
      const to = 4 * (y * newWidth + x);
      for (let c = 0; c < 3; c++) {
        const [l, r] = [4 * left + c, 4 * right + c];
        const upper = (data[above + l] * ofLeft + data[above + r] * ofRight) >> 4;
        const lower = (data[below + l] * ofLeft + data[below + r] * ofRight) >> 4;
        result[to + c] = (((ofTop * upper) >> 16) + ((ofBottom * lower) >> 16) + 2) >> 2;
      }
    });
  });
  return { data: result, width: newWidth, height: newHeight };
}

/**
 * For each place of the result, its two neighbours and their weights in fixed-point numbers. At the edges OpenCV gives
 * columns one weight and rows two, which are rounded apart.
 */
function linearWeights(size, newSize, isOfRows) {
  const scale = 1 / (newSize / size);
  return Array.from({ length: newSize }, (_, place) => {
    const exact = fround((place + 0.5) * scale - 0.5);
    const floor = Math.floor(exact);
    const rest = isOfRows || (floor >= 0 && floor < size - 1) ? fround(exact - floor) : 0;
    const neighbours = [floor, floor + 1].map((neighbour) => Math.min(Math.max(neighbour, 0), size - 1));
    return [...neighbours, ...[fround(1 - rest), rest].map((part) => roundHalfEven(part * WEIGHT_BITS))];
  });
}
