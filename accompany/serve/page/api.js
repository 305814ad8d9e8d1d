// The HTTP API as functions; every failure is an Error whose message is the server's own sentence.

import { t } from "/texts.js";

async function sentence(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return t("answered", { status: answer.status });
  }
}

async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body ? JSON.stringify(body) : undefined,
    });
  } catch {
    throw new Error(t("unreachable"));
  }
  if (!answer.ok) throw Object.assign(new Error(await sentence(answer)), { status: answer.status });
  return answer.status === 204 ? null : answer.json();
}

export const about = () => ask("GET", "/api/about");
export const vocals = () => ask("GET", "/api/vocals");
export const vocal = (id) => ask("GET", `/api/vocals/${id}`);
export const forget = (id) => ask("DELETE", `/api/vocals/${id}`);
export const make = (id, wish) => ask("POST", `/api/vocals/${id}/takes`, wish);
export const retake = (id, wish) => ask("POST", `/api/takes/${id}/retake`, wish);
export const drop = (id) => ask("DELETE", `/api/takes/${id}`);
export const job = (id) => ask("GET", `/api/jobs/${id}`);
export const cancel = (id) => ask("DELETE", `/api/jobs/${id}`);

export const voiceUrl = (id, format) => `/api/vocals/${id}/sound?format=${format}`;
export const bandUrl = (id, format) => `/api/takes/${id}/accompaniment?format=${format}`;
export const midiUrl = (id) => `/api/takes/${id}/midi`;
export const projectUrl = (id) => `/api/vocals/${id}/project`;
export const stemUrl = (id, stem, format) => `/api/takes/${id}/stems/${stem}?format=${format}`;
export const mixUrl = (id, format, levels, stems) =>
  `/api/takes/${id}/mix?format=${format}&vocal_db=${levels.voice}&band_db=${levels.band}` +
  stems.map((stem) => `&${stem}_db=${levels.stems[stem]}`).join("");

export async function sound(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(await sentence(answer));
  return answer.arrayBuffer();
}

// fetch reports nothing of an upload under way, so this is the one request made the older way.
export function upload(blob, name, isSong, onShare) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/vocals?name=${encodeURIComponent(name.slice(-200))}${isSong ? "&separate=true" : ""}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && onShare(event.loaded / event.total);
    request.onload = () =>
      request.status === 201
        ? resolve(request.response)
        : reject(new Error(request.response?.error ?? t("answered", { status: request.status })));
    request.onerror = () => reject(new Error(t("broke_off")));
    request.send(blob);
  });
}
