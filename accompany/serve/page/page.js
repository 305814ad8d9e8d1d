// The page: what is shown, what a click does. State is the vocal at hand, the takes in slots A and B, and the jobs.

import * as api from "/api.js";
import { GridControls, keyName } from "/grid.js";
import { wireIntake } from "/intake.js";
import { Jam } from "/jam.js";
import { Player } from "/player.js";
import { StemFaders, STEMS } from "/stems.js";
import { showTakes } from "/takes.js";
import { levelText, onLanguage, t, wireLanguage } from "/texts.js";
import { Timeline } from "/timeline.js";
import { clock, KEYS, STYLES } from "/words.js";

const $ = (id) => document.getElementById(id);
const POLL_MS = 350;
const state = { about: null, vocal: null, slots: { A: null, B: null }, active: "A", region: null, jobs: new Map() };

const player = new Player(api.sound, () => showPosition());
const timeline = new Timeline($("timeline"), {
  onSeek: (seconds) => guard(() => player.seek(seconds)),
  onRegion: (region) => choose(region),
  snaps: () => $("snap").checked,
});
const grid = new GridControls($("grid"), {
  player,
  plan: () => timeline.plan,
  vocal: () => state.vocal,
  again: (changes) => guard(async () => follow(await api.make(state.vocal.id, { ...wishAgain(), ...changes }))),
  say: (sentence) => say(sentence),
});
const jam = new Jam($("jam"), {
  player,
  plan: () => timeline.plan,
  region: () => state.region,
  next: nextOfJam,
  guard,
  onChange: () => state.vocal && choose(state.region),
});
const faders = new StemFaders($("stems"), { player, onChange: () => guard(show) });

// ---------------------------------------------------------------- helpers

let toastTimer;
function say(sentence) {
  $("toast").textContent = sentence;
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(quiet, 9000);
}

// What went wrong is no longer of interest, and the sentence would lie over the controls.
function quiet() {
  $("toast").hidden = true;
}

async function guard(work) {
  try {
    return await work();
  } catch (error) {
    say(error.message);
  }
}

const takeOf = (id) => state.vocal?.takes.find((take) => take.id === id) ?? null;
const sounding = () => takeOf(state.slots[state.active]);
const levels = () => ({ voice: Number($("level-voice").value), band: Number($("level-band").value), stems: faders.levels });

// ---------------------------------------------------------------- vocals

async function send(blob, name, isSong = false) {
  const sent = (share) => {
    $("upload").value = share;
    if (share < 1 || !isSong) return;
    $("upload").removeAttribute("value"); // how long the server takes is not known
    $("separating").hidden = false;
  };
  $("upload").hidden = false;
  await guard(async () => open(await api.upload(blob, name, isSong, sent)));
  $("upload").hidden = $("separating").hidden = true;
  $("upload").value = 0;
}

async function open(vocal) {
  quiet();
  if (jam.on) jam.stop();
  state.vocal = vocal;
  state.slots = { A: null, B: null };
  state.active = "A";
  player.reset(vocal.seconds);
  await player.setTrack("voice", api.voiceUrl(vocal.id, "flac"));
  choose(null);
  const takes = vocal.takes;
  if (takes.length) state.slots.A = takes.at(-1).id;
  if (takes.length > 1) state.slots.B = takes.at(-2).id;
  vocal.jobs.filter((job) => ["queued", "running"].includes(job.state)).forEach(follow);
  $("intake").hidden = true;
  $("studio").hidden = $("work").hidden = false;
  await listVocals();
  await show();
}

async function listVocals() {
  const all = await api.vocals();
  $("vocals").replaceChildren(...all.map((each) => new Option(each.name, each.id, false, each.id === state.vocal.id)));
}

async function refresh() {
  const id = state.vocal?.id;
  if (!id) return;
  const fresh = await api.vocal(id);
  if (state.vocal?.id !== id) return;
  state.vocal = fresh;
  for (const slot of ["A", "B"]) if (!takeOf(state.slots[slot])) state.slots[slot] = null;
  await show();
}

function intake() {
  if (jam.on) jam.stop();
  player.reset(0);
  state.vocal = null;
  $("intake").hidden = false;
  $("studio").hidden = $("work").hidden = true;
}

// ---------------------------------------------------------------- jobs

async function follow(job) {
  if (state.jobs.has(job.id)) return;
  quiet();
  state.jobs.set(job.id, job);
  showJobs();
  let known = job.takes.length;
  while (["queued", "running"].includes(job.state)) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    try {
      job = await api.job(job.id);
    } catch (error) {
      if (error.status) break;
      continue; // the network hiccups, the job goes on
    }
    state.jobs.set(job.id, job);
    showJobs();
    if (job.takes.length > known && job.vocal === state.vocal?.id) {
      const arrived = job.takes.slice(known);
      known = job.takes.length;
      await guard(() => arrive(job, arrived));
    }
  }
  state.jobs.delete(job.id);
  showJobs();
  if (job.state === "failed") say(job.error);
  if (job.vocal === state.vocal?.id) await guard(refresh);
}

async function arrive(job, arrived) {
  state.vocal = await api.vocal(job.vocal);
  for (const made of arrived) {
    const parent = takeOf(made)?.parent;
    if (parent && takeOf(parent)) Object.assign(state.slots, { A: parent, B: made });
    else if (!state.slots.A) state.slots.A = made;
    else state.slots.B = made;
    if (parent || job.takes[0] === made) state.active = state.slots.A === made ? "A" : "B";
  }
  await show();
}

function showJobs() {
  const mine = [...state.jobs.values()].filter((job) => job.vocal === state.vocal?.id && job.kind !== "listen");
  $("jobs").replaceChildren(...mine.map(jobCard));
  $("none").hidden = mine.length > 0 || state.vocal?.takes.length > 0;
  const analyzing = [...state.jobs.values()].some((job) => job.vocal === state.vocal?.id && job.kind === "listen");
  $("timeline").toggleAttribute("aria-busy", analyzing);
  showAnalysis(analyzing);
}

function jobCard(job) {
  const card = document.createElement("div");
  card.className = "job";
  const row = card.appendChild(document.createElement("div"));
  row.className = "row spread";
  const doing = t(job.kind === "retake" ? "playing_again" : "playing");
  const left = job.seconds_left === null ? "" : t("seconds_left", { n: Math.ceil(job.seconds_left) });
  const ahead = t(job.ahead === 1 ? "one_ahead" : "jobs_ahead", { n: job.ahead });
  const done = t("share_done", { doing, share: Math.round(100 * job.share) }) + left;
  row.append(job.state === "queued" && job.ahead ? ahead : done);
  const stop = row.appendChild(document.createElement("button"));
  stop.className = "small";
  stop.textContent = t("cancel");
  stop.onclick = () => guard(() => api.cancel(job.id));
  const bar = card.appendChild(document.createElement("progress"));
  bar.max = 1;
  bar.setAttribute("aria-label", doing);
  bar.value = job.share;
  return card;
}

// ---------------------------------------------------------------- showing

async function show() {
  const { vocal } = state;
  timeline.show(vocal, sounding());
  grid.show();
  faders.show(sounding());
  showJobs();
  for (const slot of ["A", "B"]) {
    const take = takeOf(state.slots[slot]);
    $(`slot-${slot}`).textContent = take ? t("slot_take", { slot, n: take.number }) : slot;
    $(`slot-${slot}`).disabled = !take;
    $(`slot-${slot}`).setAttribute("aria-pressed", String(slot === state.active));
  }
  showTakes($("list"), vocal.takes, state, {
    put: (slot, id) => put(slot, id),
    drop: (id) => guard(async () => (await api.drop(id), refresh())),
    stem: (id) => api.bandUrl(id, $("format").value),
    midi: api.midiUrl,
    mix: (id) => api.mixUrl(id, $("format").value, levels(), takeOf(id).stems),
    part: (id, stem) => api.stemUrl(id, stem, $("format").value),
  });
  $("stem").href = api.voiceUrl(vocal.id, $("format").value);
  $("project").href = api.projectUrl(vocal.id);
  choose(state.region);
  showPosition();
  player.setActive(state.active);
  for (const slot of ["A", "B"]) {
    const { id, stems = [] } = takeOf(state.slots[slot]) ?? {};
    const parts = STEMS.map((stem) => [`${slot}:${stem}`, stems.includes(stem) ? api.stemUrl(id, stem, "flac") : null]);
    const urls = [[slot, id && !stems.length ? api.bandUrl(id, "flac") : null], ...parts];
    await Promise.all(urls.map(([name, url]) => guard(() => player.setTrack(name, url))));
  }
}

function showAnalysis(analyzing) {
  const plan = state.vocal?.plan;
  const tag = (text) => Object.assign(document.createElement("span"), { className: "tag", textContent: text });
  const tags = [tag(clock(state.vocal?.seconds ?? 0, 1))];
  const sure = (share) => (share === null || share === undefined ? "" : ` (${Math.round(100 * share)}%)`);
  if (plan?.tempo_bpm) tags.push(tag(`${Math.round(plan.tempo_bpm)} bpm${sure(plan.tempo_confidence)}`));
  if (plan?.key) tags.push(tag(keyName(plan.key) + sure(plan.key_confidence)));
  if (analyzing) tags.push(tag(t("analyzing")));
  $("heard").replaceChildren(...tags);
}

function showPosition() {
  timeline.moveTo(player.position);
  $("time").textContent = clock(player.position, 1);
  $("play").textContent = player.playing ? "❚❚" : "▶";
}

async function put(slot, id) {
  state.slots[slot] = id;
  state.active = slot;
  await show();
}

function activate(slot) {
  if (!state.slots[slot]) return;
  state.active = slot;
  guard(show);
}

function choose(region) {
  state.region = region;
  timeline.select(region);
  player.loop = $("loop").checked || jam.on ? (region ?? [0, player.seconds]) : null;
  $("region").hidden = !region;
  $("hint").hidden = Boolean(region);
  if (!region) return;
  $("from").value = region[0].toFixed(2);
  $("to").value = region[1].toFixed(2);
  const bars = (timeline.plan?.downbeats_s ?? []).map((beat, i) => [beat, i + 1]);
  const first = bars.filter(([beat]) => beat <= region[0] + 0.01).at(-1)?.[1];
  const last = bars.filter(([beat]) => beat < region[1] - 0.01).at(-1)?.[1];
  $("bars").textContent = first && last ? t(first === last ? "bar" : "bars", { first, last }) : "";
  $("retake").disabled = !sounding() || !state.about.plans;
  $("retake").textContent = sounding() ? t("retake_take", { n: sounding().number }) : t("take_first");
}

// ---------------------------------------------------------------- wiring

function number(id) {
  return $(id).value === "" ? null : Number($(id).value);
}

function wish() {
  const told = { prompt: $("prompt").value || $("prompt").placeholder, takes: Number($("takes").value) };
  for (const id of ["bpm", "seed", "temperature", "guidance"]) if (number(id) !== null) told[id] = number(id);
  if ($("chords").value.trim()) told.chords = $("chords").value.trim();
  if ($("key").value) told.key = $("key").value;
  return told;
}

// The wish of the take that sounds, or of the form, for one take more on another grid.
function wishAgain() {
  const { prompt, seed, key, chords, temperature, guidance, mute } = sounding() ?? {};
  const asked = sounding() ? { prompt, seed, key, chords, temperature, guidance, mute } : wish();
  delete asked.bpm;
  return { ...Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== null && value !== undefined)), takes: 1 };
}

async function nextOfJam() {
  const take = sounding();
  const [start_s, end_s] = state.region ?? [];
  const again = take && state.region && state.about.plans;
  const job = await (again ? api.retake(take.id, { start_s, end_s }) : api.make(state.vocal.id, { ...wish(), takes: 1 }));
  await follow(job);
}

function wire() {
  $("another").onclick = intake;
  $("forget").onclick = () =>
    confirm(t("forget")) &&
    guard(async () => {
      await api.forget(state.vocal.id);
      const left = await api.vocals();
      return left.length ? open(left.at(-1)) : intake();
    });
  $("toast").onclick = quiet;
  $("vocals").onchange = ({ target }) => guard(async () => open(await api.vocal(target.value)));
  $("play").onclick = () => guard(() => (player.playing ? player.pause() : player.play()));
  for (const slot of ["A", "B"]) $(`slot-${slot}`).onclick = () => activate(slot);
  for (const channel of ["voice", "band"]) wireChannel(channel);
  $("loop").onchange = () => choose(state.region);
  $("clear").onclick = () => choose(null);
  $("from").onchange = $("to").onchange = () => {
    const ends = [number("from") ?? 0, number("to") ?? 0].map((end) => Math.max(0, Math.min(end, state.vocal.seconds)));
    choose(ends[1] > ends[0] ? ends : state.region);
  };
  $("region").onsubmit = (event) => {
    event.preventDefault();
    const [start_s, end_s] = state.region;
    guard(async () => follow(await api.retake(sounding().id, { start_s, end_s })));
  };
  $("wish").onsubmit = (event) => {
    event.preventDefault();
    guard(async () => follow(await api.make(state.vocal.id, wish())));
  };
  $("format").onchange = () => guard(show);
  document.addEventListener("keydown", shortcut);
  wireTheme();
}

function wireChannel(channel) {
  const slider = $(`level-${channel}`);
  slider.oninput = () => {
    const db = Number(slider.value);
    slider.nextElementSibling.textContent = levelText(db);
    player.setLevel(channel, db);
  };
  slider.onchange = () => guard(show);
  $(`solo-${channel}`).onclick = () => {
    player.setSolo(player.solo === channel ? null : channel);
    for (const each of ["voice", "band"]) $(`solo-${each}`).setAttribute("aria-pressed", String(player.solo === each));
  };
}

function shortcut(event) {
  if (!state.vocal || event.ctrlKey || event.metaKey || event.altKey || grid.key(event)) return;
  if (event.target.matches("input:not([type=range], [type=checkbox]), textarea, select")) return;
  if (event.key === " " && !event.target.matches("button, summary, a")) {
    event.preventDefault();
    $("play").click();
  }
  if (event.key === "x") activate(state.active === "A" ? "B" : "A");
}

function wireTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const dark = (localStorage.getItem("theme") ?? (system.matches ? "dark" : "light")) === "dark";
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    timeline.redraw();
    if (state.vocal) guard(show);
  };
  system.onchange = apply;
  $("theme").onclick = () => {
    localStorage.setItem("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    apply();
  };
  apply();
}

// What is made of texts and does not change with the song.
function showWords() {
  const styles = STYLES.map(([name, words]) =>
    Object.assign(document.createElement("button"), { type: "button", textContent: t(name), title: words, onclick: () => ($("prompt").value = words) }),
  );
  $("styles").replaceChildren(...styles);
  const chosen = $("key").value;
  const keys = KEYS.map(([mode, note]) => new Option(t(mode, { note }), `${note}:${mode.slice(0, 3)}`));
  $("key").replaceChildren(new Option(t("from_vocal"), ""), ...keys);
  $("key").value = chosen;
  if (state.about) $("server").textContent = t("model", { name: state.about.model });
  jam.show();
}

async function start() {
  wireLanguage($("language"));
  wire();
  showWords();
  onLanguage(() => (showWords(), state.vocal && guard(show)));
  state.about = await api.about();
  const { limits, formats, model } = state.about;
  $("format").append(...formats.map((format) => new Option(format)));
  $("server").textContent = t("model", { name: model });
  wireIntake(state.about, { send, say, guard });
  const [last] = (await api.vocals()).slice(-1);
  if (last) await open(last);
}

guard(start);
