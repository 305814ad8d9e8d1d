// How a vocal gets in: the microphone, a file that is chosen or one that is dropped.

import { canRecord, Recorder } from "/recorder.js";
import { clock } from "/words.js";

const $ = (id) => document.getElementById(id);

let recorder = null;
let meterLevel = 0;

export function wireIntake(about, { send, say, guard }) {
  const { max_mb, max_minutes, keep_minutes } = about.limits;
  const offer = (file) =>
    file.size > max_mb * 1e6
      ? say(`${file.name} is larger than ${max_mb} MB; send a shorter recording, or FLAC or MP3 in place of WAV.`)
      : send(file, file.name, $("song").checked);
  $("file").onchange = async ({ target }) => {
    if (target.files[0]) await offer(target.files[0]);
    target.value = "";
  };
  for (const kind of ["dragover", "dragleave", "drop"])
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files[0]) offer(event.dataTransfer.files[0]);
    });
  $("record").onclick = () => guard(() => (recorder ? finish(send) : begin(max_minutes * 60, send, say)));
  window.addEventListener("beforeunload", (event) => recorder && event.preventDefault());
  $("song").parentElement.hidden = !about.separates;
  $("limits").textContent =
    `WAV, FLAC, MP3, OGG or AIFF${about.ffmpeg ? ", M4A or WebM" : ""}, up to ${max_minutes} minutes and ${max_mb} MB. ` +
    `Only you can reach your files; they are deleted ${keep_minutes} minutes after you were last here.`;
  if (canRecord()) return;
  $("record").hidden = true;
  $("limits").textContent += " To record in the browser, open this page on the server's own machine or over https.";
}

async function begin(longest_s, send, say) {
  const fresh = new Recorder((peak, seconds) => {
    $("clock").textContent = clock(seconds);
    drawMeter(peak);
    if (seconds > longest_s - 0.5 && recorder) finish(send);
  });
  try {
    await fresh.start();
  } catch {
    return say("The microphone cannot be used; allow it for this page in the browser, or choose a file.");
  }
  recorder = fresh;
  showRecording(true);
}

async function finish(send) {
  const done = recorder;
  recorder = null;
  showRecording(false);
  const now = new Date().toTimeString().slice(0, 5).replace(":", ".");
  await send(await done.stop(), `Recording ${now}.wav`);
}

function showRecording(on) {
  $("record").classList.toggle("on", on);
  $("record").lastElementChild.textContent = on ? "Stop" : "Record";
  $("recording").hidden = !on;
}

function drawMeter(peak) {
  meterLevel = Math.max(peak, meterLevel * 0.8);
  const canvas = $("meter");
  if (canvas.width !== canvas.clientWidth) canvas.width = canvas.clientWidth;
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const share = Math.max(0, 1 + Math.log10(Math.max(meterLevel, 1e-3)) / 3);
  pen.fillStyle = getComputedStyle(canvas).getPropertyValue(meterLevel > 0.98 ? "--danger" : "--voice");
  pen.beginPath();
  pen.roundRect(0, 14, Math.max(12, share * canvas.width), 12, 6);
  pen.fill();
}
