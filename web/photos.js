// Photos as files: whether this browser can read one, and its pixels as they are stored, turned as its EXIF data say.

import { Photo } from "./preprocessing.js";

const MAX_PIXELS = 64e6; // of a photo: decoded, it takes 4 bytes a pixel, several times over, and a tab has 1 or 2 GB
const STRIP_ROWS = 1024; // that are read at once: some phones' canvases have no more than 16 megapixels
const AS_STORED = { imageOrientation: "from-image", premultiplyAlpha: "none", colorSpaceConversion: "none" };

/**
 * Refuse what is no photo, or too large a one, before it is decoded. For the page: workers have no Image.
 * @param {File} file
 */
export async function check(file) {
  const address = URL.createObjectURL(file);
  try {
    const { naturalWidth, naturalHeight } = await header(address);
    const nPixels = naturalWidth * naturalHeight;
    if (nPixels > MAX_PIXELS) {
      const [has, may] = [nPixels, MAX_PIXELS].map((n) => Math.round(n / 1e6));
      throw new Error(`${file.name} has ${has} megapixels, and ${may} are the most; scale it down.`);
    }
  } finally {
    URL.revokeObjectURL(address);
  }

  async function header(address) {
    const image = new Image();
    const loaded = new Promise((resolve, reject) => Object.assign(image, { onload: resolve, onerror: reject }));
    image.src = address;
    await loaded.catch(() => {
      throw new Error(`${file.name} is no image that this browser can read; save it as JPEG or PNG.`);
    });
    return image;
  }
}

/**
 * Decode a photo. For the worker.
 * @param {File} file
 * @returns {Promise<{bitmap: ImageBitmap, photo: Photo}>} to be shown, and its pixels
 */
export async function decode(file) {
  const bitmap = await createImageBitmap(file, AS_STORED).catch(() => {
    throw new Error(`${file.name} is damaged, or no image that this browser can read; save it as JPEG or PNG.`);
  });
  const opaque = throughCanvas(bitmap);
  const data = isOpaque(opaque) ? opaque : (throughWebGl(bitmap) ?? opaque);
  return { bitmap, photo: new Photo(data, bitmap.width, bitmap.height) };
}

function throughCanvas(bitmap) {
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, Math.min(height, STRIP_ROWS));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const data = new Uint8ClampedArray(4 * width * height);
  for (let top = 0; top < height; top += STRIP_ROWS) {
    const rows = Math.min(STRIP_ROWS, height - top);
    context.clearRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -top);
    data.set(context.getImageData(0, 0, width, rows).data, 4 * width * top);
  }
  return data;
}

function isOpaque(data) {
  for (let i = 3; i < data.length; i += 4) {
    if (data[i] !== 255) return false;
  }
  return true;
}

/**
 * The pixels of a photo with transparent ones, whose colours a canvas forgets; the command line drops transparency and
 * looks at the colours below. Undefined where there is no WebGL, or the photo is too large for it.
 */
function throughWebGl(bitmap) {
  const { width, height } = bitmap;
  const gl = new OffscreenCanvas(1, 1).getContext("webgl");
  if (!gl || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return undefined;
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  const data = new Uint8Array(4 * width * height);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, data);
  gl.getExtension("WEBGL_lose_context")?.loseContext(); // a browser keeps few of them
  return data;
}
