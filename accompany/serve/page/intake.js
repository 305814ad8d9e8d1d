// How a vocal gets in: the microphone, a file that is chosen or one that is dropped.

import { canRecord, Recorder } from "/recorder.js";
import { onLanguage, t } from "/texts.js";
import { clock } from "/words.js";

const $ = (id) => document.getElementById(id);

let recorder = null;
let meterLevel = 0;

export function wireIntake(about, { send, say, guard }) {
  const { max_mb, max_minutes, keep_minutes } = about.limits;
  const offer = (file) =>
    file.size > max_mb * 1e6
      ? say(t("too_large", { name: file.name, mb: max_mb }))
      : send(file, file.name, $("song").checked);
  const takeChosen = async () => {
    const chosen = $("file").files[0];
    if (chosen) await offer(chosen);
    $("file").value = "";
  };
  $("file").onchange = takeChosen;
  takeChosen(); // A file may be chosen before this script runs.
  for (const kind of ["dragover", "dragleave", "drop"])
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files[0]) offer(event.dataTransfer.files[0]);
    });
  $("record").onclick = () => guard(() => (recorder ? finish(send) : begin(max_minutes * 60, send, say)));
  window.addEventListener("beforeunload", (event) => recorder && event.preventDefault());
  $("song").parentElement.hidden = !about.separates;
  $("record").hidden = !canRecord();
  const showLimits = () => {
    const more = about.ffmpeg ? t("limits_more") : "";
    const words = t("limits", { more, minutes: max_minutes, mb: max_mb, keep: keep_minutes });
    $("limits").textContent = canRecord() ? words : `${words} ${t("no_record")}`;
    $("record").lastElementChild.textContent = t(recorder ? "stop" : "record");
  };
  onLanguage(showLimits);
  showLimits();
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
    return say(t("no_microphone"));
  }
  recorder = fresh;
  showRecording(true);
}

async function finish(send) {
  const done = recorder;
  recorder = null;
  showRecording(false);
  const now = new Date().toTimeString().slice(0, 5).replace(":", ".");
  await send(await done.stop(), `${t("recording_name", { time: now })}.wav`);
}

function showRecording(on) {
  $("record").classList.toggle("on", on);
  $("record").lastElementChild.textContent = t(on ? "stop" : "record");
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
