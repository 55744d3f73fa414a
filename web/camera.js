// The device's camera, as frames; what can be wrong with it, in one plain sentence each.

const SIZE = { width: { ideal: 1280 }, height: { ideal: 720 } }; // pixels; faces are cropped from it
const FAULTS = {
  NotAllowedError: "The camera is denied to this page: allow it in the browser's settings for this site.",
  NotFoundError: "No camera was found: connect one, or choose a photo.",
  OverconstrainedError: "No camera was found: connect one, or choose a photo.",
  NotReadableError: "The camera is in use by another program: close that one, and start again.",
};

/** Gives the frames of the camera. */
export class Camera {
  #stream;
  #hasGone = false;
  #wake = () => {}; // ends the wait for the next frame

  /** @param {HTMLVideoElement} video plays the camera; nobody needs to see it */
  constructor(video) {
    this.video = video;
  }

  get isOn() {
    return Boolean(this.#stream?.active);
  }

  /**
   * Start it, or another one in its place.
   * @param {"user" | "environment"} facing the front or the back camera; one that has only one gives that
   * @throws {Error} with a sentence for the user
   */
  async start(facing) {
    this.stop();
    if (!navigator.mediaDevices) {
      throw new Error("The camera needs an https address, or localhost: open the page there. Photos work here, too.");
    }
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: facing, ...SIZE } });
    } catch (error) {
      throw new Error(FAULTS[error.name] ?? `The camera cannot be opened (${error.message}): try another one.`);
    }
    this.#hasGone = false;
    this.#stream.getVideoTracks()[0].addEventListener("ended", () => {
      this.#hasGone = true;
      this.stop();
    });
    this.video.srcObject = this.#stream;
    await this.video.play();
  }

  stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = undefined;
    this.video.srcObject = null;
    this.#wake();
  }

  /**
   * Its frames until it is stopped, each when it is asked for: those that come meanwhile are dropped.
   * @returns {AsyncGenerator<{bitmap: ImageBitmap, time: number}>} time in seconds
   * @throws {Error} where it was unplugged, or taken away
   */
  async *frames() {
    const stream = this.#stream;
    while (stream && stream === this.#stream) {
      await this.#next();
      if (stream !== this.#stream) break;
      yield { bitmap: await createImageBitmap(this.video), time: performance.now() / 1000 };
    }
    if (this.#hasGone) throw new Error("The camera has stopped: connect it, and start again.");
  }

  #next() {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(resolve);
      else requestAnimationFrame(resolve);
    });
  }
}
