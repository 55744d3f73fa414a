// Renews counts, states, charts and alarms; the pictures move by themselves. Without this, the page reloads every 30 s.
"use strict";

const INTERVAL_MS = 2000;
const lost = document.getElementById("lost");

async function renew() {
  try {
    const answer = await fetch("/now", { cache: "no-store", signal: AbortSignal.timeout(5 * INTERVAL_MS) });
    if (answer.status === 401) {
      location.reload();
      return;
    }
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of fresh.querySelectorAll("[id]")) document.getElementById(part.id)?.replaceWith(part);
    if (!lost.hidden) {
      lost.hidden = true;
      for (const picture of document.querySelectorAll("img.picture")) picture.src = picture.src.split("?")[0] + "?" + Date.now();
    }
  } catch {
    lost.hidden = false;
  }
  setTimeout(renew, INTERVAL_MS);
}

setTimeout(renew, INTERVAL_MS);
