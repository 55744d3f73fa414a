// Boxes and labels over an image, as mask_detection/inference/drawing.py draws them.

import { area, sharedArea } from "./decoding.js";
import { roundHalfEven } from "./preprocessing.js";

const FONT = '"DejaVu Sans", Verdana, sans-serif';

/**
 * Draw an image and its faces; the outline of an uncertain face is grey. A label that would hide another face shrinks
 * to the percentage: its colour still shows the class.
 * @param {CanvasRenderingContext2D} context of a canvas with the image's proportions
 * @param {ImageBitmap} image
 * @param {object[]} faces boxes in pixels of the image
 * @param {object} style what settings.json says of drawing
 * @param {number} shrinkage how many of the canvas's pixels are shown as one
 */
export function draw(context, image, faces, style, shrinkage = 1) {
  const { canvas } = context;
  const scale = canvas.width / image.width;
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const wanted = roundHalfEven(style.text_fraction * Math.min(canvas.width, canvas.height));
  const textHeight = Math.max(wanted, Math.ceil(style.min_text_pixels * shrinkage));
  const boxes = faces.map(({ box }) => box.map((place) => place * scale));
  // The most confident face comes first and is drawn last, so that its label lies on top.
  for (let i = faces.length - 1; i >= 0; i--) {
    const others = boxes.filter((_, other) => other !== i);
    const look = style.classes[faces[i].label];
    const lineWidth = Math.max(style.min_line_pixels, Math.floor(textHeight / style.text_per_line));
    Object.assign(context, { lineWidth, strokeStyle: faces[i].isUncertain ? style.uncertain : look.color });
    drawOutline(context, boxes[i], look.is_dashed && style.dash * lineWidth);
    drawLabel(context, faces[i], boxes[i], others, textHeight, style);
  }
}

/** A rectangle; of dashes that begin so often, with one on each corner, so that colour is not all that tells a class. */
function drawOutline(context, [x1, y1, x2, y2], dash) {
  if (!dash) {
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    return;
  }
  const corners = [[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]]; // prettier-ignore
  context.save();
  for (let i = 0; i < 4; i++) {
    const length = Math.hypot(corners[i + 1][0] - corners[i][0], corners[i + 1][1] - corners[i][1]);
    const count = Math.max(2, Math.round(length / dash));
    context.setLineDash([length / (2 * count - 1)]);
    context.beginPath();
    context.moveTo(...corners[i]);
    context.lineTo(...corners[i + 1]);
    context.stroke();
  }
  context.restore();
}

function drawLabel(context, face, box, others, textHeight, style) {
  const look = style.classes[face.label];
  const percentage = `${roundHalfEven(100 * face.probability)}%`;
  const pad = Math.max(style.min_line_pixels, Math.floor(textHeight / style.text_per_pad));
  Object.assign(context, { font: `${textHeight}px ${FONT}`, textBaseline: "middle" });
  let text;
  let place;
  for (text of [`${look.shown}: ${percentage}`, percentage]) {
    place = placeLabel(context.measureText(text).width + 2 * pad, textHeight + 2 * pad, box, context.canvas);
    if (!others.some((other) => sharedArea(place, other) > style.max_hidden * area(other))) break;
  }
  const [left, top, right, bottom] = place;
  context.fillStyle = look.color;
  context.fillRect(left, top, right - left, bottom - top);
  context.fillStyle = look.ink;
  context.fillText(text, left + pad, (top + bottom) / 2, right - left - pad);
}

/** Above the box; below it or inside where there is no room, and always within the image: [x1, y1, x2, y2]. */
function placeLabel(width, height, [x1, y1, , y2], canvas) {
  const wanted = y1 >= height ? y1 - height : y2 + height <= canvas.height ? y2 : y1;
  const top = Math.max(0, Math.min(wanted, canvas.height - height));
  const left = Math.max(0, Math.min(x1, canvas.width - width));
  return [left, top, left + width, top + height];
}
