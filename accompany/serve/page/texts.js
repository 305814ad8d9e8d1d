// The words of the page, in the language of the browser or the one that was chosen; a file for each.

import en from "/text-en.js";
import ko from "/text-ko.js";
import zh from "/text-zh.js";

const TEXTS = { en, ko, zh };
export const LANGUAGES = { en: "English", ko: "한국어", zh: "中文" };

function wanted() {
  const known = [localStorage.getItem("language"), ...navigator.languages].map((each) => (each ?? "").slice(0, 2).toLowerCase());
  return known.find((each) => Object.hasOwn(TEXTS, each)) ?? "en";
}

let language = wanted();
const listeners = [];

export function t(key, values = {}) {
  return TEXTS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

// Elements say which text they show: data-t as their content, data-t-label, -title and -hint as attributes.
const ATTRIBUTES = { label: "aria-label", title: "title", hint: "placeholder" };

export function fill(root = document) {
  document.documentElement.lang = language;
  for (const each of root.querySelectorAll("[data-t]")) each.textContent = t(each.dataset.t);
  for (const [name, attribute] of Object.entries(ATTRIBUTES))
    for (const each of root.querySelectorAll(`[data-t-${name}]`)) each.setAttribute(attribute, t(each.getAttribute(`data-t-${name}`)));
}

// A level of a fader in dB.
export const levelText = (db) => (db <= -40 ? t("off") : `${db > 0 ? "+" : ""}${db} dB`);

export const onLanguage = (listener) => listeners.push(listener);

export function wireLanguage(select) {
  select.append(...Object.entries(LANGUAGES).map(([code, name]) => new Option(name, code, false, code === language)));
  for (const option of select.options) option.lang = option.value;
  select.onchange = () => {
    language = select.value;
    localStorage.setItem("language", language);
    fill();
    listeners.forEach((listener) => listener());
  };
  fill();
}
