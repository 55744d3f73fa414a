// The thread that computes, one job at a time. It is a classic worker, as LiteRT.js loads its WebAssembly with
// importScripts, and so fetches the modules with import().

const base = new URL("./", self.location.href);
const modules = Promise.all(["./engine.js", "./photos.js", "./preprocessing.js"].map((name) => import(name)));
let engine;
const loaded = load();
let queue = Promise.resolve(); // the jobs before the next one

async function load() {
  const [{ Engine }] = await modules;
  const settings = await (await fetch(new URL("settings.json", base))).json();
  engine = await Engine.load(settings, base);
}

const jobs = {
  /** Wait until all is loaded. */
  async load() {
    return [{ heapBytes: engine.heapBytes }];
  },

  /** Find faces in an image file; the decoded image comes back with them. */
  async photo({ file, isTwoStage }) {
    const [, { decode }] = await modules;
    const { bitmap, photo } = await decode(file);
    const { width, height } = photo;
    const { faces, times } = await engine.detect(photo, isTwoStage);
    return [{ bitmap, width, height, ...described(faces, isTwoStage), times, heapBytes: engine.heapBytes }, [bitmap]];
  },

  /** Find and track faces in the next frame of a video, an ImageBitmap, which comes back with them. */
  async frame({ bitmap, time, isTwoStage }) {
    const [, , { Frame }] = await modules;
    const { faces, times } = await engine.track(new Frame(bitmap), time, isTwoStage);
    return [{ bitmap, ...described(faces, isTwoStage), times, heapBytes: engine.heapBytes }, [bitmap]];
  },

  /** Another video begins. */
  async restart() {
    engine.restart();
    return [{}];
  },
};

function described(faces, isTwoStage) {
  return { faces, classNames: engine.classNames(isTwoStage) };
}

self.onmessage = ({ data: { id, job, ...details } }) => {
  queue = queue.then(async () => {
    try {
      await loaded;
      const [result, transferred = []] = await jobs[job](details);
      self.postMessage({ id, result }, transferred);
    } catch (error) {
      self.postMessage({ id, fault: error?.message ?? String(error) });
    }
  });
};
