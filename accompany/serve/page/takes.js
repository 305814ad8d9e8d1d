// The list of takes: a card each, with its outline, the slots A and B, and its files.

import { t } from "/texts.js";

const NAMES = { drums: () => t("drums"), bass: () => t("bass"), other: () => t("other") };

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

export function showTakes(list, takes, state, actions) {
  const newestFirst = [...takes].sort((a, b) => b.number - a.number);
  list.replaceChildren(...newestFirst.map((take) => card(take, takes, state, actions)));
  for (const canvas of list.querySelectorAll("canvas")) draw(canvas, takes.find((take) => take.id === canvas.dataset.take));
}

function card(take, takes, state, actions) {
  const sounds = state.slots[state.active] === take.id;
  const item = element("li", sounds ? "take sounds" : "take");
  const top = item.appendChild(element("div", "row"));
  top.append(element("b", "", t("take", { n: take.number })), element("span", "words quiet small", origin(take, takes)));
  top.append(slots(take, state, actions));
  const canvas = item.appendChild(element("canvas"));
  canvas.dataset.take = take.id;
  canvas.title = t("play_take");
  canvas.onclick = () => actions.put(state.active, take.id);
  const bottom = item.appendChild(element("div", "row spread small"));
  bottom.append(element("span", "quiet", facts(take, takes)));
  const files = bottom.appendChild(element("span", "row"));
  files.append(link(t("get_mix"), actions.mix(take.id)), link(t("get_band"), actions.stem(take.id)));
  for (const stem of take.stems) files.append(link(NAMES[stem](), actions.part(take.id, stem)));
  if (take.plan) files.append(link("MIDI", actions.midi(take.id)));
  const drop = files.appendChild(element("button", "small danger", t("delete")));
  drop.onclick = () => actions.drop(take.id);
  return item;
}

function origin(take, takes) {
  if (!take.region) return take.prompt || t("no_prompt");
  const parent = takes.find((each) => each.id === take.parent);
  const { start_s, end_s } = take.region;
  return t("part_again", { n: parent?.number ?? t("deleted"), from: start_s.toFixed(1), to: end_s.toFixed(1) });
}

function facts(take, takes) {
  const fit = take.scores.fit;
  if (fit === undefined) return t("seed_is", { n: take.seed });
  const best = takes.length > 1 && takes.every((each) => each.scores.fit <= fit);
  return t("fit_is", { n: take.seed, fit: fit.toFixed(2) }) + (best ? t("best") : "");
}

function slots(take, state, actions) {
  const group = element("div", "switch");
  for (const slot of ["A", "B"]) {
    const button = group.appendChild(element("button", "", slot));
    button.setAttribute("aria-pressed", String(state.slots[slot] === take.id));
    button.setAttribute("aria-label", t("take_as", { n: take.number, slot }));
    button.onclick = () => actions.put(slot, take.id);
  }
  return group;
}

function link(text, href) {
  const made = element("a", "button small", `↓ ${text}`);
  made.href = href;
  made.download = "";
  return made;
}

function draw(canvas, take) {
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const loudest = Math.max(...take.waveform, 0.05);
  for (let x = 0; x < width; x += 2) {
    const first = Math.floor((x / width) * take.waveform.length);
    const last = Math.max(first + 1, Math.floor(((x + 2) / width) * take.waveform.length));
    const size = Math.max(0.5, (Math.max(...take.waveform.slice(first, last)) / loudest) * (height / 2 - 1));
    const at = (x / width) * take.seconds;
    const again = take.region && at >= take.region.start_s && at < take.region.end_s;
    pen.fillStyle = colour(again ? "pitch" : "band-soft");
    pen.fillRect(x, height / 2 - size, 1.4, 2 * size);
  }
}
