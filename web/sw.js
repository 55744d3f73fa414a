// Keeps the whole page for use offline. What there is to keep, with its hashes, stands in files.js, which is written
// with the site: when that changes, browsers install this worker anew.

importScripts("files.js");

const NAME = `face-masks ${self.registration.scope}`; // other pages of this host have caches of their own
const CACHE = `${NAME} ${self.SITE.version}`;

self.addEventListener("install", (event) => event.waitUntil(fill()));
self.addEventListener("activate", (event) => event.waitUntil(removeOthers().then(() => self.clients.claim())));
self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});

/** Fetch all files, whole and of this version, or none. */
async function fill() {
  const cache = await caches.open(CACHE);
  const files = Object.entries(self.SITE.files);
  await cache.addAll(files.map(([name, integrity]) => new Request(name, { integrity, cache: "no-cache" })));
}

async function removeOthers() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(`${NAME} `) && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
}

async function answer(request) {
  const isPage = request.url.split(/[?#]/)[0] === self.registration.scope;
  const cache = await caches.open(CACHE);
  return (await cache.match(isPage ? "index.html" : request)) ?? fetch(request);
}
